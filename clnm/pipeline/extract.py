"""Extract: radiomics and embeddings of every ROI that has none of the current feature set, in shards on the Dask cluster."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clnm import cluster
from clnm.entities import ItemKind, Reason, SetAside
from clnm.features.catalog import feature_set_version
from clnm.features.parameters import Parameters, column_names, fingerprint, read_parameters
from clnm.imaging import cache
from clnm.pipeline.encoder import Encoder, encoder_for, spacing
from clnm.pipeline.run import Run, rows

SHARD_SIZE = 16
"""ROIs in one Dask task and one commit: a killed run loses at most this many per worker."""
TIME_LIMIT_SECONDS = 300.0
"""For one ROI; the slowest real one measured took a few seconds with the reference engine."""


@dataclass(frozen=True, slots=True)
class RoiTask:
    """One ROI to extract; its pixels are in the private cache, under keys alone."""

    roi_key: str
    image_key: str
    spacing_xy_mm: tuple[float, float] | None
    needs_radiomics: bool
    needs_deep: bool


@dataclass(frozen=True, slots=True)
class Extractor:
    """What a worker is told once per shard."""

    pixels: Path
    parameters: Parameters
    engine: str
    encoder: Encoder | None


@dataclass(frozen=True, slots=True)
class Extracted:
    """The features of one ROI, or the reason there are none."""

    roi_key: str
    engine: str = ""
    values: Mapping[str, float | None] | None = None
    embedding: np.ndarray | None = None
    failure: Reason | None = None


def extract_center(run: Run, center: str) -> None:
    """Compute what is missing for `center`; each finished shard is one commit, so a stop loses at most those in flight."""
    installation = run.installation
    parameters = read_parameters(installation.path(installation.settings.radiomics.params))
    extractor = Extractor(
        installation.pixels, parameters, installation.settings.radiomics.engine, encoder_for(run)
    )
    versions = feature_set_versions(extractor)
    todo = installation.store.run_query(
        "rois_to_extract", center=center, radiomics_version=versions["radiomics"], deep_version=versions.get("deep")
    )
    rois = {row["roi_key"]: row for row in todo}
    done = failed = 0
    for extracted in _extracted_shards(run, extractor, todo):
        _commit(run, center, rois, extracted, versions, extractor)
        failures = sum(item.failure is not None for item in extracted)
        done, failed = done + len(extracted) - failures, failed + failures
    run.count("extract", center, {"extracted": done, "failed": failed})


def feature_set_versions(extractor: Extractor) -> dict[str, str]:
    """The current version of each feature set, by name."""
    versions = {
        "radiomics": feature_set_version(
            "radiomics", {"parameters": fingerprint(extractor.parameters), "engine": extractor.engine}
        )
    }
    if extractor.encoder is not None:
        parts = {"backbone": extractor.encoder.backbone, "weights": extractor.encoder.sha256}
        versions["deep"] = feature_set_version("deep", parts)
    return versions


def extract_shard(extractor: Extractor, tasks: Sequence[RoiTask]) -> list[Extracted]:
    """The features of some ROIs, on a worker. One bad ROI is one failure; the others go on."""
    from clnm.features.deep import crop_roi, embed
    from clnm.features.extraction import extract
    from clnm.features.radiomics import ExtractionError

    found: list[Extracted] = []
    for task in tasks:
        luminance = cache.read_image(extractor.pixels, task.image_key)
        mask = cache.read_mask(extractor.pixels, task.roi_key)
        values, engine, embedding = None, "", None
        try:
            if task.needs_radiomics:
                values, engine = extract(luminance, mask, task.spacing_xy_mm, extractor.parameters, extractor.engine)
        except ExtractionError as error:
            found.append(Extracted(task.roi_key, failure=error.reason))
            continue
        if task.needs_deep and extractor.encoder is not None:
            crop = crop_roi(luminance, mask, task.spacing_xy_mm)
            embedding = embed(crop[None], extractor.encoder.path, backbone=extractor.encoder.backbone)[0]
        found.append(Extracted(task.roi_key, engine, values, embedding))
    return found


def _extracted_shards(run: Run, extractor: Extractor, todo: Sequence[Mapping[str, Any]]) -> Any:
    if not todo:
        return
    tasks = [
        RoiTask(row["roi_key"], row["image_key"], spacing(dict(row)), row["needs_radiomics"], row["needs_deep"])
        for row in todo
    ]
    shards = [tasks[start : start + SHARD_SIZE] for start in range(0, len(tasks), SHARD_SIZE)]
    function = functools.partial(extract_shard, extractor)
    for result in cluster.run_shards(
        run.cluster(), function, shards, in_flight=2 * run.installation.workers, time_limit_s=TIME_LIMIT_SECONDS
    ):
        yield result
