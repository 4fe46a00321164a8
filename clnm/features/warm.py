"""Imported, not called, by the process that workers are forked from: it loads what the first ROI of each would load.

The fast engine's kernels come from the disk in half a second, or are compiled in many; a worker that died is replaced
by one that has them.
"""

from __future__ import annotations

import numpy as np

from clnm.features.extraction import extract
from clnm.features.names import FEATURES, PREFIXES
from clnm.features.parameters import Parameters

_SIDE_PX = 24
_EVERYTHING = Parameters(
    image_types={name: {"sigma": [1.0]} if name == "LoG" else {} for name in PREFIXES},
    feature_classes=dict.fromkeys(FEATURES),
    settings={"binCount": 32},
)

_luminance = np.random.default_rng(0).integers(1, 255, (_SIDE_PX, _SIDE_PX), dtype=np.uint8)
_mask = np.zeros((_SIDE_PX, _SIDE_PX), dtype=bool)
_mask[6:18, 6:18] = True
extract(_luminance, _mask, (1.0, 1.0), _EVERYTHING, "fast")
