"""Asking the store: one question in SQL, and what is in quarantine."""

from __future__ import annotations

import errno
import json
import math
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from clnm.archive.ledger import Ledger
from clnm.errors import UserError
from clnm.pipeline.installation import Installation, open_installation
from clnm.pipeline.run import open_run
from clnm.store.tables import rows
from clnm.store.warehouse import LAYERS, layer_names

_MISSING = "-"
"""In a table for people."""


def ask(config: Path, question: str, *, as_of: datetime | None = None) -> pa.Table:
    """The answer to one SELECT, DESCRIBE or EXPLAIN.

    Raises:
        UserError: it is another statement, or names a relation or column that is not there (the nearest is named).
    """
    return open_installation(config).store.ask(question, as_of=as_of)


def complete_question(begun: str) -> list[str]:
    """The question with its last word completed to each relation that begins so."""
    before, space, word = begun.rpartition(" ")
    names = (name for layer in LAYERS for name in layer_names(layer))
    return [f"{before}{space}{name}" for name in sorted(names) if word and name.startswith(word)]


def write_answer(answer: pa.Table, fmt: str, output: Path | None, stream: TextIO) -> None:
    """The answer as table, csv, json or parquet, to a file or to `stream`.

    Raises:
        UserError: Parquet without a file, or a file that cannot be written.
    """
    if output is None:
        if fmt == "parquet":
            raise UserError("--format parquet needs a file: add -o answer.parquet")
        stream.write(_text(answer, fmt))
        return
    try:
        if fmt == "parquet":
            import pyarrow.parquet as pq

            pq.write_table(answer, output)
        else:
            output.write_text(_text(answer, fmt), encoding="utf-8")
    except OSError as error:
        raise UserError(f"-o {output} cannot be written: {os.strerror(error.errno or errno.EIO)}") from None


def list_set_aside(config: Path) -> list[dict[str, Any]]:
    """Unresolved rows of `quarantine`, by center, kind and reason."""
    return open_installation(config).store.run_query("open_quarantine")


def show_set_aside(config: Path, key: str) -> dict[str, Any]:
    """One item and, for a file, its path at the source: for the operator's eyes alone.

    Raises:
        UserError: no such item.
    """
    installation = open_installation(config)
    found = [row for row in installation.store.run_query("open_quarantine") if row["item_key"] == key]
    if not found:
        raise UserError(f"no item {key!r} in quarantine; `clnm quarantine list` lists them")
    return {**found[0], "path": _path_of(installation, found[0])}


def retry_set_aside(config: Path, reason: str | None) -> dict[str, int]:
    """Forget that set-aside items were tried, so that the next ingest or extract tries them again.

    Of a ROI the files are looked at again, too, which writes its pixels anew.
    """
    with open_run(config, command="quarantine retry") as run:
        store = run.installation.store
        items = [row for row in store.run_query("open_quarantine") if reason in (None, row["reason"])]
        if reason is not None and not items:
            raise UserError(f"nothing is set aside with reason {reason!r}; see `clnm quarantine list`")
        rois = [row["item_key"] for row in items if row["kind"] == "roi"]
        again = {row["file_key"] for row in store.run_query("files_of_rois", roi_keys=rois)}
        again |= {row["item_key"] for row in items if row["kind"] == "file"}
        with run.commit() as batch:
            for center in run.centers:
                kept = store.kept(f"ledger/{center}")
                if kept is None:
                    continue
                ledger = Ledger.read(run.installation.root / kept).forget_looks(again)
                path = f"private/ledger/{center}-{run.run_id}.parquet"
                ledger.write(run.installation.root / path)
                batch.keep(f"ledger/{center}", path)
            resolved = [{**_item(row), "resolved_at": run.started_at} for row in items if row["kind"] == "roi"]
            if resolved:
                batch.append("quarantine", rows("quarantine", resolved))
    return {"retried": len(items)}


def _item(row: dict[str, Any]) -> dict[str, Any]:
    names = ("item_key", "kind", "center", "reason", "detail", "first_seen_at", "attempts")
    return {name: row[name] for name in names}


def _path_of(installation: Installation, row: dict[str, Any]) -> str | None:
    kept = installation.store.kept(f"ledger/{row['center']}")
    if kept is None:
        return None
    return Ledger.read(installation.root / kept).path_of(row["item_key"])


def _text(answer: pa.Table, fmt: str) -> str:
    if fmt == "json":
        return json.dumps(_plain(answer.to_pylist()), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    frame = answer.to_pandas(integer_object_nulls=True)
    if fmt == "csv":
        return frame.to_csv(index=False)
    for name in frame.select_dtypes("datetimetz"):
        frame[name] = frame[name].dt.tz_convert(UTC).dt.strftime("%Y-%m-%d %H:%M")
    for name in frame.select_dtypes("object"):
        frame[name] = frame[name].where(frame[name].notna(), _MISSING)
    return frame.to_string(index=False, na_rep=_MISSING, max_rows=None) + "\n" if len(frame.columns) else ""


def _plain(value: Any) -> Any:
    """What JSON has a word for: every digit of a number, null where it is none, moments in ISO 8601."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, int | str) else str(value)
