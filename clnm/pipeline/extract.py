"""Extract: radiomics and embeddings of every ROI that lacks the current feature set, in shards on the cluster."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from clnm import cluster
from clnm.entities import ItemKind, SetAside
from clnm.errors import ConfigurationError, nearest
from clnm.features.catalog import feature_set_version
from clnm.features.parameters import fingerprint, read_parameters
from clnm.features.worker import Extracted, Extractor, RoiTask, embed_shard, extract_roi
from clnm.pipeline.encoder import Encoder, encoder_for, spacing
from clnm.pipeline.run import Run, rows

SHARD_SIZE, SMALLEST_SHARD = 32, 8
"""ROIs in one Dask task and one commit: a killed run loses at most this many per task in flight; as many as a network
takes at once, at least."""
TIME_LIMIT_SECONDS = 300.0
"""For one ROI; the slowest real one measured took a few seconds with the reference engine."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """What to compute again although it is there."""

    centers: tuple[str, ...] = ()
    """None named: all."""
    since: datetime | None = None
    """Acquired then or later."""
    until: datetime | None = None
    """Acquired before."""


def extract(run: Run, *, backfill: Backfill | None = None) -> None:
    """Compute what is missing; each finished shard is one commit, so a stop loses at most those in flight.

    Workers go from one center's shards to the next one's without a pause; no shard has ROIs of two centers.

    Raises:
        ConfigurationError: the backfill names a center that is not configured.
    """
    if backfill and (unknown := sorted(set(backfill.centers) - set(run.centers))):
        raise ConfigurationError(f"no center {unknown[0]!r}; {nearest(unknown[0], run.centers)}")
    installation = run.installation
    parameters = read_parameters(installation.path(installation.settings.radiomics.params))
    encoder = encoder_for(run)
    program = encoder.program_in(installation.programs) if encoder else None
    extractor = Extractor(installation.pixels, parameters, installation.settings.radiomics.engine, program)
    versions = feature_set_versions(extractor, encoder)
    counts = {center: {"extracted": 0, "failed": 0} for center in run.centers}
    waiting: dict[str, dict[str, Any]] = {}
    for extracted in _extracted(run, extractor, _shards(run, versions, backfill, waiting)):
        rois = {item.roi_key: waiting.pop(item.roi_key) for item in extracted}
        [center] = {roi["center"] for roi in rois.values()}
        commit_shard(run, center, rois, extracted, versions=versions, encoder=encoder)
        failures = sum(item.failure is not None for item in extracted)
        counts[center]["extracted"] += len(extracted) - failures
        counts[center]["failed"] += failures
    for center, count in counts.items():
        run.count("extract", center, count)


def feature_set_versions(extractor: Extractor, encoder: Encoder | None) -> dict[str, str]:
    """The current version of each feature set, by name."""
    parts = {"parameters": fingerprint(extractor.parameters), "engine": extractor.engine}
    versions = {"radiomics": feature_set_version("radiomics", parts)}
    if encoder is not None:
        parts = {"backbone": encoder.backbone, "weights": encoder.sha256, "precision": encoder.precision}
        versions["deep"] = feature_set_version("deep", parts)
    return versions


def cut_shards(tasks: Sequence[RoiTask], sharers: int) -> Iterator[Sequence[RoiTask]]:
    """Shards that grow small towards the end: a share of what is left, within bounds.

    Args:
        tasks: of one center.
        sharers: shards that run at a time after which nothing follows, so that no worker waits long for the last of
            another; 1 where more centers follow.
    """
    start = 0
    while start < len(tasks):
        size = min(SHARD_SIZE, max(SMALLEST_SHARD, math.ceil((len(tasks) - start) / sharers)))
        yield tasks[start : start + size]
        start += size


def _shards(
    run: Run, versions: Mapping[str, str], backfill: Backfill | None, waiting: dict[str, dict[str, Any]]
) -> Iterator[Sequence[RoiTask]]:
    """What is to be done, center by center; a center is asked for when the one before is handed out.

    `waiting` is filled with the row of each ROI that was handed out.
    """
    for center in run.centers:
        todo = run.installation.store.run_query(
            "rois_to_extract",
            center=center,
            radiomics_version=versions["radiomics"],
            deep_version=versions.get("deep"),
            started_at=run.started_at,
            as_of=run.as_of,
            is_backfill=backfill is not None and center in (backfill.centers or run.centers),
            since=backfill.since if backfill else None,
            until=backfill.until if backfill else None,
        )
        waiting.update((row["roi_key"], {**row, "center": center}) for row in todo)
        tasks = [
            RoiTask(row["roi_key"], row["image_key"], spacing(row), row["needs_radiomics"], row["needs_deep"])
            for row in todo
        ]
        yield from cut_shards(tasks, _in_flight(run) if center == run.centers[-1] else 1)


def _extracted(run: Run, extractor: Extractor, shards: Iterator[Sequence[RoiTask]]) -> Iterator[list[Extracted]]:
    """What became of each shard, as it comes; without a shard no worker is started."""
    first = next(shards, None)
    if first is None:
        return
    work = cluster.Work(functools.partial(extract_roi, extractor), functools.partial(embed_shard, extractor))
    results = cluster.run_shards(
        run.cluster(),
        work,
        itertools.chain([first], shards),
        in_flight=_in_flight(run),
        time_limit_s=TIME_LIMIT_SECONDS,
    )
    for result in results:
        lost = [Extracted(failure.item.roi_key, failure=failure.reason) for failure in result.failures]
        yield [*result.done, *lost]


def _in_flight(run: Run) -> int:
    return 2 * run.installation.workers


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
            fields = [pa.field(name, pa.float64()) for name in feature_names(with_values)]
            known = [{**fixed(i, versions["radiomics"]), "engine": i.engine, **(i.values or {})} for i in with_values]
            batch.stage("radiomics", center, rows("radiomics", known, more=fields))
        if with_vector and encoder is not None:
            same = {"backbone": encoder.backbone, "weights_sha256": encoder.sha256}
            content = [{**fixed(i, versions["deep"]), **same, "embedding": i.embedding} for i in with_vector]
            batch.stage("deep", center, rows("deep", content))
        if failures:
            batch.append("quarantine", rows("quarantine", [_set_aside(run, center, item) for item in failures]))


def feature_names(extracted: Sequence[Extracted]) -> list[str]:
    """Every feature that one of them has: a small image has fewer LoG images than its neighbours."""
    return list(dict.fromkeys(itertools.chain.from_iterable(item.values or () for item in extracted)))


def _set_aside(run: Run, center: str, item: Extracted) -> dict[str, Any]:
    assert item.failure is not None
    return asdict(SetAside(item.roi_key, ItemKind.ROI, center, item.failure, item.detail, run.started_at))
