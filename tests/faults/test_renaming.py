"""A center's rows come under a new name in one step: killed at any moment, the store has one name or the other."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clnm.store import maintenance
from clnm.store.manifest import read_manifest
from clnm.store.renaming import centers_of
from tests.faults.killed_writer import rename
from tests.store_rows import GATED, LINEAGE, answers, day, open_store, open_writer, stage_cases, write_night

REPOSITORY = Path(__file__).resolve().parents[2]
OLD, NEW = {"C1", "C2"}, {"C2", "North"}
STEPS = [
    ("before", "fsync", "tables/images", OLD),
    ("before", "fsync", "tables/radiomics", OLD),
    ("before", "fsync", "staging/deep", OLD),
    ("before", "rename", "manifest.json", OLD),
    ("after", "rename", "manifest.json", NEW),
    ("after", "unlink", "staging/", NEW),
    ("before", "rename", "catalog.duckdb", NEW),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two published cases of C1 and one staged, one published case of C2, and a ledger of each."""
    root = tmp_path_factory.mktemp("prepared") / "store"
    store = open_store(root)
    write_night(store, range(2))
    write_night(store, [5], center="C2", run_id="run-1b", age=60.0)
    (root / "private" / "ledger").mkdir(parents=True)
    with open_writer(store) as writer, writer.commit(LINEAGE) as batch:
        stage_cases(batch, "C1", [2], day(1))
        for center in ("C1", "C2"):
            (root / "private" / "ledger" / f"{center}.parquet").write_bytes(center.encode())
            batch.keep(f"ledger/{center}", f"private/ledger/{center}.parquet")
    store.close()
    return root


@pytest.fixture
def root(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "store")
    return tmp_path / "store"


def rows(root):
    """Every row of every table with its lineage, by table; the staged ones published."""
    store = open_store(root)
    with open_writer(store, "run-9") as writer, writer.commit(LINEAGE) as batch:
        for center in sorted(read_manifest(root).staged):
            batch.publish(center)
    tables = (*GATED, "files", "centers", "runs")
    found = {name: answers(store, f"SELECT * EXCLUDE (commit_seq) FROM raw_{name} ORDER BY ALL") for name in tables}
    store.close()
    return found


def renamed(content):
    return {
        name: sorted([tuple("North" if v == "C1" else v for v in row) for row in found], key=str)
        for name, found in content.items()
    }


def test_every_row_is_as_it_was_but_for_the_name_and_no_other_center_is_touched(root, tmp_path):
    other = {path.name for path in root.glob("tables/*/center=C2/*.parquet")}
    shutil.copytree(root, tmp_path / "as it was")
    rename(root)
    assert centers_of(read_manifest(root)) == NEW
    assert other == {path.name for path in root.glob("tables/*/center=C2/*.parquet")}
    assert read_manifest(root).kept["ledger/North"] == "private/ledger/C1.parquet"
    assert maintenance.verify(root)["findings"] == []
    before, after = rows(tmp_path / "as it was"), rows(root)
    assert sum(map(len, before.values())) > 20
    assert {name: sorted(found, key=str) for name, found in after.items()} == renamed(before)


@pytest.mark.long
@pytest.mark.parametrize(("when", "call", "part", "names"), STEPS, ids=[" ".join(step[:3]) for step in STEPS])
def test_killed_at_any_step_the_store_has_one_name_and_the_next_run_ends_with_the_new_one(
    root, when, call, part, names
):
    command = [sys.executable, "-m", "tests.faults.killed_writer", str(root), when, call, part, "rename"]
    ended = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert centers_of(read_manifest(root)) == names
    store = open_store(root)
    assert answers(store, "SELECT center, count(*) FROM cases GROUP BY center ORDER BY center") == (
        [("C1", 2), ("C2", 1)] if names == OLD else [("C2", 1), ("North", 2)]
    )
    store.close()
    if names == OLD:
        rename(root, "run-3")
    with open_writer(open_store(root), "run-4"):
        pass
    assert centers_of(read_manifest(root)) == NEW
    assert maintenance.verify(root) == {**maintenance.verify(root), "findings": []}
    assert [len(found) for found in rows(root).values()] == [4] * 6 + [2, 2, 2]
