"""One run: the store's lock, the lineage of its rows, its Dask cluster, and what it has to say at the end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clnm import cluster, log
from clnm.archive.lookers import Lookers
from clnm.entities import CODE_VERSION, Lineage
from clnm.errors import (
    BatchHeldError,
    ConfigurationError,
    NothingToDoError,
    QuarantineLimitError,
    StoreError,
    UserError,
)
from clnm.imaging import cache
from clnm.pipeline.installation import Installation, open_installation
from clnm.quality import suites
from clnm.quality.process import Suites, suites_ahead
from clnm.store import Batch, Store, Writer
from clnm.store.renaming import centers_of, rename_centers
from clnm.store.tables import rows

_ALWAYS_HEAVY = (
    "clnm.features.worker",
    "clnm.store.staging",
    "pandas",
    "scipy.ndimage",
    "SimpleITK",
)
_HEAVY_IF_FAST = ("clnm.features.warm",)
_HEAVY_IF_DEEP = ("torch", "safetensors.torch")
"""What workers need and what takes seconds to import or to load; pandas is Arrow's, which asks for it by itself."""
_NIGHTLY = "nightly"
_GRAVEST_FIRST = (StoreError, ConfigurationError, NothingToDoError, BatchHeldError, QuarantineLimitError)


@dataclass(slots=True)
class Run:
    """What every stage is handed. `store` is what it sees: the present, or what was known at `as_of`.

    `installation.store` is always the present: for what must not be said or done twice.
    """

    installation: Installation
    store: Store
    run_id: str
    command: str
    started_at: datetime
    as_of: datetime
    lineage: Lineage
    writer: Writer
    logger: log.Logger
    stack: ExitStack
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    complaints: list[UserError] = field(default_factory=list)
    spent_s: dict[str, float] = field(default_factory=dict)
    """Seconds by stage."""
    suites: Suites = suites
    """Who runs the gate's suites; of a night a process that imports their library meanwhile."""
    _cluster: cluster.Handle | None = None
    _lookers: Lookers | None = None

    @property
    def centers(self) -> tuple[str, ...]:
        """The configured centers, in the order of the file."""
        return self.installation.centers

    @property
    def is_past(self) -> bool:
        """Whether this run looks back to a moment before it began."""
        return self.as_of < self.started_at

    def champion(self) -> dict[str, Any] | None:
        """The model in use; looking back, the last champion that had learned from nothing later than `as_of`."""
        present = self.installation.store
        found = present.run_query("champion_then", as_of=self.as_of) if self.is_past else present.run_query("champion")
        return found[0] if found else None

    @contextmanager
    def commit(self) -> Iterator[Batch]:
        """One atomic step of the store, under this run's lineage."""
        with self.writer.commit(self.lineage) as batch:
            yield batch

    def cluster(self) -> cluster.Handle:
        """The run's one Dask cluster, opened at the first call."""
        if self._cluster is None:
            self.expect_work()
            self._end_lookers()
            compute, workers = self.installation.settings.compute, self.installation.workers
            self._cluster = self.stack.enter_context(
                cluster.open_cluster(
                    compute.scheduler, workers, compute.memory_per_worker_gib, preload=self._heavy_imports()
                )
            )
        return self._cluster

    def lookers(self) -> Lookers:
        """The run's one set of processes that look at files."""
        if self._lookers is None:
            self._lookers = Lookers(self.installation.workers)
            self.stack.callback(self._end_lookers)
        return self._lookers

    def _end_lookers(self) -> None:
        """They are not needed where workers are, and hold the lists of archives."""
        if self._lookers is not None:
            self._lookers.end()
            self._lookers = None

    def settle_pixels(self) -> None:
        """Pixels of intakes that were committed come to their place; others are deleted."""
        kept = self.installation.store.manifest().kept  # a room is named as its intake's ledger
        cache.close_rooms(self.installation.pixels, {Path(path).stem for path in kept.values()})

    def expect_work(self) -> None:
        """There will be something for workers: what they import is read while this process goes on."""
        cluster.begin_to_import(self.installation.settings.compute.scheduler, self._heavy_imports())

    def _heavy_imports(self) -> tuple[str, ...]:
        settings = self.installation.settings
        fast = _HEAVY_IF_FAST if settings.radiomics.engine == "fast" else ()
        return _ALWAYS_HEAVY + fast + (_HEAVY_IF_DEEP if settings.deep.enabled else ())

    def count(self, stage: str, center: str | None, counts: Mapping[str, Any]) -> None:
        """Keep what a stage did, for the `runs` table and the summary."""
        self.counts.setdefault(stage, {})[center or "all"] = dict(counts)

    def complain(self, error: UserError) -> None:
        """Keep what the user has to mend, and go on with the rest; the run ends with it."""
        self.complaints.append(error)
        self.logger.warning("to mend", exit_code=error.exit_code, problem=str(error))

    def gravest(self) -> UserError | None:
        """All complaints as one error, of the gravest kind."""
        if not self.complaints:
            return None
        kinds = [kind for kind in _GRAVEST_FIRST if any(isinstance(error, kind) for error in self.complaints)]
        sentences = list(dict.fromkeys(str(error) for error in self.complaints))
        return (kinds[0] if kinds else type(self.complaints[0]))("\n".join(sentences))


@contextmanager
def open_run(
    config: Path, *, command: str, as_of: datetime | None = None, library: Suites | None = None
) -> Iterator[Run]:
    """Take the lock, recover what a killed run left, and end with a row in `runs`.

    Args:
        config: the installation's file.
        command: what `runs` says of it.
        as_of: the moment looked back to; None, or one that lies ahead, is now.
        library: who runs the gate's suites; None: of a night, a process that begins with it.

    Raises:
        UserError: the gravest complaint of the run, after everything that could be done was done.
    """
    installation = open_installation(config)
    started_at = datetime.now(UTC)
    as_of = min(as_of or started_at, started_at)
    run_id = f"{started_at:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    store = installation.store if as_of == started_at else installation.store.looking_back(as_of, run_id)
    lineage = Lineage(run_id, CODE_VERSION, installation.settings.config_hash())
    with ExitStack() as stack:
        stack.callback(installation.store.close)
        stack.callback(store.close)
        writer = stack.enter_context(installation.store.writer(run_id=run_id, command=command, started_at=started_at))
        logger = log.get(run_id=run_id)
        run = Run(installation, store, run_id, command, started_at, as_of, lineage, writer, logger, stack)
        try:
            if library or command == _NIGHTLY:
                run.suites = library or stack.enter_context(suites_ahead())
            run.settle_pixels()
            _follow_names(run)
            _record_centers(run)
            yield run
        except BaseException as error:
            _record(run, error.__class__.__name__)
            raise
        complaint = run.gravest()
        _record(run, "done" if complaint is None else complaint.__class__.__name__)
    if complaint is not None:
        complaint.done = summarize(run)
        raise complaint


def summarize(run: Run) -> dict[str, Any]:
    """The run's counts by stage and center, and the state of the store after it."""
    store = run.store
    return {
        "run_id": run.run_id,
        "command": run.command,
        "as_of": run.as_of.isoformat(),
        "stages": run.counts,
        "scores": store.run_query("score_counts"),
        "models": store.run_query("model_evaluations") if run.command != "ingest" else [],
        "health": store.run_query("latest_health"),
        "open_alerts": len(store.run_query("open_alerts")),
        "report": str(run.installation.root / "report" / (f"{run.run_id}.html" if run.is_past else "index.html")),
    }


def _record(run: Run, status: str) -> None:
    row = {
        "command": run.command,
        "started_at": run.started_at,
        "as_of": run.as_of,
        "finished_at": datetime.now(UTC),
        "status": status,
        "counts": json.dumps(run.counts, sort_keys=True),
        "stage_ms": json.dumps({stage: round(1000 * seconds) for stage, seconds in run.spent_s.items()}),
    }
    with run.commit() as batch:
        batch.append("runs", rows("runs", [row]))


def _follow_names(run: Run) -> None:
    """Before anything else, the rows of a renamed center come under its new name.

    Raises:
        ConfigurationError: there are rows under both.
    """
    store = run.installation.store
    there = centers_of(store.manifest())
    names = {old: center.name for center in run.installation.settings.center for old in center.formerly if old in there}
    for new in names.values():
        if len(found := sorted(there & {new, *(old for old in names if names[old] == new)})) > 1:
            raise ConfigurationError(
                f"[[center]] formerly: the store has rows of {' and of '.join(map(repr, found))}; two histories cannot "
                "become one: take formerly out, or restore the backup of before"
            )
    if names:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rename_centers(run.installation.root, names, run.writer.publish, run_id=run.run_id, committed_at=now)
        store.rebuild_catalog()
        run.logger.info("centers renamed", names=names)


def _record_centers(run: Run) -> None:
    known = {row["center"]: row["role"] for row in run.installation.store.run_query("all_centers")}
    changed = [
        {"center": center.name, "role": center.role.value, "known_at": run.started_at}
        for center in run.installation.settings.center
        if known.get(center.name) != center.role.value
    ]
    if changed:
        with run.commit() as batch:
            batch.append("centers", rows("centers", changed))
