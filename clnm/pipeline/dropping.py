"""What a dropped batch was made of is not lost: the next ingest looks at its files, and reads its tables, again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clnm.archive.emitting import digest_of
from clnm.archive.entry import Entry, Kind
from clnm.archive.ledger import Ledger
from clnm.archive.pseudonyms import Pseudonyms
from clnm.entities import FileStatus, Reason, as_row
from clnm.errors import StoreError
from clnm.pipeline.run import Run
from clnm.store import Batch
from clnm.store.tables import rows


def look_again(run: Run, batch: Batch, center: str) -> int:
    """Let the files of a batch that is dropped wait for the next ingest; says how many.

    A staged file may be damaged, so what is published tells most of what was dropped. On a machine without the private
    part of the store there is no ledger to change.
    """
    installation, store = run.installation, run.installation.store
    kept = store.kept(f"ledger/{center}")
    if kept is None or not (installation.root / kept).exists():
        return 0
    ledger, pseudonyms = Ledger.read(installation.root / kept), installation.pseudonyms()
    published = {row["key"] for row in store.run_query("published_keys", center=center)}
    dropped: set[str] = set()
    with contextlib.suppress(StoreError):
        dropped = {row["key"] for row in store.run_query("staged_keys", center=center)}
    again = [
        replace(
            entry,
            status=FileStatus.PENDING,
            reason=Reason.BATCH_DROPPED.value,
            detail="",
            image_key=None,
            labels="",
            mtime_ns=-1,
            last_seen_at=run.started_at,
        )
        for entry in ledger.where("status", [FileStatus.INGESTED.value])
        if any(key in dropped or key not in published for key in _made_of(entry, pseudonyms))
    ]
    ledger = replace(ledger, files=ledger.with_entries(again))
    if {"clinical", "outcomes"} & set(store.manifest().staged.get(center, {})):
        ledger = replace(ledger, emitted=ledger.emitted & _told(run, center, pseudonyms), tables_digest="")
    path = f"private/ledger/{center}-{run.run_id}.parquet"
    ledger.write(installation.root / path)
    batch.keep(f"ledger/{center}", path)
    if again:
        batch.append("files", rows("files", [as_row(entry.state(center)) for entry in again]))
    return len(again)


def _made_of(entry: Entry, pseudonyms: Pseudonyms) -> Iterator[str]:
    """The keys of the rows that a file became."""
    if entry.image_key is None:
        return
    if entry.kind is Kind.IMAGE:
        yield entry.image_key
    elif entry.kind is Kind.MASK:
        for label in filter(None, entry.labels.split(",")):
            yield pseudonyms.roi(entry.image_key, entry.reader, int(label))


def _told(run: Run, center: str, pseudonyms: Pseudonyms) -> frozenset[str]:
    """The digests of the rows that are published: as the ledger knows them, with and without a day of knowledge."""
    store, names = run.installation.store, run.installation.store.clinical_variables
    clinical = store.run_query("published_clinical", center=center)
    outcomes = store.run_query("published_outcomes", center=center)
    found = [("clinical", row, tuple(row[name] for name in names)) for row in clinical]
    found += [("outcome", row, (row["value"],)) for row in outcomes]
    return frozenset(
        digest_of(pseudonyms, table, row["patient_key"], row["study_key"], _utc(row, "acquired_at"), known_on, *values)
        for table, row, values in found
        for known_on in (None, _utc(row, "known_at"))
    )


def _utc(row: Mapping[str, Any], name: str) -> datetime | None:
    moment: datetime | None = row[name]
    return None if moment is None else moment.astimezone(UTC)
