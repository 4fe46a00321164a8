"""The fast engine against pyradiomics: paired CPU time on the same image, one core, interleaved.

Run: python bench/radiomics.py [repeats]
"""

import logging
import os
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[threads] = "1"
sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: this file has the name of what it measures

import numpy as np
import SimpleITK

from clnm.features.fast import extract_fast, warm
from clnm.features.names import FEATURES
from clnm.features.parameters import Parameters
from tests.unit.fast_agreement import ALL_TYPES, blob, disagreements, speckle

SHAPE, SPACING_MM = (600, 800), (0.1, 0.1)
AREAS_PX = (2_000, 10_000, 35_000)
SETTINGS = {"binCount 32": {"binCount": 32}, "binWidth 5": {"binWidth": 5}}


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    names = ("pyradiomics", "numba", "numpy", "SimpleITK", "PyWavelets", "scikit-image")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
    started = time.process_time()
    warm()
    print(f"loading or compiling the kernels: {time.process_time() - started:.1f} s CPU")
    print("\nimage types  discretised  ROI px  fast ms  pyradiomics ms  ratio [quartiles]  ratio, no provenance")
    for title, types in (("Original", {"Original": {}}), ("all 16", ALL_TYPES)):
        for setting, options in SETTINGS.items():
            rows = []
            for area in AREAS_PX:
                rows += compare(title, setting, area, Parameters(types, dict.fromkeys(FEATURES), options), repeats)
            print(f"  values beyond the limits: {len(disagreements(rows))} of {len(rows) * len(rows[0][0])}")


def compare(title: str, setting: str, area: int, parameters: Parameters, repeats: int) -> list:
    rows, fast_ms, slow_ms, bare_ms = [], [], [], []
    for seed in range(repeats):
        image, mask = speckle(seed, SHAPE), blob(area, seed, SHAPE)
        spent, _ = timed(pyradiomics, image, mask, parameters, provenance=True)
        slow_ms.append(spent)
        spent, fast = timed(extract_fast, image, mask, SPACING_MM, parameters)
        fast_ms.append(spent)
        spent, reference = timed(pyradiomics, image, mask, parameters, provenance=False)
        bare_ms.append(spent)
        rows.append((reference, fast))
    ratios = np.divide(slow_ms, fast_ms)
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    bare = np.median(np.divide(bare_ms, fast_ms))
    print(
        f"{title:11}  {setting:11}  {area:6}  {np.median(fast_ms):7.1f}  {np.median(slow_ms):14.0f}  "
        f"{middle:5.1f} [{low:.1f}-{high:.1f}]  {bare:20.1f}",
        flush=True,
    )
    return rows


def timed(function, *arguments, **options):
    started = time.process_time()
    result = function(*arguments, **options)
    return (time.process_time() - started) * 1e3, result


def pyradiomics(image, mask, parameters, *, provenance):
    """pyradiomics as its users call it, with its diagnostics (the default) or without."""
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    extractor = RadiomicsFeatureExtractor(**{**parameters.settings, "additionalInfo": provenance})
    extractor.disableAllImageTypes()
    extractor.disableAllFeatures()
    for name, options in parameters.image_types.items():
        extractor.enableImageTypeByName(name, customArgs=dict(options))
    for name in parameters.feature_classes:
        extractor.enableFeatureClassByName(name)
    picture = SimpleITK.GetImageFromArray(image)
    label = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    for part in (picture, label):
        part.SetSpacing(SPACING_MM)
    found = extractor.execute(picture, label)
    return {name: float(value) for name, value in found.items() if not name.startswith("diagnostics_")}


if __name__ == "__main__":
    main()
