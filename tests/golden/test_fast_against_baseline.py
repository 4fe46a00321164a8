"""pyradiomics' own regression baselines: slices of a volume side by side are what `force2D` sees of it."""

import csv

import numpy as np
import pytest
import SimpleITK

from clnm.features.extraction import extract
from clnm.features.fast import extract_fast
from clnm.features.names import FEATURES
from clnm.features.parameters import Parameters
from clnm.features.shape import shape_features
from tests.unit.fast_agreement import DATA

FOLDER = DATA / "pyradiomics_baseline" / "data"
CLASSES = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
SLICES = {"brain1": 16, "brain2": 8, "breast1": 9, "lung1": 33, "lung2": 22}
"""The slice the shape2D baseline was made of."""

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="shared/data/pyradiomics_baseline is not here")


def baseline(feature_class, column):
    with (FOLDER / "baseline" / f"baseline_{feature_class}.csv").open(newline="") as lines:
        return {row["featureName"]: row[column] for row in csv.DictReader(lines)}


def volume(case, kind):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(FOLDER / f"{case}_{kind}.nrrd")))


def side_by_side(stack):
    """(z, y, x) as one image, a column of nothing between the slices so that none touches the next."""
    return np.concatenate([np.pad(plane, ((1, 1), (1, 1))) for plane in stack], axis=1)


@pytest.mark.parametrize("case", ["brain1", "brain2", "breast1"])
@pytest.mark.parametrize("feature_class", CLASSES)
def test_texture_of_all_slices_is_the_published_baseline(case, feature_class):
    expected = baseline(feature_class, f"{case}_2d")
    wanted = Parameters({"Original": {}}, {feature_class: None}, {"binWidth": 25})
    image, mask = side_by_side(volume(case, "image").astype(float)), side_by_side(volume(case, "label") == 1)
    found = extract_fast(image, mask, (1.0, 1.0), wanted)
    compared = [name for name in found if name in expected]
    assert len(compared) >= len(FEATURES[feature_class]) - 1
    assert [found[name] for name in compared] == pytest.approx([float(expected[name]) for name in compared], rel=1e-9)


@pytest.mark.parametrize("case", ["brain1", "brain2", "breast1"])
@pytest.mark.parametrize(
    ("column", "settings", "engine"),
    [
        ("", {"binWidth": 25, "voxelArrayShift": 2000}, "fast"),
        ("_normalization", {"binWidth": 5, "normalize": True, "normalizeScale": 100}, "fast"),
        ("_resegmentation", {"resegmentRange": [-3, 3], "resegmentMode": "sigma"}, "pyradiomics"),
    ],
    ids=["voxelArrayShift", "normalize", "resegmentRange"],
)
def test_first_order_of_a_volume_is_the_published_baseline_and_resegmentation_is_the_references(
    case, column, settings, engine
):
    expected = baseline("firstorder", f"{case}{column}")
    spacing_x, spacing_y, spacing_z = SimpleITK.ReadImage(str(FOLDER / f"{case}_image.nrrd")).GetSpacing()
    image, mask = (np.concatenate(list(volume(case, kind)), axis=1) for kind in ("image", "label"))
    wanted = Parameters({"Original": {}}, {"firstorder": None}, settings)
    area_is_a_voxels_volume = (spacing_x, spacing_y * spacing_z)
    found, used = extract(image.astype(float), mask == 1, area_is_a_voxels_volume, wanted, "fast")
    assert used == engine
    assert found == pytest.approx({name: float(expected[name]) for name in found}, rel=1e-9)
    assert len(found) == len(FEATURES["firstorder"])


@pytest.mark.parametrize("case", sorted(SLICES))
def test_shape_of_a_slice_is_the_published_baseline(case):
    expected = baseline("shape2D", f"{case}_shape2D")
    plane = volume(case, "label")[SLICES[case]] == 1
    rows, columns = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
    box = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    spacing = tuple(float(part) for part in expected["diagnostics_Mask-original_Spacing"].strip("()").split(", ")[:2])
    found = dict(zip(FEATURES["shape2D"], shape_features(box, spacing), strict=True))
    assert found == pytest.approx({name: float(expected[f"original_shape2D_{name}"]) for name in found}, rel=1e-9)
