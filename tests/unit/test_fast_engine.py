"""The fast engine: which engine computes what, worked cases, and the promises around it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from radiomics import getFeatureClasses, imageoperations

from clnm.features import fast
from clnm.features.discretise import assign_levels, bin_edges
from clnm.features.extraction import extract
from clnm.features.fast import covers, extract_fast
from clnm.features.filters import gradient_magnitude, local_binary_pattern, pointwise, wavelet_bands
from clnm.features.names import FEATURES
from clnm.features.parameters import Parameters
from clnm.features.radiomics import ExtractionError, extract_reference
from clnm.features.recursive import laplacians
from tests.unit.fast_agreement import ALL_TYPES, blob, disagreements, ordered_parameters, speckle

IMAGE, MASK = speckle(1, (120, 150)), blob(1500, 1, (120, 150))
SPACING = (0.1, 0.12)
SMALL_TYPES = {**ALL_TYPES, "LoG": {"sigma": [0.5, 1]}}


def values_by_name(image, mask, feature_class, **settings):
    wanted = Parameters({"Original": {}}, {feature_class: None}, {"binWidth": 1, **settings})
    return {name.rsplit("_", 1)[1]: value for name, value in extract_fast(image, mask, (1.0, 1.0), wanted).items()}


def filtered_by_pyradiomics(image_type, image, spacing, **options):
    picture = SimpleITK.GetImageFromArray(image)
    picture.SetSpacing(spacing)
    return [
        (name, SimpleITK.GetArrayFromImage(found))
        for found, name, _ in getattr(imageoperations, f"get{image_type}Image")(picture, None, **options)
    ]


def test_this_process_rounds_as_itk_does():
    assert fast.rounds_as_itk()
    assert covers(Parameters({"LoG": {"sigma": [1.0]}}, {"glcm": None}, {}), "LoG")


def test_a_value_that_is_no_number_is_a_reason_with_either_engine():
    for engine in ("fast", "pyradiomics"):
        for wrong in (np.nan, np.inf):
            image = IMAGE.astype(np.float64)
            image[np.nonzero(MASK)[0][0], np.nonzero(MASK)[1][0]] = wrong
            with pytest.raises(ExtractionError, match="not numbers"):
                extract(image, MASK, SPACING, ordered_parameters(), engine)


# --- the same names, the same numbers ---------------------------------------------------------------------------------


def test_features_are_pyradiomics_own_in_its_order():
    for name, features in FEATURES.items():
        offered = getFeatureClasses()[name].getFeatureNames()
        assert features == tuple(feature for feature, is_deprecated in offered.items() if not is_deprecated)


def test_laplacian_of_gaussian_is_itks_to_the_bit():
    rng = np.random.default_rng(3)
    for seed, shape in enumerate([(4, 4), (5, 40), (63, 65), (90, 131)]):
        image = rng.normal(0, 500, shape) if seed % 2 else np.round(rng.random(shape) * 255)
        box = (1, shape[0] - 1, 0, shape[1])
        sigmas = [0.15, 0.4, 1.3]
        for sigma, found in zip(sigmas, laplacians(image, box, (0.11, 0.07), sigmas), strict=True):
            whole = SimpleITK.LaplacianRecursiveGaussianImageFilter()
            whole.SetNormalizeAcrossScale(True)
            whole.SetSigma(sigma)
            picture = SimpleITK.GetImageFromArray(image)
            picture.SetSpacing((0.11, 0.07))
            expected = SimpleITK.GetArrayFromImage(whole.Execute(picture))[box[0] : box[1], box[2] : box[3]]
            np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:Applying `local_binary_pattern`")
@pytest.mark.parametrize("box", [(40, 70, 50, 90), (0, 30, 100, 131), (0, 91, 0, 131)], ids=["inside", "corner", "all"])
def test_filtered_images_are_pyradiomics_own_to_the_bit(box):
    image = np.random.default_rng(4).normal(20, 90, (91, 131))
    here = np.s_[box[0] : box[1], box[2] : box[3]]
    for name in ("Square", "SquareRoot", "Logarithm", "Exponential"):
        ((_, expected),) = filtered_by_pyradiomics(name, image, SPACING)
        found = pointwise(name, image[here].ravel(), image.min(), image.max())
        np.testing.assert_array_equal(found, expected[here].ravel())
    ((_, expected),) = filtered_by_pyradiomics("Gradient", image, SPACING)
    np.testing.assert_array_equal(gradient_magnitude(image, box, SPACING), expected[here])
    ((_, expected),) = filtered_by_pyradiomics("LBP2D", image, SPACING, lbp2DRadius=1.7, lbp2DSamples=9)
    np.testing.assert_array_equal(local_binary_pattern(image, box, 1.7, 9), expected[here])
    for family in ("coif1", "haar", "bior3.3"):
        expected_bands = filtered_by_pyradiomics("Wavelet", image, SPACING, wavelet=family)
        bands = list(wavelet_bands(image, box, family))
        assert [f"wavelet-{band}" for band, _ in bands] == [name for name, _ in expected_bands]
        for (_, found), (_, expected) in zip(bands, expected_bands, strict=True):
            np.testing.assert_array_equal(found, expected[here])


@pytest.mark.parametrize("options", [{"binWidth": 5}, {"binWidth": 0.3}, {"binCount": 1}, {"binCount": 32}], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_levels_are_those_of_pyradiomics(options, dtype):
    rng = np.random.default_rng(5)
    for values in (rng.normal(0, 40, 500), np.round(rng.random(500) * 50) * 0.3, np.full(9, 0.7), np.arange(60) * 5.0):
        roi = values.astype(dtype)
        expected, _ = imageoperations.binImage(roi, np.ones(roi.shape, bool), **options)
        edges = bin_edges(
            roi.min(), roi.max(), bin_width=options.get("binWidth", 25), bin_count=options.get("binCount")
        )
        found = np.empty(roi.size, np.int32)
        assign_levels(roi.astype(np.float64), edges.astype(np.float64), found)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize": True, "normalizeScale": 100, "removeOutliers": 3, "binWidth": 5},
        {"resampledPixelSpacing": [0.15, 0.15], "interpolator": "sitkBSpline", "binWidth": 5},
        {"preCrop": True, "padDistance": 7, "binCount": 16},
        {"voxelArrayShift": 300, "gldm_a": 2, "binWidth": 5, "minimumROIDimensions": 1},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_happens_before_the_filters_is_followed(settings):
    wanted = ordered_parameters(SMALL_TYPES, **settings)
    assert all(covers(wanted, name) for name in wanted.image_types)
    pair = extract_reference(IMAGE, MASK, SPACING, wanted), extract_fast(IMAGE, MASK, SPACING, wanted)
    assert list(pair[0]) == list(pair[1])
    assert disagreements([pair]) == []


def test_chosen_features_come_in_the_order_they_were_asked_for():
    wanted = Parameters({"Original": {}}, {"glcm": ("MCC", "Contrast"), "firstorder": ("Mean",)}, {})
    found = extract_fast(IMAGE, MASK, SPACING, wanted)
    assert list(found) == ["original_glcm_MCC", "original_glcm_Contrast", "original_firstorder_Mean"]
    assert disagreements([(extract_reference(IMAGE, MASK, SPACING, wanted), found)]) == []


# --- worked by hand ---------------------------------------------------------------------------------------------------


def test_a_checkerboard_worked_by_hand():
    image = np.pad(np.indices((4, 4)).sum(0) % 2 + 1.0, 1)
    mask = np.pad(np.ones((4, 4), bool), 1)
    glcm = values_by_name(image, mask, "glcm")
    # along the diagonals every pair is equal, along rows and columns every pair differs by 1
    assert glcm["Contrast"] == pytest.approx(0.5)
    assert glcm["Correlation"] == pytest.approx(0.0, abs=1e-12)
    assert glcm["MCC"] == pytest.approx(1.0)
    zones = values_by_name(image, mask, "glszm")
    assert zones["ZonePercentage"] == pytest.approx(2 / 16)  # 8-connected: one zone of each grey level
    assert zones["LargeAreaEmphasis"] == pytest.approx(64.0)
    runs = values_by_name(image, mask, "glrlm")
    # rows and columns: 16 runs of 1; each diagonal direction: 7 runs of lengths 1, 2, 3, 4, 3, 2, 1
    assert runs["RunPercentage"] == pytest.approx((1 + 1 + 7 / 16 + 7 / 16) / 4)
    assert runs["LongRunEmphasis"] == pytest.approx((1 + 1 + 2 * (1 + 4 + 9 + 16 + 9 + 4 + 1) / 7) / 4)


def test_first_order_of_five_values_worked_by_hand():
    image = np.zeros((4, 5))
    image[1, :] = [1, 2, 3, 4, 10]
    image[2, 0] = 4
    mask = image > 0
    found = values_by_name(image, mask, "firstorder")
    assert found["Mean"] == pytest.approx(4.0)
    assert found["Variance"] == pytest.approx((9 + 4 + 1 + 0 + 36 + 0) / 6)
    assert found["Median"] == pytest.approx(3.5)
    assert found["Energy"] == pytest.approx(1 + 4 + 9 + 16 + 100 + 16)
    assert found["10Percentile"] == pytest.approx(1.5)
    assert found["Uniformity"] == pytest.approx((1 + 1 + 1 + 4 + 1) / 36)


# --- where rounding decides -------------------------------------------------------------------------------------------


def test_the_moments_of_what_rounding_leaves_of_a_flat_image_are_pyradiomics_own():
    wanted = Parameters({"Wavelet": {}}, {"firstorder": None}, {})
    for seed in range(60, 72):
        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(5, 20, 2))
        image, mask = np.full(shape, rng.random() * 100), rng.random(shape) < 0.7
        pair = extract_reference(image, mask, SPACING, wanted), extract_fast(image, mask, SPACING, wanted)
        assert disagreements([pair], dict.fromkeys(pair[0], 0.01)) == []  # skewness was 0.8 for -1.1


@pytest.mark.parametrize("symmetrical", [True, False])
def test_grey_levels_that_are_independent_have_pyradiomics_own_measure_of_it(symmetrical):
    image, mask = np.zeros((6, 6)), np.pad(np.ones((4, 4), bool), 1)
    image[1, 1] = 80.0
    wanted = Parameters({"Original": {}}, {"glcm": ("Imc1",)}, {"symmetricalGLCM": symmetrical})
    assert extract_fast(image, mask, SPACING, wanted) == extract_reference(image, mask, SPACING, wanted)


# --- which engine computes what ---------------------------------------------------------------------------------------


def test_every_setting_that_is_not_known_to_be_kept_goes_to_the_reference():
    for settings in (
        {"distances": [1, 2]}, {"weightingNorm": "euclidean"}, {"force2D": True}, {"resegmentRange": [1, 99]},
        {"binWidth": 0}, {"someday": 1}, {"gldm_a": 0.5},
    ):  # fmt: skip
        assert not covers(ordered_parameters(**settings), "Original"), settings
    assert not covers(ordered_parameters({"Wavelet": {"level": 2}}), "Wavelet")
    assert not covers(ordered_parameters({"LBP2D": {"lbp2DMethod": "ror"}}), "LBP2D")
    assert not covers(ordered_parameters({"LBP3D": {}}), "LBP3D")
    assert not covers(Parameters({"Original": {}}, {"firstorder": ("StandardDeviation",)}, {}), "Original")
    assert covers(ordered_parameters({"Original": {"binWidth": 10}}, binWidth=25, label=255), "Original")


def test_an_image_type_that_is_not_covered_is_computed_by_the_reference_in_its_place():
    wanted = ordered_parameters({"Original": {}, "Wavelet": {"level": 2}, "Square": {}}, binWidth=25)
    values, used = extract(IMAGE, MASK, SPACING, wanted, "fast")
    assert used == "fast+pyradiomics"
    expected = extract_reference(IMAGE, MASK, SPACING, wanted)
    assert list(values) == list(expected)
    assert disagreements([(expected, values)]) == []


def test_the_engines_name_says_what_computed():
    wanted = ordered_parameters({"Original": {}}, binWidth=25)
    assert extract(IMAGE, MASK, SPACING, wanted, "fast")[1] == "fast"
    assert extract(IMAGE, MASK, SPACING, wanted, "pyradiomics")[1] == "pyradiomics"
    assert extract(IMAGE, MASK, SPACING, ordered_parameters(distances=[2]), "fast")[1] == "pyradiomics"
    with pytest.raises(ValueError, match="known: fast, pyradiomics"):
        extract(IMAGE, MASK, SPACING, wanted, "slow")


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((20, 20), bool),
        np.ones((20, 20), bool),
        np.eye(20, dtype=bool) & (np.arange(20) == 3),
        (np.arange(20) == 3)[:, None] & (np.arange(20) < 9),
    ],
    ids=["empty", "everything", "one pixel", "a line"],
)
def test_a_roi_pyradiomics_refuses_is_refused_by_both_engines(mask):
    wanted = ordered_parameters({"Original": {}}, binWidth=25)
    for engine in ("fast", "pyradiomics"):
        with pytest.raises(ExtractionError):
            extract(speckle(2, (20, 20)), mask, SPACING, wanted, engine)


@pytest.mark.parametrize("oddity", [np.nan, np.inf])
def test_an_image_with_a_value_that_is_no_number_is_left_to_the_reference(oddity):
    image = IMAGE.copy()
    image[0, 0] = oddity
    wanted = ordered_parameters({"Original": {}}, binWidth=25)
    values, used = extract(image, MASK, SPACING, wanted, "fast")
    assert used == "pyradiomics"
    assert values == extract_reference(image, MASK, SPACING, wanted)


def test_an_image_of_zeros_leaves_the_scaled_filters_to_the_reference():
    wanted = ordered_parameters({"Original": {}, "Square": {}, "Exponential": {}}, binWidth=25)
    _, by_type = fast.features_by_image_type(
        np.zeros((20, 30)), blob(60, 1, (20, 30)), SPACING, wanted, ["Original", "Square"]
    )
    assert by_type["Original"] is not None
    assert by_type["Square"] is None


def test_without_spacing_what_millimetres_enter_is_null_and_the_rest_is_that_of_a_pixel_grid():
    wanted = ordered_parameters(SMALL_TYPES, binCount=16)
    unknown, _ = extract(IMAGE, MASK, None, wanted, "fast")
    grid, _ = extract(IMAGE, MASK, (1.0, 1.0), wanted, "fast")
    null = {name for name, value in unknown.items() if value is None}
    assert {name.split("_")[1] for name in null if name.startswith("original_")} == {"shape2D", "firstorder"}
    assert "original_firstorder_TotalEnergy" in null
    assert not null & {"original_shape2D_Elongation", "original_shape2D_Sphericity"}
    assert {name.split("_")[0].split("-")[0] for name in null} >= {"log", "gradient"}
    assert {name: value for name, value in unknown.items() if value is not None} == {
        name: value for name, value in grid.items() if name not in null
    }


def test_resampling_to_millimetres_without_spacing_yields_nothing():
    wanted = ordered_parameters({"Original": {}}, resampledPixelSpacing=[0.1, 0.1], interpolator="sitkLinear")
    values, _ = extract(IMAGE, MASK, None, wanted, "fast")
    assert set(values.values()) == {None}


# --- promises ---------------------------------------------------------------------------------------------------------


def test_a_value_does_not_depend_on_what_was_computed_before():
    wanted = ordered_parameters(SMALL_TYPES, binCount=32)
    first = extract_fast(IMAGE, MASK, SPACING, wanted)
    other = extract_fast(speckle(9, (80, 90)), blob(700, 3, (80, 90)), (0.2, 0.2), wanted)
    again = extract_fast(IMAGE.astype(np.uint8), MASK, SPACING, wanted)
    assert first == again
    assert first != other
    alone = {}
    for name, options in SMALL_TYPES.items():
        alone.update(extract_fast(IMAGE, MASK, SPACING, ordered_parameters({name: options}, binCount=32)))
    assert alone == first


def test_a_larger_image_around_the_roi_changes_only_what_depends_on_it():
    wanted = ordered_parameters({"Original": {}, "Wavelet": {}, "Gradient": {}}, binCount=32)
    cut = extract_fast(IMAGE[20:100, 30:140], MASK[20:100, 30:140], SPACING, wanted)
    assert MASK.sum() == MASK[20:100, 30:140].sum()
    assert cut == extract_fast(IMAGE, MASK, SPACING, wanted)


def test_the_given_arrays_are_not_changed():
    image, mask = IMAGE.copy(), MASK.copy()
    extract_fast(image, mask, SPACING, ordered_parameters(SMALL_TYPES, binCount=32))
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(mask, MASK)


def test_warming_compiles_what_an_extraction_needs():
    fast.warm()
    assert fast.count_neighbours.signatures
    assert fast.cooccurrence_features.signatures


def test_importing_the_package_does_not_load_the_compiler():
    code = "import sys, clnm.features.extraction, clnm.features.parameters; print('numba' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout.strip() == "False"
