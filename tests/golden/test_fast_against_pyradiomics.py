"""The fast engine against pyradiomics itself, on made and on real images."""

import itertools

import numpy as np
import pytest
from PIL import Image

from clnm.features.fast import covers, extract_fast
from clnm.features.radiomics import extract_reference
from tests.unit.fast_agreement import DATA, disagreements, ordered_parameters, twelve_shapes

SETTINGS = [{"binCount": 32}, {"binWidth": 5}]


def both(image, mask, spacing, wanted):
    return extract_reference(image, mask, spacing, wanted), extract_fast(image, mask, spacing, wanted)


def busbra(count=None):
    folder = DATA / "busbra"
    if not folder.is_dir():
        pytest.skip("shared/data/busbra is not here")
    for path in itertools.islice(sorted((folder / "Images").glob("*.png")), count):
        mask = folder / "Masks" / path.name.replace("bus_", "mask_")
        yield np.asarray(Image.open(path).convert("L")), np.asarray(Image.open(mask).convert("1"))


def breast_lesions():
    folder = DATA / "breast_lesions_usg"
    if not folder.is_dir():
        pytest.skip("shared/data/breast_lesions_usg is not here")
    for path in sorted((folder / "images").glob("*.png")):
        for mask in sorted((folder / "masks").glob(f"{path.stem}_*.png")):
            yield np.asarray(Image.open(path).convert("L")), np.asarray(Image.open(mask).convert("L")) > 0


@pytest.mark.long
@pytest.mark.parametrize("settings", [*SETTINGS, {"binWidth": 25, "symmetricalGLCM": False, "gldm_a": 1}], ids=str)
def test_every_value_of_twelve_shapes_is_pyradiomics_own(settings):
    wanted = ordered_parameters(**settings)
    assert all(covers(wanted, name) for name in wanted.image_types)
    rows = [both(image, mask, spacing, wanted) for image, mask, spacing in twelve_shapes()]
    assert len(rows[0][0]) == 1497
    for reference, fast in rows:
        assert list(fast) == list(reference)
    assert disagreements(rows) == []


@pytest.mark.long
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_value_of_twenty_real_images_is_pyradiomics_own(settings):
    wanted = ordered_parameters(**settings)
    assert disagreements([both(image, mask, (0.08, 0.07), wanted) for image, mask in busbra(20)]) == []


@pytest.mark.long
@pytest.mark.parametrize("images", [busbra, breast_lesions], ids=lambda images: images.__name__)
def test_every_value_of_every_real_image_is_pyradiomics_own(images):
    wanted = ordered_parameters(binCount=32)
    assert disagreements([both(image, mask, (0.08, 0.07), wanted) for image, mask in images()]) == []
