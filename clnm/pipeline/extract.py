"""Extract: radiomics and embeddings of every ROI that lacks the current feature set, in shards on the cluster."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from clnm import cluster
from clnm.entities import ItemKind, SetAside, as_row
from clnm.errors import ConfigurationError, nearest
from clnm.features.catalog import feature_set_version
from clnm.features.parameters import fingerprint, read_parameters
from clnm.features.worker import Extracted, Extractor, FinishedShard, RoiTask, extract_roi, finish_shard
from clnm.pipeline.encoder import Encoder, encoder_for, spacing
from clnm.pipeline.run import Run
from clnm.store.staging import encode_rows
from clnm.store.tables import rows

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
    if backfill or any("rois" in staged for staged in installation.store.manifest().staged.values()):
        run.expect_work()
    parameters = read_parameters(installation.path(installation.settings.radiomics.params))
    encoder = encoder_for(run)
    program = encoder.program_in(installation.programs) if encoder else None
    extractor = Extractor(installation.pixels, parameters, installation.settings.radiomics.engine, program)
    versions = feature_set_versions(extractor, encoder)
    counts = {center: {"extracted": 0, "failed": 0} for center in run.centers}
    work = shard_work(run, extractor, versions, encoder)
    for center, finished in _finished(run, work, _shards(run, versions, backfill)):
        commit_shard(run, center, finished)
        counts[center]["extracted"] += finished.extracted
        counts[center]["failed"] += len(finished.failures)
    for center, count in counts.items():
        run.count("extract", center, count)


def shard_work(run: Run, extractor: Extractor, versions: Mapping[str, str], encoder: Encoder | None) -> cluster.Work:
    """What workers do: from ROIs to rows that are encoded for the commit."""
    stamps = {
        name: {"computed_at": run.started_at, "feature_set_version": version} for name, version in versions.items()
    }
    if encoder is not None:
        stamps["deep"] |= {"backbone": encoder.backbone, "weights_sha256": encoder.sha256}
    return cluster.Work(
        functools.partial(extract_roi, extractor), functools.partial(finish_shard, extractor, stamps, encode_rows)
    )


def feature_set_versions(extractor: Extractor, encoder: Encoder | None) -> dict[str, str]:
    """The current version of each feature set, by name."""
    parts = {"parameters": fingerprint(extractor.parameters), "engine": extractor.engine}
    versions = {"radiomics": feature_set_version("radiomics", parts)}
    if encoder is not None:
        parts = {"backbone": encoder.backbone, "weights": encoder.sha256, "precision": encoder.precision}
        versions["deep"] = feature_set_version("deep", parts)
    return versions


def cut_shards(count: int, sharers: int) -> Iterator[slice]:
    """Shards that grow small towards the end: a share of what is left, within bounds, that fills a network's batches.

    Args:
        count: ROIs of one center.
        sharers: shards that run at a time after which nothing follows, so that no worker waits long for the last of
            another; 1 where more centers follow.
    """
    start = 0
    while start < count:
        share = math.ceil((count - start) / (sharers * SMALLEST_SHARD)) * SMALLEST_SHARD
        size = min(SHARD_SIZE, share, count - start)
        yield slice(start, start + size)
        start += size


def _shards(run: Run, versions: Mapping[str, str], backfill: Backfill | None) -> Iterator[Sequence[RoiTask]]:
    """What is to be done, center by center. All of them are asked for at first: workers are still starting then."""
    todo = {center: _todo(run, center, versions, backfill) for center in run.centers}
    todo = {center: table for center, table in todo.items() if table.num_rows}
    for number, (center, table) in enumerate(todo.items(), start=1):
        sharers = cluster.in_flight_of(run.cluster()) if number == len(todo) else 1
        for part in cut_shards(table.num_rows, sharers):
            found = table.slice(part.start, part.stop - part.start).to_pylist()
            yield [task_of(row, center) for row in found]


def _todo(run: Run, center: str, versions: Mapping[str, str], backfill: Backfill | None) -> pa.Table:
    return run.installation.store.table(
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


def task_of(row: dict[str, Any], center: str) -> RoiTask:
    """A row of `rois_to_extract` as a worker is told it."""
    facts = {name: row[name] for name in ("roi_key", "case_key", "acquired_at", "known_at")}
    return RoiTask(
        row["roi_key"],
        row["image_key"],
        spacing(row),
        row["needs_radiomics"],
        row["needs_deep"],
        {**facts, "center": center},
    )


def _finished(run: Run, work: cluster.Work, shards: Iterator[Sequence[RoiTask]]) -> Iterator[tuple[str, FinishedShard]]:
    """Each shard as it comes, and its center; without a shard no worker is started."""
    first = next(shards, None)
    if first is None:
        return
    handle = run.cluster()
    results = cluster.run_shards(
        handle,
        work,
        itertools.chain([first], shards),
        in_flight=cluster.in_flight_of(handle),
        time_limit_s=TIME_LIMIT_SECONDS,
    )
    for result in results:
        if result.failures:
            lost = [Extracted(failure.item, failure=failure.reason) for failure in result.failures]
            yield result.shard[0].facts["center"], FinishedShard(0, [], lost)
        else:
            yield result.shard[0].facts["center"], result.done


def commit_shard(run: Run, center: str, finished: FinishedShard) -> None:
    """Stage what was computed, and set aside what could not be, in one atomic step."""
    with run.commit() as batch:
        for encoded in finished.encoded:
            batch.stage_encoded(encoded)
        if finished.failures:
            batch.append(
                "quarantine", rows("quarantine", [_set_aside(run, center, item) for item in finished.failures])
            )


def _set_aside(run: Run, center: str, item: Extracted) -> dict[str, Any]:
    assert item.failure is not None
    return as_row(SetAside(item.task.roi_key, ItemKind.ROI, center, item.failure, item.detail, run.started_at))
