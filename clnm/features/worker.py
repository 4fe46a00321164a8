"""What a worker does with a ROI: pixels from the cache in, rows out; a bad ROI is an answer, not an error.

Nothing of the store or the settings is imported here: what encodes rows is handed in.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clnm.entities import Reason
from clnm.errors import ConfigurationError
from clnm.features.catalog import code_digest
from clnm.features.parameters import Parameters
from clnm.imaging import cache

EncodeRows = Callable[[str, str, Sequence[Mapping[str, Any]], Sequence[str]], Any]
"""Feature set, center, rows and the features among their columns: what the driver commits as it is."""


@dataclass(frozen=True, slots=True)
class RoiTask:
    """One ROI to extract; its pixels are in the private cache, under keys alone."""

    roi_key: str
    image_key: str
    spacing_xy_mm: tuple[float, float] | None
    needs_radiomics: bool
    needs_deep: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What its rows say beside the features: keys, center, clocks."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """What a worker is told once per shard."""

    pixels: Path
    parameters: Parameters
    engine: str
    program: Path | None
    """The network; None where there are no embeddings."""
    code: str = field(default_factory=code_digest)
    """Of the process that hands out the work, and says which version the rows are of."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """The features of one ROI, or the reason there are none."""

    task: RoiTask
    engine: str = ""
    values: Mapping[str, float | None] | None = None
    crop: np.ndarray | None = None
    """What is still to be embedded; never leaves the worker."""
    embedding: np.ndarray | None = None
    failure: Reason | None = None
    detail: str = ""
    """A sentence about the failure; it names nobody and no path."""


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """What the driver gets of a shard: rows that are encoded already, and the ROIs without any."""

    extracted: int
    encoded: list[Any]
    failures: list[Extracted]


def extract_roi(extractor: Extractor, task: RoiTask) -> Extracted:
    """The features of one ROI, on a worker; a bad one is an answer, not an error.

    Raises:
        ConfigurationError: this worker's code is not that of who asks.
    """
    from clnm.features.crops import crop_roi
    from clnm.features.extraction import extract
    from clnm.features.radiomics import ExtractionError

    if extractor.code != code_digest():
        raise ConfigurationError("[compute] scheduler: a worker runs another clnm than this one; start workers of this")
    try:
        luminance = cache.read_image(extractor.pixels, task.image_key)
        mask = cache.read_mask(extractor.pixels, task.roi_key)
    except (OSError, ValueError, EOFError):  # gone, or not what was written
        return Extracted(task, failure=Reason.IO_ERROR)
    values, engine = None, ""
    if task.needs_radiomics:
        try:
            values, engine = extract(luminance, mask, task.spacing_xy_mm, extractor.parameters, extractor.engine)
        except ExtractionError as error:
            return Extracted(task, failure=error.reason, detail=str(error))
    crop = crop_roi(luminance, mask, task.spacing_xy_mm) if task.needs_deep and extractor.program else None
    return Extracted(task, engine, values, crop=crop)


def finish_shard(
    extractor: Extractor, stamps: Mapping[str, Mapping[str, Any]], encode: EncodeRows, extracted: Sequence[Extracted]
) -> FinishedShard:
    """The rows of a shard: to embed and to encode many at once takes a fraction of the time, and the driver none.

    Args:
        extractor: how they were extracted.
        stamps: what every row of a feature set says, by its name.
        encode: makes of rows what the driver commits.
        extracted: of one center.
    """
    embedded = embed_shard(extractor, extracted)
    radiomics = [
        {**item.task.facts, **stamps["radiomics"], "engine": item.engine, **item.values}
        for item in embedded
        if item.values is not None
    ]
    deep = [
        {**item.task.facts, **stamps["deep"], "embedding": item.embedding}
        for item in embedded
        if item.embedding is not None
    ]
    features = feature_names(item.values for item in embedded if item.values is not None)
    sets = [("radiomics", radiomics, features), ("deep", deep, [])]
    failures = [item for item in embedded if item.failure is not None]
    return FinishedShard(
        extracted=len(embedded) - len(failures),
        encoded=[encode(name, found[0]["center"], found, columns) for name, found, columns in sets if found],
        failures=failures,
    )


def embed_shard(extractor: Extractor, extracted: Sequence[Extracted]) -> list[Extracted]:
    """Embeddings in place of the crops: several at once take less than half the time."""
    from clnm.features.deep import embed

    crops = [item.crop for item in extracted if item.crop is not None]
    if not crops or extractor.program is None:
        return list(extracted)
    vectors = iter(embed(np.stack(crops), extractor.program))
    return [item if item.crop is None else replace(item, crop=None, embedding=next(vectors)) for item in extracted]


def feature_names(found: Iterable[Mapping[str, float | None]]) -> list[str]:
    """Every feature that one ROI has: a small image has fewer LoG images than its neighbours."""
    return list(dict.fromkeys(itertools.chain.from_iterable(found)))


def perturb_roi(extractor: Extractor, task: RoiTask) -> tuple[str, list[dict[str, float | None]]]:
    """A ROI's features under every perturbation, on a worker; none for one that cannot be computed once."""
    from clnm.features.extraction import extract
    from clnm.features.radiomics import ExtractionError
    from clnm.features.robustness import perturb

    rated = []
    try:
        luminance = cache.read_image(extractor.pixels, task.image_key)
        mask = cache.read_mask(extractor.pixels, task.roi_key)
        seed = zlib.crc32(np.packbits(mask).tobytes())  # its key is another one in each installation
        for changed, drawn in perturb(luminance, mask, seed=seed):
            values, _ = extract(changed, drawn, task.spacing_xy_mm, extractor.parameters, extractor.engine)
            rated.append(values)
    except (ExtractionError, OSError, ValueError, EOFError):  # the sample does without it
        return task.roi_key, []
    return task.roi_key, rated
