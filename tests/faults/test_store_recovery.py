"""A commit that is cut off leaves the last state; the next writer starts from it as if nothing had happened."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from clnm.errors import LockedError, StoreError
from clnm.store import maintenance
from clnm.store.manifest import read_manifest
from tests.faults.killed_writer import publish_and_stage
from tests.full_disk import files_no_larger_than
from tests.store_rows import GATED, LINEAGE, answers, day, open_store, open_writer, stage_cases, table_of, write_night

REPOSITORY = Path(__file__).resolve().parents[2]
BEFORE, AFTER = 2, 3
"""Cases published before the commit under test and after it."""
STEPS = [
    ("before", "fsync", "staging/images", BEFORE),
    ("before", "fsync", "tables/files", BEFORE),
    ("before", "fsync", "tables/radiomics", BEFORE),
    ("before", "fsync", "manifest.json", BEFORE),
    ("before", "rename", "manifest.json", BEFORE),
    ("after", "rename", "manifest.json", AFTER),
    ("after", "unlink", "staging/", AFTER),
    ("before", "rename", "catalog.duckdb", AFTER),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two published cases of C1, a third one staged, a ledger kept."""
    root = tmp_path_factory.mktemp("prepared") / "store"
    store = open_store(root)
    write_night(store, range(2))
    (root / "private").mkdir()
    (root / "private" / "ledger-old").write_bytes(b"the old ledger")
    with open_writer(store) as writer, writer.commit(LINEAGE) as batch:
        stage_cases(batch, "C1", [2], day(1))
        batch.keep("ledger", "private/ledger-old")
    store.close()
    return root


@pytest.fixture
def root(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """What the tables say where nobody was killed."""
    root = tmp_path_factory.mktemp("undisturbed") / "store"
    shutil.copytree(prepared, root)
    publish_and_stage(root)
    return content(root)


def content(root):
    """Every row of every table, run ids aside."""
    store, hidden = open_store(root), {"run_id", "commit_seq"}
    rows = {name: store.relation(name).to_pylist() for name in (*GATED, "files", "cases", "centers")}
    store.close()
    return {
        name: sorted(str([value for column, value in row.items() if column not in hidden]) for row in content)
        for name, content in rows.items()
    }


def kill_at(root, when, call, part):
    command = [sys.executable, "-m", "tests.faults.killed_writer", str(root), when, call, part]
    ended = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def unnamed(root):
    """Staged files and tables that the manifest does not name, and scratch files."""
    manifest = read_manifest(root)
    staged = {str(path.relative_to(root)) for path in root.glob("staging/**/*") if path.is_file()}
    tables = {path.name for path in root.glob("tables/*")} - {"empty"}
    named = {entry.folder.removeprefix("tables/") for entry in manifest.tables.values()}
    return [*(staged - manifest.named_files()), *(tables - named), *root.glob("*.scratch*")]


@pytest.mark.long
@pytest.mark.parametrize(("when", "call", "part", "published"), STEPS, ids=[" ".join(step[:3]) for step in STEPS])
def test_a_writer_killed_at_any_step_leaves_one_whole_state(root, undisturbed, when, call, part, published):
    kill_at(root, when, call, part)
    # A reader needs nobody to clean up first: all relations show one state.
    found = content(root)
    assert [len(found[name]) for name in (*GATED, "cases")] == [published] * 7
    assert len(found["files"]) == published - 1
    with open_writer(open_store(root), "run-3"):
        pass
    assert unnamed(root) == []
    assert maintenance.verify(root)["findings"] == []
    for entry in read_manifest(root).tables.values():
        table = DeltaTable(str(root / entry.folder))
        assert {uri.rsplit("/", 1)[1] for uri in table.file_uris()} == {
            path.rsplit("/", 1)[1] for path in entry.all_files()
        }
    if published == BEFORE:
        publish_and_stage(root, "run-4")
    assert content(root) == undisturbed
    assert read_manifest(root).staged_files("rois", "C1") == []
    assert len(read_manifest(root).staged_files("rois", "C2")) == 1
    assert (root / read_manifest(root).kept["ledger"]).read_bytes() == b"the new ledger"


@pytest.mark.long
def test_killed_twice_in_a_row_and_then_not_ends_like_never_killed(root, undisturbed):
    kill_at(root, "before", "fsync", "tables/radiomics")
    kill_at(root, "before", "rename", "manifest.json")
    publish_and_stage(root)
    assert content(root) == undisturbed
    assert maintenance.verify(root)["findings"] == []


def test_ledgers_that_no_state_names_are_swept_but_not_those_of_the_run_itself(root):
    ledgers = root / "private" / "ledger"
    ledgers.mkdir()
    present = {"C1-run-2.parquet", "C1-run-2.rows.parquet"}
    for name in (*present, "C1-run-0.rows.parquet", "C2-run-1.parquet", "C2-run-1.rows.parquet.scratch"):
        (ledgers / name).write_bytes(b"keys")
    with open_writer(open_store(root), "run-2") as writer:
        assert {path.name for path in ledgers.iterdir()} == present  # not named yet
        with writer.commit(LINEAGE) as batch:
            batch.keep("ledger/C1", "private/ledger/C1-run-2.parquet")
    with open_writer(open_store(root), "run-3") as writer:
        assert {path.name for path in ledgers.iterdir()} == present
        (ledgers / "C1-run-3.parquet").write_bytes(b"keys")
        with writer.commit(LINEAGE) as batch:
            batch.keep("ledger/C1", "private/ledger/C1-run-3.parquet")
        assert {path.name for path in ledgers.iterdir()} == {"C1-run-3.parquet"}


def test_a_table_that_the_manifest_never_named_is_swept(root):
    stray = root / "tables" / "scores"
    (stray / "_delta_log").mkdir(parents=True)
    (stray / "part.parquet").write_bytes(b"half a file")
    (root / "staging" / "rois" / "C1" / "00000009-000.parquet").write_bytes(b"half a file")
    (root / "catalog.duckdb.999999999.scratch").write_bytes(b"half a catalogue")
    (root / "manifest.json.scratch").write_bytes(b"{")
    with open_writer(open_store(root)):
        pass
    assert unnamed(root) == []


@pytest.mark.parametrize("size", [600, 3_000, 5_000, 20_000])
def test_a_full_disk_is_exit_14_and_the_last_state_is_intact(root, undisturbed, size):
    """The smaller sizes stop the lock and the staged files, the others the tables, the manifest, or the catalogue."""
    before = content(root)
    with pytest.raises(StoreError) as error, files_no_larger_than(size):
        publish_and_stage(root)
    assert error.value.exit_code == 14
    assert "intact" in str(error.value)
    assert str(root) not in str(error.value)
    assert content(root) in (before, undisturbed)
    if content(root) == before:
        publish_and_stage(root, "run-3")
    assert content(root) == undisturbed
    assert unnamed(root) == []


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("free_kb", [8, 64, 256])
def test_a_disk_that_is_really_full_is_exit_14_and_the_last_state_is_intact(root, undisturbed, disk, free_kb):
    before = content(root)
    shutil.copytree(root, disk / "store")
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, max(0, ballast.stat().st_size - 1024 * free_kb))
    with pytest.raises(StoreError) as error:
        publish_and_stage(disk / "store")
    assert error.value.exit_code == 14
    assert "No space left" in str(error.value) or "run `clnm store catalog`" in str(error.value)
    assert content(disk / "store") in (before, undisturbed)
    ballast.unlink()
    if content(disk / "store") == before:
        publish_and_stage(disk / "store", "run-3")
    assert content(disk / "store") == undisturbed
    assert unnamed(disk / "store") == []


def test_a_disk_that_was_mounted_read_only_is_exit_14_and_still_answers(root, disk):
    shutil.copytree(root, disk / "store")
    before = content(disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StoreError, match="Read-only file system") as error, open_writer(open_store(disk / "store")):
        pass
    assert error.value.exit_code == 14
    assert content(disk / "store") == before
    assert answers(open_store(disk / "store"), "SELECT count(*) FROM cases") == [(BEFORE,)]


def test_a_writer_goes_on_after_a_commit_that_failed(root, undisturbed):
    """The run that failed still records itself: its next commit starts from the last state."""
    store = open_store(root)
    with open_writer(store, "run-2") as writer:
        block = writer.commit(LINEAGE)
        batch = block.__enter__()
        batch.publish("C1")
        stage_cases(batch, "C2", range(200), day(2))
        with pytest.raises(StoreError), files_no_larger_than(4_000):
            block.__exit__(None, None, None)
        with writer.commit(LINEAGE) as batch:
            batch.append("files", table_of("files", [{"file_key": "f9", "center": "C1"}]))
    assert answers(store, "SELECT count(*) FROM cases") == [(BEFORE,)]
    assert answers(store, "SELECT count(*) FROM files") == [(2,)]
    assert len(read_manifest(root).staged_files("rois", "C1")) == 1
    assert unnamed(root) == []


@pytest.mark.parametrize("part", ["staging", "tables/files/center=C1", "private"])
def test_a_place_that_cannot_be_written_is_exit_14(root, part):
    """A file where a folder belongs stops every user, the superuser too."""
    before = content(root)
    place = root / part
    moved = root.parent / "moved"
    if place.exists():
        place.rename(moved)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"")
    with pytest.raises((StoreError, FileExistsError)) as error:
        publish_and_stage(root)
    if part == "private":  # the ledger is the caller's to write: the store is not asked yet
        assert error.type is FileExistsError
    else:
        assert error.value.exit_code == 14
    place.unlink()
    if moved.exists():
        moved.rename(place)
    assert content(root) == before


def test_a_block_that_raises_commits_nothing(root):
    before = content(root)
    store = open_store(root)
    with open_writer(store) as writer:
        block = writer.commit(LINEAGE)
        block.__enter__().publish("C1")
        assert not block.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert content(root) == before


HOLDER = """
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from clnm.store.lock import hold_lock
with hold_lock(Path(sys.argv[1]), run_id="run-77", command="nightly", since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_holds_the_lock_and_kill_9_gives_it_back(root):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE, cwd=REPOSITORY, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError) as error, open_writer(open_store(root), "run-78"):
            pass
        assert error.value.exit_code == 13
        for told in ("run-77", "nightly", str(holder.pid), "2026-01-02T03:04:05+00:00"):
            assert told in str(error.value)
        assert open_store(root).ask("FROM cases").num_rows == BEFORE  # a reader needs no lock
        holder.kill()
        holder.wait()
    with open_writer(open_store(root), "run-78"):
        pass


def test_a_lock_is_given_back_at_the_end_and_names_nobody_then(root):
    with open_writer(open_store(root), "run-1"):
        assert json.loads((root / "lock").read_text(encoding="utf-8"))["run_id"] == "run-1"
    assert (root / "lock").read_bytes() == b""


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 1, "seq": 1, "tables": 3}', "\xff"]
)
def test_a_damaged_manifest_is_said_in_one_sentence(root, text):
    (root / "manifest.json").write_bytes(text.encode("latin-1"))
    store = open_store(root)
    for act in (
        store.manifest,
        lambda: store.ask("FROM cases"),
        lambda: maintenance.verify(root),
        lambda: write_night(store, [5]),
    ):
        with pytest.raises(StoreError, match=r"manifest\.json cannot be read; restore it from a backup"):
            act()


def test_a_manifest_of_a_later_format_is_left_alone(root):
    (root / "manifest.json").write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(StoreError, match="format 2, this clnm reads 1"):
        write_night(open_store(root), [5])


def test_tables_without_their_manifest_are_not_taken_for_an_empty_store(root):
    (root / "manifest.json").unlink()
    tables = sorted(root.glob("tables/**/*.parquet"))
    with pytest.raises(StoreError, match=r"manifest\.json of the store is gone"):
        write_night(open_store(root), [5])
    assert sorted(root.glob("tables/**/*.parquet")) == tables


def test_a_missing_data_file_is_named_and_so_is_a_missing_log(root):
    manifest = read_manifest(root)
    lost = manifest.tables["rois"].all_files()[0]
    (root / lost).unlink()
    shutil.rmtree(root / "tables" / "files" / "_delta_log")
    findings = maintenance.verify(root)["findings"]
    assert any("rois" in finding and Path(lost).name in finding for finding in findings)
    assert any("files" in finding and "log" in finding for finding in findings)


def test_a_table_without_its_log_is_said_at_the_next_start(root):
    shutil.rmtree(root / "tables" / "files" / "_delta_log")
    with pytest.raises(StoreError, match="table files is damaged"), open_writer(open_store(root)):
        pass


def test_one_flipped_byte_is_found(root):
    path = root / read_manifest(root).tables["radiomics"].all_files()[0]
    whole = path.read_bytes()
    for place in (10, len(whole) // 2, len(whole) - 12):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert [finding for finding in maintenance.verify(root)["findings"] if path.name in finding], place
    path.write_bytes(whole)
    assert maintenance.verify(root)["findings"] == []
