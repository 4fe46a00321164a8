"""A center's new name, in every table at once: its rows are written anew under it, the lineage of each as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable

from clnm.store.damage import working_on
from clnm.store.delta import append_rows
from clnm.store.manifest import Manifest, Published, checksums_of, next_state, read_manifest
from clnm.store.staging import as_file, read_staged
from clnm.store.tables import TABLES

_LEDGER, _ROLES = "ledger/", "centers"


def centers_of(manifest: Manifest) -> frozenset[str]:
    """Every center that has a ledger, or rows that are published or wait for the gate; its role alone is no history."""
    folders = {
        part.removeprefix("center=")
        for relation, entry in manifest.tables.items()
        for path in entry.all_files()
        if relation != _ROLES
        for part in Path(path).parts
        if part.startswith("center=")
    }
    ledgers = {name.removeprefix(_LEDGER) for name in manifest.kept if name.startswith(_LEDGER)}
    return frozenset(folders | ledgers | set(manifest.staged))


def rename_centers(
    root: Path,
    names: Mapping[str, str],
    publish: Callable[[Manifest], None],
    *,
    run_id: str,
    committed_at: str,
) -> None:
    """Let the rows of some centers go on under another name; the caller holds the lock.

    Args:
        root: the store.
        names: the old name to the new one, which has no rows yet.
        publish: the writer's: makes the new state the present one.
        run_id: who asks.
        committed_at: when.

    Raises:
        StoreError: a table is damaged or cannot be written; the last state is intact.
    """
    before = read_manifest(root)
    tables = dict(before.tables)
    for relation, entry in before.tables.items():
        if TABLES[relation].has_center:
            with working_on(relation):
                tables[relation] = _renamed(root, relation, entry, names, run_id=run_id, seq=before.seq + 1)
    after = next_state(
        before,
        run_id=run_id,
        committed_at=committed_at,
        tables=tables,
        staged=_renamed_staged(root, before, names),
        kept={_renamed_ledger(name, names): path for name, path in before.kept.items()},
    )
    publish(replace(after, checksums=checksums_of(root, before, after)))
    for path in before.named_files() - after.named_files():
        (root / path).unlink(missing_ok=True)


def _renamed(
    root: Path, relation: str, entry: Published, names: Mapping[str, str], *, run_id: str, seq: int
) -> Published:
    """The table with the rows in their new partition; the same one where there are none."""
    table = DeltaTable(str(root / entry.folder))
    is_theirs = pc.field("center").isin(pa.array(list(names), pa.string()))
    found = table.to_pyarrow_dataset().scanner(filter=is_theirs).to_table()
    if not found.num_rows:
        return entry
    listed = ", ".join(f"'{name}'" for name in names)
    note = CommitProperties(custom_metadata={"run_id": run_id})
    table.delete(f"center IN ({listed})", commit_properties=note)
    return append_rows(root, relation, _under_new_names(found, names), entry, run_id=run_id, seq=str(seq))


def _renamed_staged(root: Path, before: Manifest, names: Mapping[str, str]) -> dict[str, dict[str, tuple[str, ...]]]:
    staged = {names.get(center, center): dict(relations) for center, relations in before.staged.items()}
    for old, new in names.items():
        for relation, paths in before.staged.get(old, {}).items():
            places = []
            for path in paths:
                content = _under_new_names(read_staged(root, relation, [path]), names)
                file = as_file(relation, new, content)
                places.append(file.path(Path(path).stem))  # which tells when it was staged: what was judged stays so
                file.write(root / places[-1])
            staged[new][relation] = tuple(places)
    return staged


def _under_new_names(content: pa.Table, names: Mapping[str, str]) -> pa.Table:
    column = pa.array([names.get(name, name) for name in content.column("center").to_pylist()], pa.string())
    return content.set_column(content.schema.get_field_index("center"), "center", column)


def _renamed_ledger(name: str, names: Mapping[str, str]) -> str:
    center = name.removeprefix(_LEDGER)
    return f"{_LEDGER}{names[center]}" if name.startswith(_LEDGER) and center in names else name
