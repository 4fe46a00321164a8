"""The fast engine: pyradiomics' columns with pyradiomics' values, from the ROI and its support only.

What it cannot keep equal it does not compute: `covers` says so for a parameter file, `features_by_image_type` for one
ROI (None for that image type), and `extraction.py` asks the reference engine instead.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from clnm.features.cooccurrence import cooccurrence_features
from clnm.features.degenerate import settle
from clnm.features.discretise import assign_levels, bin_edges, compress_levels
from clnm.features.filters import gradient_magnitude, local_binary_pattern, pointwise, wavelet_bands
from clnm.features.firstorder import firstorder_features
from clnm.features.matrices import ANGLES, NEIGHBOURS, count_neighbours, count_zones, has_line
from clnm.features.names import FEATURES
from clnm.features.parameters import Parameters
from clnm.features.prepare import prepare
from clnm.features.recursive import laplacians
from clnm.features.shape import shape_features
from clnm.features.support import Support, support_of
from clnm.features.texture import ORDER, run_statistics, size_statistics, tone_features

MOST_LEVELS = 512
"""More grey levels in one ROI than this go to the reference engine: the matrices would no longer be small."""
_MOST_BINS = 1_000_000
_ORDER = {name: np.array(places) for name, places in ORDER.items()}
_DEPENDENCE_SIZES = np.arange(1.0, NEIGHBOURS + 2.0)


def extract_fast(
    luminance: np.ndarray, mask: np.ndarray, spacing_xy_mm: tuple[float, float], parameters: Parameters
) -> dict[str, float]:
    """The features the fast engine keeps equal to pyradiomics', by pyradiomics' names and in its order.

    Args:
        luminance: (H, W), any real type; computed in float64.
        mask: (H, W) boolean.
        spacing_xy_mm: millimetres per pixel along x and y.
        parameters: what to compute; image types that `covers` refuses are left out.
    """
    types = [name for name in parameters.image_types if covers(parameters, name)]
    shape, by_type = features_by_image_type(luminance, mask, spacing_xy_mm, parameters, types)
    values = dict(shape)
    for found in by_type.values():
        values.update(found or {})
    return values


def features_by_image_type(
    luminance: np.ndarray,
    mask: np.ndarray,
    spacing_xy_mm: tuple[float, float],
    parameters: Parameters,
    image_types: Iterable[str],
) -> tuple[dict[str, float], dict[str, dict[str, float] | None]]:
    """Shape features, and the features of each image type; None for what the reference engine has to compute.

    Where every image type is None, so are the shape features the reference's to compute.
    """
    prepared = prepare(luminance, mask, spacing_xy_mm, parameters.settings)
    support = support_of(*prepared) if prepared else None
    smallest = parameters.settings.get("minimumROISize")
    if support is None or (smallest is not None and support.pixels.size <= smallest):
        return {}, dict.fromkeys(image_types)
    shape: dict[str, float] = {}
    if "shape2D" in parameters.feature_classes:
        found = shape_features(support.mask, support.spacing_xy_mm)
        shape = _named("original", "shape2D", found, parameters.feature_classes["shape2D"])
    by_type = {name: _image_type_features(support, name, parameters) for name in image_types}
    return shape, by_type


def _image_type_features(support: Support, image_type: str, parameters: Parameters) -> dict[str, float] | None:
    options = parameters.options(image_type)
    values: dict[str, float] = {}
    images = 0
    if not _can_filter(support, image_type):
        return None
    for prefix, roi in _filtered(support, image_type, options):
        found = _roi_features(support, prefix, roi, parameters.feature_classes, options)
        if found is None:
            return None
        values.update(found)
        images += 1
    return values if images else None


def _can_filter(support: Support, image_type: str) -> bool:
    """Whether the filter is defined on this image: pyradiomics divides by zero on an image of zeros."""
    if image_type in ("Square", "SquareRoot", "Logarithm", "Exponential"):
        return max(abs(support.lowest), abs(support.highest)) > 0
    return image_type != "LoG" or min(support.image.shape) >= 4


def _filtered(support: Support, image_type: str, options: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Column prefix and ROI values of each image of an image type."""
    top, bottom, left, right = support.box
    box = support.image[top:bottom, left:right]
    if image_type == "Original":
        yield "original", support.values(box)
    elif image_type == "LoG":
        sigmas = _usable_sigmas(support, options)
        filtered = laplacians(support.image, support.box, support.spacing_xy_mm, [float(sigma) for sigma in sigmas])
        for sigma, image in zip(sigmas, filtered, strict=True):
            yield f"log-sigma-{str(sigma).replace('.', '-')}-mm-3D", support.values(image)
    elif image_type == "Wavelet":
        for band, image in wavelet_bands(support.image, support.box, options.get("wavelet", "coif1")):
            yield f"wavelet-{band}", support.values(image)
    elif image_type == "Gradient":
        spacing = support.spacing_xy_mm if options.get("gradientUseSpacing", True) else (1.0, 1.0)
        yield "gradient", support.values(gradient_magnitude(support.image, support.box, spacing))
    elif image_type == "LBP2D":
        radius, samples = options.get("lbp2DRadius", 1), options.get("lbp2DSamples", 8)
        yield "lbp-2D", support.values(local_binary_pattern(support.image, support.box, radius, samples))
    else:
        roi = pointwise(image_type, support.values(box), support.lowest, support.highest)
        yield image_type.lower(), roi


def _usable_sigmas(support: Support, options: Mapping[str, Any]) -> list[float]:
    """The sigmas pyradiomics applies: above 0, and not wider than the image."""
    size = np.array(support.image.shape[::-1])
    spacing = np.array(support.spacing_xy_mm)
    return [sigma for sigma in options.get("sigma", []) if sigma > 0 and np.all(size >= np.ceil(sigma / spacing) + 1)]


def _roi_features(
    support: Support,
    prefix: str,
    roi: np.ndarray,
    classes: Mapping[str, tuple[str, ...] | None],
    options: Mapping[str, Any],
) -> dict[str, float] | None:
    """All features of one filtered ROI, or None where the reference has to compute them."""
    wanted = [name for name in classes if name in FEATURES and name != "shape2D"]
    lowest, highest = roi.min(), roi.max()
    width, count = options.get("binWidth", 25), options.get("binCount")
    if count is None and not (float(highest) - float(lowest)) / width < _MOST_BINS:
        return None
    try:
        edges = bin_edges(lowest, highest, bin_width=width, bin_count=count).astype(np.float64)
    except ValueError:
        return None
    exact = roi.astype(np.float64)
    levels = np.empty(exact.size, np.int32)
    assign_levels(exact, edges, levels)
    top_level = int(levels.max())
    gray, pixels = compress_levels(levels, top_level)
    if gray.size - 1 > MOST_LEVELS:
        return None
    found: dict[str, np.ndarray] = {}
    if "firstorder" in wanted:
        area = float(np.multiply.reduce(support.spacing_xy_mm))
        found["firstorder"] = firstorder_features(exact, pixels[1:], area, options.get("voxelArrayShift", 0))
    if len(wanted) > len(found):
        texture = _texture_features(support, levels, gray, pixels, top_level, options)
        if texture is None:
            return None
        found.update(texture)
    values: dict[str, float] = {}
    for name in wanted:
        values.update(_named(prefix, name, found[name], classes[name]))
    return values


def _texture_features(
    support: Support,
    ranks: np.ndarray,
    gray: np.ndarray,
    pixels: np.ndarray,
    top_level: int,
    options: Mapping[str, Any],
) -> dict[str, np.ndarray] | None:
    """The five texture classes from one pass over the ROI; None where no two pixels of it touch."""
    pairs, runs, dependence, difference, parent = count_neighbours(
        support.pixels, ranks, support.width, support.grid, gray, options.get("gldm_a", 0), max(support.mask.shape)
    )
    zones, sizes = count_zones(support.pixels, ranks, parent, gray.size)
    pairs, gray = np.ascontiguousarray(pairs[:, 1:, 1:]), gray[1:]
    touching = np.asarray(pairs.any(axis=(1, 2)))
    if not touching.any():
        return None
    symmetric = bool(options.get("symmetricalGLCM", True))
    glcm, degenerate = cooccurrence_features(pairs, gray, top_level, symmetric)
    if degenerate:
        settle(glcm, pairs, gray, symmetric=symmetric)
    kept = np.array([touching[angle] or has_line(support.pixels, support.width, angle) for angle in range(ANGLES)])
    return {
        "glcm": glcm,
        "glrlm": run_statistics(runs[:, 1:], gray, kept)[_ORDER["glrlm"]],
        "glszm": size_statistics(zones[1:], sizes, gray)[_ORDER["glszm"]],
        "gldm": size_statistics(dependence[1:], _DEPENDENCE_SIZES, gray)[_ORDER["gldm"]],
        "ngtdm": tone_features(pixels[1:], difference[1:], gray),
    }


@functools.lru_cache(maxsize=4096)
def _names(prefix: str, feature_class: str, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(f"{prefix}_{feature_class}_{name}" for name in wanted or FEATURES[feature_class])


def _named(prefix: str, feature_class: str, found: np.ndarray, wanted: tuple[str, ...] | None) -> dict[str, float]:
    if wanted:
        found = found[[FEATURES[feature_class].index(name) for name in wanted]]
    return dict(zip(_names(prefix, feature_class, wanted), found.tolist(), strict=True))


def covers(parameters: Parameters, image_type: str) -> bool:
    """Whether the fast engine keeps every value of this image type equal to pyradiomics' under these parameters."""
    from clnm.features.coverage import covers_classes, covers_image_type, covers_settings

    return (
        covers_classes(parameters.feature_classes)
        and covers_settings(parameters.options(image_type))
        and covers_image_type(image_type, parameters.options(image_type))
        and (image_type != "LoG" or rounds_as_itk())
    )


@functools.cache
def rounds_as_itk() -> bool:
    """Whether this process filters an image to the same bits as SimpleITK: another processor or build may not."""
    import SimpleITK

    image = np.random.default_rng(0).integers(0, 200, (40, 48)).astype(np.float64)
    picture = SimpleITK.GetImageFromArray(image)
    picture.SetSpacing((0.08, 0.1))
    expected = SimpleITK.GetArrayFromImage(
        SimpleITK.LaplacianRecursiveGaussian(picture, sigma=0.5, normalizeAcrossScale=True)
    )
    [found] = laplacians(image, (0, 40, 0, 48), (0.08, 0.1), [0.5])
    return bool(np.array_equal(found, expected))


def warm() -> None:
    """Compile the kernels, or load them from numba's cache, once per worker."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (32, 40)).astype(np.float64)
    mask = np.zeros(image.shape, bool)
    mask[6:26, 8:30] = True
    types: dict[str, dict[str, Any]] = {name: {} for name in ("Original", "Wavelet", "Gradient", "LBP2D", "Square")}
    parameters = Parameters(
        image_types={**types, "LoG": {"sigma": [1.0]}}, feature_classes=dict.fromkeys(FEATURES), settings={}
    )
    extract_fast(image, mask, (0.5, 0.5), parameters)
