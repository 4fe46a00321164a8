"""Any small image, any ROI: what the fast engine computes is what pyradiomics computes, NaN for NaN."""

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clnm.features.extraction import extract
from clnm.features.fast import features_by_image_type
from clnm.features.radiomics import ExtractionError, extract_reference
from tests.unit.fast_agreement import disagreements, median_sizes, ordered_parameters

KINDS = ("bytes", "few levels", "flat", "flat but for a corner", "negative", "floats", "tiny floats")
TYPES = ("Original", "LoG", "Wavelet", "Square", "SquareRoot", "Logarithm", "Exponential", "Gradient", "LBP2D")
SETTINGS = ({"binWidth": 25}, {"binCount": 8}, {"binWidth": 0.7, "gldm_a": 1, "symmetricalGLCM": False})
PER_KIND = 2
"""Images of each kind in the fixed set of one setting."""


def picture(rng, kind, shape, spread=300):
    return {
        "bytes": lambda: rng.integers(0, 256, shape).astype(float),
        "few levels": lambda: rng.integers(0, 3, shape) * 80.0,
        "flat": lambda: np.full(shape, rng.random() * 100),
        "flat but for a corner": lambda: np.pad(np.full((1, 1), 50.0), ((0, shape[0] - 1), (0, shape[1] - 1))) + 7.0,
        "negative": lambda: -rng.integers(0, 100, shape).astype(float),
        "floats": lambda: rng.normal(0, spread, shape),
        "tiny floats": lambda: rng.normal(0, 1e-3, shape),
    }[kind]()


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(4, 24)), draw(st.integers(4, 24))
    image = picture(rng, draw(st.sampled_from(KINDS)), shape)
    mask = rng.random(shape) < draw(st.sampled_from([0.05, 0.3, 0.7, 0.95]))
    if draw(st.booleans()):
        top, left = rng.integers(0, shape[0] - 1), rng.integers(0, shape[1] - 1)
        mask[:] = False
        mask[top : top + draw(st.integers(1, 12)), left : left + draw(st.integers(1, 12))] = True
    return image, mask


def parameters(image_type, setting):
    return ordered_parameters({image_type: {"LoG": {"sigma": [0.2]}}.get(image_type, {})}, **SETTINGS[setting])


@functools.cache
def fixed_set(image_type, setting):
    """(reference, fast) values of images of each kind, scattered and solid ROIs in turn."""
    rng = np.random.default_rng(setting)
    wanted, rows = parameters(image_type, setting), []
    for number, kind in enumerate(KINDS * PER_KIND):
        shape = tuple(rng.integers(6, 17, 2))
        image, mask = picture(rng, kind, shape, spread=60), rng.random(shape) < rng.choice([0.3, 0.7, 0.95])
        if number % 2:
            mask = np.pad(np.ones((shape[0] - 3, shape[1] - 2), bool), ((2, 1), (1, 1)))
        spacing = tuple(rng.uniform(0.2, 0.5, 2))
        shape_values, by_type = features_by_image_type(image, mask, spacing, wanted, [image_type])
        if by_type[image_type] is not None:  # bins of what rounding leaves of a flat image are refused by both
            rows.append((extract_reference(image, mask, spacing, wanted), {**shape_values, **by_type[image_type]}))
    return rows


@pytest.mark.parametrize("setting", range(len(SETTINGS)), ids=lambda setting: next(iter(SETTINGS[setting])))
@pytest.mark.parametrize("image_type", TYPES)
def test_a_set_of_small_images_is_within_the_limits_of_its_own_medians(image_type, setting):
    rows = fixed_set(image_type, setting)
    assert len(rows) > PER_KIND * (len(KINDS) - 1)
    for reference, fast in rows:
        assert list(fast) == list(reference)
    assert disagreements(rows) == []


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    case=cases(),
    image_type=st.sampled_from(TYPES),
    setting=st.sampled_from(range(len(SETTINGS))),
    spacing=st.tuples(st.floats(0.05, 0.5), st.floats(0.05, 0.5)),
)
def test_a_small_image_has_pyradiomics_own_values(case, image_type, setting, spacing):
    image, mask = case
    wanted = parameters(image_type, setting)
    shape, by_type = features_by_image_type(image, mask, spacing, wanted, [image_type])
    if by_type[image_type] is None:  # the reference has to judge: then that is what `extract` returns or raises
        assert_left_to_the_reference(image, mask, spacing, wanted)
        return
    fast = {**shape, **by_type[image_type]}
    reference = extract_reference(image, mask, spacing, wanted)
    assert list(fast) == list(reference)
    assert disagreements([(reference, fast)], median_sizes(fixed_set(image_type, setting))) == []


def assert_left_to_the_reference(image, mask, spacing, wanted):
    try:
        expected = extract_reference(image, mask, spacing, wanted)
    except ExtractionError as refusal:
        expected = refusal
    if isinstance(expected, ExtractionError):
        with pytest.raises(ExtractionError) as refusal:
            extract(image, mask, spacing, wanted, "fast")
        assert refusal.value.reason == expected.reason
        return
    found, used = extract(image, mask, spacing, wanted, "fast")
    assert used == "pyradiomics"
    np.testing.assert_array_equal(list(found.values()), list(expected.values()))
