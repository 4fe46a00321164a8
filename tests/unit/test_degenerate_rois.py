"""ROIs and images at the edge of what can be computed: where each is refused and why, or what computes it."""

from typing import NamedTuple

import numpy as np
import pytest

from clnm.entities import Reason, SpacingSource
from clnm.features.radiomics import extract_reference
from clnm.features.worker import Extractor, RoiTask, extract_roi
from clnm.imaging.masks import LabelImage, fit_mask
from clnm.imaging.refusal import RefusedError
from clnm.imaging.regions import Region
from tests.pixel_cache import fill
from tests.unit.fast_agreement import blob, disagreements, median_sizes, ordered_parameters, speckle

SHAPE, SPACING = (40, 50), (0.1, 0.12)
PICTURE, LESION = speckle(1, SHAPE), blob(300, 1, SHAPE)
TYPES = {"Original": {}, "LoG": {"sigma": [0.3]}, "Wavelet": {}}
REFUSAL = "pyradiomics refuses the ROI (ValueError)"
NO_NUMBERS = "the ROI has values that are not numbers"


def marked(*pixels):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(np.transpose(pixels))] = True
    return mask


def with_value(value, place):
    image = PICTURE.copy()
    image[place] = value
    return image


class Case(NamedTuple):
    """An image and a mask, what becomes of the mask at intake and of the ROI on a worker."""

    mask: np.ndarray = LESION
    image: np.ndarray = PICTURE
    types: tuple[str, ...] = tuple(TYPES)
    intake: Reason | None = None
    failure: Reason | None = None
    detail: str = ""
    engine: str = ""
    not_numbers: tuple[str, ...] = ()
    """Feature classes of Original with values that are NaN, as pyradiomics gives them."""


INSIDE, OUTSIDE = (20, 27), (0, 0)
TOO_SMALL = {"failure": Reason.ROI_TOO_SMALL, "detail": REFUSAL}
REFUSED = {"failure": Reason.EXTRACTION_FAILED, "detail": REFUSAL}
CASES = {
    "no pixel": Case(np.zeros(SHAPE, bool), intake=Reason.MASK_EMPTY, **TOO_SMALL),
    "one pixel": Case(marked((20, 20)), **TOO_SMALL),
    "one pixel in a corner": Case(marked((0, 0)), **TOO_SMALL),
    "two pixels in a row": Case(marked((20, 20), (20, 21)), **REFUSED),
    "two pixels in a column": Case(marked((20, 20), (21, 20)), **REFUSED),
    "two pixels on a diagonal": Case(marked((20, 20), (21, 21)), engine="fast", not_numbers=("firstorder",)),
    "two pixels apart": Case(
        marked((5, 5), (30, 40)), engine="pyradiomics", not_numbers=("firstorder", "glcm", "glrlm")
    ),
    "three pixels": Case(marked((20, 20), (20, 21), (21, 20)), engine="fast"),
    "everything": Case(np.ones(SHAPE, bool), intake=Reason.MASK_COVERS_IMAGE, **REFUSED),
    "flat": Case(image=np.full(SHAPE, 90.0), engine="fast"),
    "flat but for the surroundings": Case(image=np.where(LESION, 90.0, PICTURE), engine="fast"),
    "all zeros": Case(image=np.zeros(SHAPE), engine="fast"),
    "all zeros, squared": Case(image=np.zeros(SHAPE), types=("Square",), **REFUSED),
    **{
        f"{value} {where}": case
        for value in (np.nan, np.inf, -np.inf)
        for where, case in {
            "inside": Case(
                image=with_value(value, INSIDE), failure=Reason.EXTRACTION_FAILED, detail=NO_NUMBERS
            ),
            "outside, filtered": Case(image=with_value(value, OUTSIDE), **REFUSED),
            "outside, as it is": Case(image=with_value(value, OUTSIDE), types=("Original",), engine="pyradiomics"),
        }.items()
    },
}  # fmt: skip


def wanted(types):
    return ordered_parameters({name: TYPES.get(name, {}) for name in types}, binCount=32)


@pytest.fixture(scope="module")
def scales():
    """The median size of each feature over ordinary ROIs."""
    ordinary = [(speckle(seed, SHAPE), blob(200 + 50 * seed, seed, SHAPE)) for seed in range(5)]
    return median_sizes([(extract_reference(*pair, SPACING, wanted(TYPES)), None) for pair in ordinary])


@pytest.mark.parametrize("name", CASES)
def test_intake_refuses_a_mask_of_nothing_and_one_of_everything_and_no_other(name):
    labels = LabelImage((CASES[name].mask.astype(np.uint8),))
    region = Region(0, SHAPE[0], 0, SHAPE[1], None, None, SpacingSource.NONE)
    if CASES[name].intake is None:
        np.testing.assert_array_equal(fit_mask(labels, region, SHAPE)[1], CASES[name].mask)
        return
    with pytest.raises(RefusedError) as refusal:
        fit_mask(labels, region, SHAPE)
    assert refusal.value.reason == CASES[name].intake


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # pyradiomics divides by what is zero here
@pytest.mark.parametrize("name", CASES)
def test_a_degenerate_roi_has_its_reason_or_the_values_of_both_engines(name, scales, tmp_path):
    case = CASES[name]
    fill(tmp_path, images={"image": case.image}, masks={"roi": case.mask})
    task = RoiTask("roi", "image", SPACING, needs_radiomics=True, needs_deep=False)
    fast, reference = (
        extract_roi(Extractor(tmp_path, wanted(case.types), engine, None), task) for engine in ("fast", "pyradiomics")
    )
    assert (fast.failure, fast.detail, fast.engine) == (case.failure, case.detail, case.engine)
    assert (reference.failure, reference.detail) == (case.failure, case.detail)
    if case.failure:
        assert fast.values is None
        assert reference.values is None
        return
    assert list(fast.values) == list(reference.values)
    assert disagreements([(reference.values, fast.values)], scales) == []
    odd = [column.split("_") for column, value in reference.values.items() if not np.isfinite(value)]
    assert {feature_class for prefix, feature_class, _ in odd if prefix == "original"} == set(case.not_numbers)
