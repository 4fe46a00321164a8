"""Extract: radiomics and embeddings of every ROI that lacks the current feature set, in shards on the cluster."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clnm import cluster
from clnm.entities import ItemKind, Reason, SetAside
from clnm.errors import ConfigurationError, nearest
from clnm.features.catalog import feature_set_version
from clnm.features.parameters import Parameters, fingerprint, read_parameters
from clnm.imaging import cache
from clnm.pipeline.encoder import Encoder, encoder_for, spacing
from clnm.pipeline.run import Run, rows

SHARD_SIZE = 16
"""ROIs in one Dask task and one commit, at most: a killed run loses at most this many per task in flight."""
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
    crop: np.ndarray | None = None
    """What is still to be embedded; never leaves the worker."""
    embedding: np.ndarray | None = None
    failure: Reason | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """What to compute again although it is there."""

    centers: tuple[str, ...] = ()
    """None named: all."""
    since: datetime | None = None
    """Acquired then or later."""
    until: datetime | None = None
    """Acquired before."""


def extract_center(run: Run, center: str, *, backfill: Backfill | None = None) -> None:
    """Compute what `center` lacks; each finished shard is one commit, so a stop loses at most those in flight.

    Raises:
        ConfigurationError: the backfill names a center that is not configured.
    """
    if backfill and (unknown := sorted(set(backfill.centers) - set(run.centers))):
        raise ConfigurationError(f"no center {unknown[0]!r}; {nearest(unknown[0], run.centers)}")
    installation = run.installation
    parameters = read_parameters(installation.path(installation.settings.radiomics.params))
    engine = installation.settings.radiomics.engine
    extractor = Extractor(installation.pixels, parameters, engine, encoder_for(run))
    versions = feature_set_versions(extractor)
    todo = installation.store.run_query(
        "rois_to_extract",
        center=center,
        radiomics_version=versions["radiomics"],
        deep_version=versions.get("deep"),
        started_at=run.started_at,
        is_backfill=backfill is not None and center in (backfill.centers or run.centers),
        since=backfill.since if backfill else None,
        until=backfill.until if backfill else None,
    )
    rois = {row["roi_key"]: row for row in todo}
    done = failed = 0
    for extracted in _extracted_shards(run, extractor, todo):
        commit_shard(run, center, rois, extracted, versions=versions, encoder=extractor.encoder)
        failures = sum(item.failure is not None for item in extracted)
        done, failed = done + len(extracted) - failures, failed + failures
    run.count("extract", center, {"extracted": done, "failed": failed})


def feature_set_versions(extractor: Extractor) -> dict[str, str]:
    """The current version of each feature set, by name."""
    parts = {"parameters": fingerprint(extractor.parameters), "engine": extractor.engine}
    versions = {"radiomics": feature_set_version("radiomics", parts)}
    if extractor.encoder is not None:
        parts = {"backbone": extractor.encoder.backbone, "weights": extractor.encoder.sha256}
        versions["deep"] = feature_set_version("deep", parts)
    return versions


def extract_roi(extractor: Extractor, task: RoiTask) -> Extracted:
    """The features of one ROI, on a worker; a bad one is an answer, not an error."""
    from clnm.features.crops import crop_roi
    from clnm.features.extraction import extract
    from clnm.features.radiomics import ExtractionError

    try:
        luminance = cache.read_image(extractor.pixels, task.image_key)
        mask = cache.read_mask(extractor.pixels, task.roi_key)
    except (OSError, ValueError, EOFError):  # gone, or not what was written
        return Extracted(task.roi_key, failure=Reason.IO_ERROR)
    values, engine = None, ""
    if task.needs_radiomics:
        try:
            values, engine = extract(luminance, mask, task.spacing_xy_mm, extractor.parameters, extractor.engine)
        except ExtractionError as error:
            return Extracted(task.roi_key, failure=error.reason)
    crop = crop_roi(luminance, mask, task.spacing_xy_mm) if task.needs_deep and extractor.encoder else None
    return Extracted(task.roi_key, engine, values, crop=crop)


def embed_shard(extractor: Extractor, extracted: Sequence[Extracted]) -> list[Extracted]:
    """Embeddings in place of the crops: several at once take less than half the time."""
    from clnm.features.deep import embed

    crops = [item.crop for item in extracted if item.crop is not None]
    if not crops or extractor.encoder is None:
        return list(extracted)
    vectors = iter(embed(np.stack(crops), extractor.encoder.path, backbone=extractor.encoder.backbone))
    return [item if item.crop is None else replace(item, crop=None, embedding=next(vectors)) for item in extracted]


def _extracted_shards(run: Run, extractor: Extractor, todo: Sequence[dict[str, Any]]) -> Iterator[list[Extracted]]:
    tasks = [
        RoiTask(row["roi_key"], row["image_key"], spacing(row), row["needs_radiomics"], row["needs_deep"])
        for row in todo
    ]
    if not tasks:
        return
    in_flight = 2 * run.installation.workers
    size = min(SHARD_SIZE, math.ceil(len(tasks) / in_flight))
    shards = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    work = cluster.Work(functools.partial(extract_roi, extractor), functools.partial(embed_shard, extractor))
    for result in cluster.run_shards(run.cluster(), work, shards, in_flight=in_flight, time_limit_s=TIME_LIMIT_SECONDS):
        lost = [Extracted(failure.item.roi_key, failure=failure.reason) for failure in result.failures]
        yield [*result.done, *lost]


def commit_shard(
    run: Run,
    center: str,
    rois: Mapping[str, Mapping[str, Any]],
    extracted: Sequence[Extracted],
    *,
    versions: Mapping[str, str],
    encoder: Encoder | None,
) -> None:
    """Stage what was computed, and set aside what could not be, in one atomic step."""

    def fixed(item: Extracted, version: str) -> dict[str, Any]:
        roi = rois[item.roi_key]
        same = {name: roi[name] for name in ("roi_key", "case_key", "acquired_at", "known_at")}
        return {**same, "center": center, "computed_at": run.started_at, "feature_set_version": version}

    with_values = [item for item in extracted if item.values is not None]
    with_vector = [item for item in extracted if item.embedding is not None]
    failures = [item for item in extracted if item.failure is not None]
    with run.commit() as batch:
        if with_values:
            table = rows("radiomics", [{**fixed(i, versions["radiomics"]), "engine": i.engine} for i in with_values])
            names = list(with_values[0].values or ())
            features = zip(*([(item.values or {}).get(name) for name in names] for item in with_values), strict=True)
            columns = [*table.columns, *(pa.array(column, pa.float64()) for column in features)]
            batch.stage("radiomics", center, pa.table(columns, names=[*table.column_names, *names]))
        if with_vector and encoder is not None:
            same = {"backbone": encoder.backbone, "weights_sha256": encoder.sha256}
            content = [{**fixed(i, versions["deep"]), **same, "embedding": i.embedding} for i in with_vector]
            batch.stage("deep", center, rows("deep", content))
        if failures:
            batch.append("quarantine", rows("quarantine", [_set_aside(run, center, item) for item in failures]))


def _set_aside(run: Run, center: str, item: Extracted) -> dict[str, Any]:
    assert item.failure is not None
    return asdict(SetAside(item.roi_key, ItemKind.ROI, center, item.failure, "", run.started_at))
