"""A store in a bucket, on a real S3 server of the loopback: several machines, lost connections, killed writers."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import boto3
import duckdb
import pytest

from clnm.errors import ConfigurationError, LockedError, StoreError
from clnm.store import Bucket, Mirror, Store, copies, maintenance
from tests.s3_server import S3Server
from tests.store_rows import (
    GATED,
    LINEAGE,
    VARIABLES,
    answers,
    day,
    open_store,
    open_writer,
    stage_cases,
    write_night,
)

URL = "s3://clnm-test/ward/store"


@pytest.fixture
def server(monkeypatch):
    opened = S3Server()
    opened.start()
    for name, value in opened.environment().items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").Bucket("clnm-test")
    bucket.create()
    yield opened
    opened.refuse = None
    bucket.objects.all().delete()
    bucket.delete()
    opened.stop()


@pytest.fixture
def machine(server, tmp_path):
    """Opens the store as a machine of that name does."""

    def opened(name, url=URL):
        root = tmp_path / name
        store = Store(root, variables=VARIABLES, mirror=Mirror(Bucket(url), root))
        store.pull()
        return store

    return opened


def objects():
    return {item.key: item.get()["Body"].read() for item in boto3.resource("s3").Bucket("clnm-test").objects.all()}


def rows(store):
    """Every relation's rows without what names the run and the moment."""
    return {name: sorted(answers(store, f"SELECT roi_key, known_at FROM {name}")) for name in ("radiomics", "deep")}


def test_what_one_machine_writes_another_reads(machine):
    writing = machine("a")
    write_night(writing, [1, 2])
    reading = machine("b")
    assert answers(reading, "SELECT case_key, age FROM cases ORDER BY ALL") == [
        ("case-C1-0001", 50.0),
        ("case-C1-0002", 50.0),
    ]
    write_night(writing, [3], run_id="run-2")
    reading.pull()
    assert rows(reading) == rows(writing)
    with duckdb.connect(str(reading.root / "catalog.duckdb"), read_only=True) as client:
        assert client.execute("SELECT count(*) FROM radiomics").fetchone() == (3,)


def test_two_machines_write_in_turn(machine):
    write_night(machine("a"), [1])
    write_night(machine("b"), [2], run_id="run-2")
    write_night(machine("a"), [3], run_id="run-3")
    assert maintenance.verify(machine("c").root)["findings"] == []
    assert len(rows(machine("b"))["radiomics"]) == 3


def test_what_is_private_and_what_is_made_anew_stays_on_the_machine(machine):
    store = machine("a")
    (store.root / "private").mkdir()
    (store.root / "private" / "ledger").write_bytes(b"a path of origin")
    with open_writer(store) as writer, writer.commit(LINEAGE) as batch:
        batch.keep("ledger", "private/ledger")
        stage_cases(batch, "C1", [1], day(1))
    there = objects()
    assert not [name for name in there if "private" in name or "catalog" in name or "/empty/" in name]
    assert not [name for name, content in there.items() if b"a path of origin" in content]


def test_a_reader_fetches_nothing_where_nothing_changed(machine, server):
    write_night(machine("a"), [1])
    reading = machine("b")
    before = {path: path.stat().st_mtime_ns for path in reading.root.rglob("*") if path.is_file()}
    reading.pull()
    assert before == {path: path.stat().st_mtime_ns for path in reading.root.rglob("*") if path.is_file()}


def test_a_second_machine_is_told_who_writes(machine):
    first, second = machine("a"), machine("b")
    with (
        first.writer(run_id="run-1", command="nightly", started_at=day(0)),
        pytest.raises(LockedError, match=r"run-1 \(nightly, on another machine\).*since 2024-01-01T00:00:00"),
        open_writer(second),
    ):
        pass
    with open_writer(second):
        pass


def test_reading_goes_on_while_the_same_machine_writes(machine):
    store = machine("a")
    write_night(store, [1])
    with open_writer(store, "run-2") as writer:
        with writer.commit(LINEAGE) as batch:
            stage_cases(batch, "C1", [2], day(1))
        assert len(rows(machine("a"))["radiomics"]) == 1
        with writer.commit(LINEAGE) as batch:
            batch.publish("C1")
        assert len(rows(machine("a"))["radiomics"]) == 2


def test_who_lost_the_lock_publishes_nothing_and_spoils_nothing(machine):
    """A machine that slept through its lease wakes up after another one went on."""
    slow, fast = machine("a"), machine("b")
    write_night(slow, [1])
    with pytest.raises(LockedError, match="nothing of this one was published"), open_writer(slow, "slow") as writer:  # noqa: SIM117, PT012
        with writer.commit(LINEAGE) as batch:
            boto3.client("s3").delete_object(Bucket="clnm-test", Key="ward/store/lock")
            write_night(fast, [2], run_id="run-2")
            stage_cases(batch, "C1", [3], day(3))
    assert maintenance.verify(machine("c").root)["findings"] == []
    assert rows(machine("a")) == rows(fast)
    write_night(slow, [3], run_id="run-3")
    assert len(rows(machine("b"))["radiomics"]) == 3


@pytest.mark.long
@pytest.mark.parametrize("step", ["staging/", "tables/", "_delta_log/", "manifest.json", "?delete"])
def test_a_write_refused_at_a_step_leaves_the_last_state_and_the_next_run_mends_it(machine, server, step):
    write_night(machine("a"), [1])
    before = rows(machine("b"))
    server.refuse = step
    with pytest.raises(StoreError) as caught:
        write_night(machine("a"), [2], run_id="run-2")
    assert "the bucket answers 403" in str(caught.value)
    server.refuse = None
    is_done = step == "?delete"  # the last step of a run: what it published stands
    assert (rows(machine("b")) == before) != is_done
    if not is_done:
        write_night(machine("a"), [2], run_id="run-3")
    assert len(rows(machine("b"))["radiomics"]) == 2
    assert maintenance.verify(machine("b").root)["findings"] == []
    with open_writer(machine("a"), "run-4"):
        pass
    here = machine("a").root
    own = ("private/", "tables/empty/", "mirror.", "lock", "catalog.duckdb")
    files = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}
    assert set(objects()) == {f"ward/store/{path}" for path in files if not path.startswith(own)}


def test_a_commit_that_the_folder_cannot_follow_is_not_taken_back_by_the_runs_next_one(machine, monkeypatch):
    one = machine("one")
    write_night(one, range(2))
    rename = Path.rename

    def on_a_full_disk(path, target):
        if Path(target) == one.root / "manifest.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(path, target)

    with open_writer(one, "run-2") as writer:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", on_a_full_disk)
            block = writer.commit(LINEAGE)
            stage_cases(block.__enter__(), "C1", [2], day(1))
            with pytest.raises(StoreError, match="the bucket has the commit"):
                block.__exit__(None, None, None)
        block = writer.commit(LINEAGE)  # as the run's own last record is
        stage_cases(block.__enter__(), "C1", [3], day(1))
        with pytest.raises(StoreError, match="the bucket has the commit"):
            block.__exit__(None, None, None)
    with open_writer(one, "run-3") as writer, writer.commit(LINEAGE) as batch:
        batch.publish("C1")
    for name in ("one", "two"):
        cases = answers(machine(name), "SELECT case_key FROM cases ORDER BY case_key")
        assert cases == [(f"case-C1-000{number}",) for number in range(3)]


def test_a_server_that_does_not_answer_is_a_sentence_and_the_next_run_goes_on(machine, server, monkeypatch):
    monkeypatch.setattr("clnm.store.bucket._ATTEMPTS", 1)
    store = machine("a")
    write_night(store, [1])
    port = server.port
    with pytest.raises(StoreError, match="cannot be reached"), open_writer(store, "run-2") as writer:  # noqa: SIM117, PT012
        with writer.commit(LINEAGE) as batch:
            stage_cases(batch, "C1", [2], day(2))
            server.stop()
    server.start(port)
    write_night(store, [2], run_id="run-3")
    assert len(rows(machine("b"))["radiomics"]) == 2


def write_and_die(root):
    store = Store(root, variables=VARIABLES, mirror=Mirror(Bucket(URL), root))
    with open_writer(store, "run-2") as writer, writer.commit(LINEAGE) as batch:
        stage_cases(batch, "C1", [2], day(2))
        writer.publish = lambda _: os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_keeps_other_machines_out_only_until_its_lease_ends(machine, monkeypatch):
    write_night(machine("a"), [1])
    process = multiprocessing.get_context("spawn").Process(target=write_and_die, args=(machine("a").root,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(LockedError, match="a run that died gives it back after 120 seconds"), open_writer(machine("b")):
        pass
    monkeypatch.setattr("clnm.store.lease.LEASE_SECONDS", 1)
    time.sleep(2.1)
    write_night(machine("b"), [2], run_id="run-3")
    assert len(rows(machine("a"))["radiomics"]) == 2


def test_the_same_machine_goes_on_at_once_after_a_kill(machine):
    write_night(machine("a"), [1])
    process = multiprocessing.get_context("spawn").Process(target=write_and_die, args=(machine("a").root,))
    process.start()
    process.join()
    write_night(machine("a"), [2], run_id="run-3")
    assert len(rows(machine("b"))["radiomics"]) == 2


def test_a_lease_is_renewed_as_long_as_its_run_lives(machine, monkeypatch):
    monkeypatch.setattr("clnm.store.lease.LEASE_SECONDS", 2)
    with open_writer(machine("a")):
        time.sleep(4)
        with pytest.raises(LockedError), open_writer(machine("b")):
            pass


def test_what_is_deleted_here_is_deleted_there(machine):
    """Forgetting: the tables are written anew, the old files and logs leave the bucket, too."""
    store = machine("a")
    write_night(store, [1, 2])
    write_night(store, [1], known_at=day(9), run_id="run-2", age=51.0)
    wanted = {"patient_key": ["patient-C1-0001"]}
    by_roi = {"roi_key": ["roi-C1-0001"]}
    columns = {name: by_roi if name in ("radiomics", "deep") else wanted for name in GATED}
    with open_writer(store, "run-3") as writer:
        maintenance.erase(store.root, columns, writer.publish, run_id="run-3", committed_at="2024-02-01T00:00:00")
    needles = [b"patient-C1-0001", b"roi-C1-0001"]
    assert not [name for name, content in objects().items() if any(needle in content for needle in needles)]
    assert len(rows(machine("b"))["radiomics"]) == 1


def test_compaction_and_a_restored_backup_reach_the_bucket(machine, tmp_path):
    store = machine("a")
    write_night(store, [1])
    write_night(store, [2], run_id="run-2")
    with open_writer(store, "run-3") as writer:
        maintenance.compact(store.root, writer.publish, run_id="run-3", committed_at="2024-02-01T00:00:00")
    assert rows(machine("b")) == rows(store)
    copies.backup(store.root, tmp_path / "backup")
    elsewhere = machine("d", f"{URL}-new")
    copies.restore(elsewhere.root, tmp_path / "backup")
    elsewhere.push_restored()
    assert rows(machine("e", f"{URL}-new")) == rows(store)


def test_a_folder_with_a_store_of_its_own_is_not_taken_for_a_mirror(server, tmp_path):
    write_night(open_store(tmp_path / "a"), [1])
    mirror = Mirror(Bucket(URL), tmp_path / "a")
    with pytest.raises(ConfigurationError, match="holds a store and the bucket has none"):
        mirror.pull()
    assert len(rows(open_store(tmp_path / "a"))["radiomics"]) == 1


@pytest.mark.parametrize("is_begun", [True, False], ids=["a bucket with a store", "an empty bucket"])
def test_a_folder_with_something_in_it_is_not_made_a_mirror_and_loses_nothing(machine, tmp_path, is_begun):
    if is_begun:
        write_night(machine("a"), [1])
    before = objects()
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "pseudonym.key").write_bytes(b"a secret")
    (home / "models").mkdir()
    (home / "models" / "ours").write_bytes(b"not clnm's")
    with pytest.raises(ConfigurationError, match="the folder holds something and is no mirror of this bucket yet"):
        machine("home")
    assert (home / "secrets" / "pseudonym.key").read_bytes() == b"a secret"
    assert (home / "models" / "ours").read_bytes() == b"not clnm's"
    assert {name for name in objects() if "lock" not in name} == {name for name in before if "lock" not in name}


def test_what_else_lies_in_a_mirror_is_neither_put_into_the_bucket_nor_deleted(machine):
    store = machine("a")
    write_night(store, [1])
    (store.root / "notes.txt").write_bytes(b"ours")
    write_night(store, [2], run_id="run-2")
    machine("b")
    store.pull()
    assert (store.root / "notes.txt").read_bytes() == b"ours"
    assert not [name for name in objects() if "notes" in name]


def test_a_mirror_of_another_bucket_is_refused(machine):
    write_night(machine("a"), [1])
    with pytest.raises(ConfigurationError, match="mirrors another bucket"):
        machine("a", f"{URL}-other")


def test_tables_without_a_manifest_are_a_loss_and_not_a_beginning(machine):
    write_night(machine("a"), [1])
    boto3.client("s3").delete_object(Bucket="clnm-test", Key="ward/store/manifest.json")
    with pytest.raises(StoreError, match="manifest.json of the bucket is gone"), open_writer(machine("b")):
        pass


def test_a_bucket_that_is_not_there_is_a_sentence(machine):
    with pytest.raises(StoreError, match="the bucket answers NoSuchBucket"):
        machine("a", "s3://no-such-bucket/x")


def test_what_a_dead_run_left_under_a_name_that_another_machine_took_is_replaced(machine):
    """Both were about to write the same version of a table's log."""
    store = machine("a")
    write_night(store, [1])
    newest = max((store.root / "tables" / "files" / "_delta_log").glob("*.json"))
    mine = newest.with_name(f"{int(newest.stem) + 1:020d}.json")
    write_night(machine("b"), [2], run_id="run-2")
    theirs = machine("b").root / mine.relative_to(store.root)
    mine.write_bytes(b"{" + b" " * (theirs.stat().st_size - 2) + b"}")
    write_night(machine("a"), [3], run_id="run-3")
    assert mine.read_bytes() == theirs.read_bytes()
    assert len(rows(machine("c"))["radiomics"]) == 3
    assert maintenance.verify(machine("c").root)["findings"] == []
