"""Upkeep of the tables: history, verify, compact, vacuum, export, backup and restore, forgetting, new columns."""

import json
import os
import shutil
import stat
import time
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clnm.entities import ClinicalVariable, VariableKind
from clnm.errors import ConfigurationError, StoreError
from clnm.store import copies, maintenance
from clnm.store.manifest import read_manifest, write_manifest
from tests.store_rows import (
    FEATURES,
    GATED,
    LINEAGE,
    VARIABLES,
    answers,
    case_tables,
    day,
    open_store,
    open_writer,
    stage_cases,
    table_of,
    write_night,
)

NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two nights of C1, one of C2, and a batch of C2 that waits for the gate."""
    store = open_store(tmp_path_factory.mktemp("prepared") / "store")
    write_night(store, range(3), run_id="run-1")
    write_night(store, range(3, 5), known_at=day(5), run_id="run-2")
    write_night(store, range(2), center="C2", known_at=day(6), run_id="run-3")
    with open_writer(store, "run-4") as writer, writer.commit(LINEAGE) as batch:
        stage_cases(batch, "C2", [2, 3], day(7))
    store.close()
    return store.root


@pytest.fixture
def store(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "store")
    return open_store(tmp_path / "store")


def content(store):
    return {name: sorted(map(str, store.relation(name).to_pylist())) for name in store.relations()}


def file_count(store, relation):
    return len(store.manifest().tables[relation].all_files())


def parquet_files(store):
    return sorted(path for path in store.root.glob("tables/**/*.parquet") if "empty" not in path.parts)


def test_history_tells_each_commit_once_newest_first(store):
    told = maintenance.history(store.root)
    assert [(row["seq"], row["run_id"]) for row in told] == [
        (6, "run-3"),
        (5, "run-3"),
        (4, "run-2"),
        (3, "run-2"),
        (2, "run-1"),
        (1, "run-1"),
    ]
    assert told[1]["relations"] == "files"
    assert told[0]["relations"] == ", ".join(sorted((*GATED, "centers", "runs")))


def test_history_leaves_out_a_commit_that_was_undone(store):
    """A run that was killed after its tables were written and before the manifest was."""
    before = (store.root / "manifest.json").read_bytes()
    write_night(store, [8], known_at=day(8), run_id="killed")
    (store.root / "manifest.json").write_bytes(before)
    assert "killed" not in {row["run_id"] for row in maintenance.history(store.root)}
    write_night(store, [9], known_at=day(9), run_id="run-5")
    told = maintenance.history(store.root)
    assert [row["run_id"] for row in told[:3]] == ["run-5", "run-5", "run-3"]
    assert all(len(set(row["relations"].split(", "))) == len(row["relations"].split(", ")) for row in told)


def test_verify_counts_files_and_rows_and_finds_nothing_in_a_sound_store(store):
    told = maintenance.verify(store.root)
    assert told["unused"] == 0
    [rows] = answers(store, "SELECT (SELECT count(*) FROM raw_rois), (SELECT count(*) FROM raw_radiomics)")
    assert rows == (7, 7)
    assert told["findings"] == []
    assert told["files"] == len(parquet_files(store))
    assert told["rows"] == 7 * len(GATED) + 3 * 3
    assert told["tables"] == len(GATED) + 3


def test_verify_counts_the_files_that_no_state_names(store):
    for folder in ("tables/rois/center=C1", "staging/rois/C1/s"):
        (store.root / folder).mkdir(parents=True, exist_ok=True)
        (store.root / folder / "stray.parquet").write_bytes(b"left by a run that was killed")
    told = maintenance.verify(store.root)
    assert (told["unused"], told["findings"]) == (2, [])


def test_verify_names_a_staged_file_that_is_missing(store):
    [path] = store.manifest().staged_files("rois")
    (store.root / path).unlink()
    assert maintenance.verify(store.root)["findings"] == [f"{path} is missing"]


def test_compact_merges_files_and_changes_no_row(store):
    before, files = content(store), file_count(store, "radiomics")
    assert files == 3
    with open_writer(store, "run-5"):
        counts = maintenance.compact(store.root, partial(write_manifest, store.root), run_id="run-5", committed_at=NOW)
    assert counts["files_after"] < counts["files_before"]
    assert file_count(store, "radiomics") == 2  # one for each center
    assert content(store) == before
    assert maintenance.verify(store.root)["findings"] == []


def test_only_scattered_tables_are_compacted_and_nothing_happens_where_there_are_none(store):
    def compact(above):
        with open_writer(store, "run-5") as writer:
            return maintenance.compact(store.root, writer.publish, run_id="run-5", committed_at=NOW, above=above)

    before, state = content(store), store.manifest().seq
    counts = compact(3)
    assert counts["files_after"] == counts["files_before"]
    assert store.manifest().seq == state
    assert compact(2)["files_after"] < counts["files_before"]  # the three runs; no center has three files
    assert (file_count(store, "runs"), file_count(store, "radiomics")) == (1, 3)
    assert content(store) == before


def test_a_compaction_that_was_killed_changes_nothing(store):
    before, manifest = content(store), (store.root / "manifest.json").read_bytes()
    maintenance.compact(store.root, partial(write_manifest, store.root), run_id="run-5", committed_at=NOW)
    (store.root / "manifest.json").write_bytes(manifest)
    with open_writer(store, "run-6"):
        pass
    assert maintenance.verify(store.root)["findings"] == []
    assert content(store) == before


def test_vacuum_refuses_less_than_seven_days(store):
    with pytest.raises(ConfigurationError, match="at least 7 days, not 6"):
        maintenance.vacuum(store.root, days=6)


def test_vacuum_deletes_old_files_that_no_state_names_and_never_a_published_one(store):
    old = parquet_files(store)
    maintenance.compact(store.root, partial(write_manifest, store.root), run_id="run-5", committed_at=NOW)
    never_named = old[0].with_name("part-00000-of-a-killed-run.parquet")
    never_named.write_bytes(old[0].read_bytes())
    before, named = (
        content(store),
        {store.root / path for e in store.manifest().tables.values() for path in e.all_files()},
    )
    assert maintenance.vacuum(store.root, days=7) == 0  # a session may still read what was replaced just now
    assert never_named.exists()
    month_ago = time.time() - 30 * 86400
    for path in store.root.glob("tables/**/*.parquet"):
        os.utime(path, (month_ago, month_ago))
    age_log(store.root, days=30)
    assert maintenance.vacuum(store.root, days=7) == len(set(old) - named) + 1
    assert set(parquet_files(store)) == named
    assert content(store) == before
    assert maintenance.verify(store.root)["findings"] == []


def age_log(root, days):
    """Make every removal in the tables' logs `days` older."""
    for path in root.glob("tables/*/_delta_log/*.json"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            if "remove" in line:
                line["remove"]["deletionTimestamp"] -= days * 86_400_000
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_export_writes_every_relation_with_its_dictionary(store, tmp_path, file_format):
    count = copies.export(store.readers(), tmp_path / "out", file_format)
    assert count == len(store.relations())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.{file_format}" for name in store.relations()
    }
    counts = {
        name: duckdb.sql(f"FROM '{tmp_path}/out/{name}.{file_format}'").to_arrow_table().num_rows
        for name in store.relations()
    }
    assert counts == {name: store.relation(name).num_rows for name in store.relations()}
    described = duckdb.sql(f"FROM '{tmp_path}/out/data_dictionary.{file_format}' WHERE comment <> ''").to_arrow_table()
    assert described.num_rows == counts["data_dictionary"]
    with pytest.raises(ConfigurationError, match="not empty"):
        copies.export(iter(()), tmp_path / "out", file_format)


def test_a_restored_backup_equals_the_store_and_its_private_part_stays_private(store, tmp_path):
    private = store.root / "private" / "ledger"
    private.mkdir(parents=True)
    (private / "C1.parquet").write_bytes(b"paths")
    before = content(store)
    count = copies.backup(store.root, tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert copies.restore(tmp_path / "again", tmp_path / "backup") == count
    again = open_store(tmp_path / "again")
    assert content(again) == before
    assert read_manifest(tmp_path / "again") == store.manifest()
    assert maintenance.verify(tmp_path / "again")["findings"] == []
    assert (tmp_path / "again" / "private" / "ledger" / "C1.parquet").read_bytes() == b"paths"
    assert stat.S_IMODE((tmp_path / "again" / "private").stat().st_mode) == 0o700
    write_night(again, [6], known_at=day(9), run_id="run-9")
    assert answers(again, "SELECT count(*) FROM cases") == [(8,)]


def test_a_damaged_backup_restores_nothing(store, tmp_path):
    copies.backup(store.root, tmp_path / "backup")
    victim = next((tmp_path / "backup" / "tables" / "rois").glob("**/*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="the backup is damaged"):
        copies.restore(tmp_path / "again", tmp_path / "backup")
    assert not (tmp_path / "again").exists()


def test_a_backup_that_names_a_place_outside_is_refused(store, tmp_path):
    copies.backup(store.root, tmp_path / "backup")
    (tmp_path / "evil").write_bytes(b"")
    sums = tmp_path / "backup" / "SHA256SUMS"
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    sums.write_text(f"{sums.read_text(encoding='utf-8')}{empty}  ../evil\n", encoding="utf-8")
    with pytest.raises(StoreError, match="outside"):
        copies.restore(tmp_path / "deep" / "again", tmp_path / "backup")


def test_a_backup_is_not_put_over_a_store(store, tmp_path):
    copies.backup(store.root, tmp_path / "backup")
    with pytest.raises(StoreError, match="already"):
        copies.restore(store.root, tmp_path / "backup")


def wanted(center, number):
    keys = {name: [f"{name}-{center}-{number:04d}"] for name in ("patient", "image", "roi")}
    by_patient = ("images", "rois", "clinical", "outcomes", "scores")
    return (
        {name: {"patient_key": keys["patient"]} for name in by_patient}
        | {name: {"roi_key": keys["roi"]} for name in ("radiomics", "deep")}
        | {"files": {"image_key": keys["image"]}, "quarantine": {"item_key": keys["patient"]}}
    )


def files_with(root, needle):
    return [path for path in root.rglob("*") if path.is_file() and needle.encode() in path.read_bytes()]


def erase(store, center, number):
    with open_writer(store, "run-8"):
        return maintenance.erase(
            store.root,
            wanted(center, number),
            partial(write_manifest, store.root),
            run_id="run-8",
            committed_at=NOW,
            before_deleting=store.rebuild_catalog,
        )


def test_nothing_of_a_forgotten_patient_is_left_in_any_byte_of_the_store(store):
    """The patient was corrected once, and their first version was undone, compacted and superseded: all of it goes."""
    write_night(store, [1], known_at=day(9), run_id="run-5", age=51.0)
    maintenance.compact(store.root, partial(write_manifest, store.root), run_id="run-6", committed_at=NOW)
    with open_writer(store, "run-7") as writer, writer.commit(LINEAGE) as batch:
        file = {"file_key": "f", "center": "C1", "image_key": "image-C1-0001"}
        batch.append("files", table_of("files", [file, file | {"file_key": "g", "image_key": None}]))
    before = dict(answers(store, "SELECT case_key, age FROM cases"))
    counts = answers(store, "SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM raw_radiomics)")
    needles = ["patient-C1-0001", "image-C1-0001", "roi-C1-0001", "case-C1-0001", "study-C1-0001"]
    assert all(files_with(store.root, needle) for needle in needles)
    assert erase(store, "C1", 1) == 2 * len(GATED) + 1
    assert {needle: files_with(store.root, needle) for needle in needles} == {key: [] for key in needles}
    assert dict(answers(store, "SELECT case_key, age FROM cases")) == {
        case: age for case, age in before.items() if case != "case-C1-0001"
    }
    after = answers(store, "SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM raw_radiomics)")
    assert after == [(counts[0][0] - 1, counts[0][1] - 2)]
    assert maintenance.verify(store.root)["findings"] == []
    write_night(store, [8], known_at=day(10), run_id="run-9")
    assert answers(store, "SELECT count(*) FROM cases") == [(len(before),)]


def test_a_patient_whose_batch_waits_for_the_gate_is_forgotten_too(store):
    assert files_with(store.root, "patient-C2-0003")
    assert erase(store, "C2", 3) == len(GATED)
    assert files_with(store.root, "patient-C2-0003") == []
    assert files_with(store.root, "patient-C2-0002")
    with open_writer(store, "run-9") as writer, writer.commit(LINEAGE) as batch:
        batch.publish("C2")
    assert answers(store, "SELECT count(*) FROM cases WHERE center = 'C2'") == [(3,)]


def test_rows_of_an_undone_commit_are_forgotten_too(store):
    manifest = (store.root / "manifest.json").read_bytes()
    with open_writer(store, "killed") as writer, writer.commit(LINEAGE) as batch:
        batch.publish("C2")
    staged = {store.root / path: b"" for path in json.loads(manifest)["staged"]["C2"]["rois"]}
    assert staged
    (store.root / "manifest.json").write_bytes(manifest)
    drop_staged(store)
    assert files_with(store.root, "roi-C2-0003")
    erase(store, "C2", 3)
    assert files_with(store.root, "roi-C2-0003") == []


def drop_staged(store):
    """The manifest of before names staged files that the killed commit had removed already: let them go."""
    path = store.root / "manifest.json"
    content = json.loads(path.read_bytes()) | {"staged": {}}
    path.write_text(json.dumps(content), encoding="utf-8")


def test_readers_of_the_catalogue_do_not_notice_that_somebody_is_forgotten(store):
    """At the moment the old files go, the catalogue names the new ones."""
    seen = []

    def look():
        store.rebuild_catalog()
        with duckdb.connect(str(store.root / "catalog.duckdb"), read_only=True) as connection:
            seen.extend(connection.execute("SELECT count(*) FROM raw_rois").fetchone())

    with open_writer(store, "run-8"):
        publish = partial(write_manifest, store.root)
        maintenance.erase(store.root, wanted("C1", 1), publish, run_id="run-8", committed_at=NOW, before_deleting=look)
    with duckdb.connect(str(store.root / "catalog.duckdb"), read_only=True) as connection:
        assert [*seen, 6] == [6, connection.execute("SELECT count(*) FROM raw_rois").fetchone()[0]]


def test_forgetting_the_only_patient_leaves_a_store_that_works(tmp_path):
    store = open_store(tmp_path)
    write_night(store, [0])
    erase(store, "C1", 0)
    assert answers(store, "SELECT count(*) FROM cases") == [(0,)]
    write_night(store, [1], run_id="run-2")
    assert answers(store, "SELECT count(*) FROM cases") == [(1,)]
    assert store.feature_names() == list(FEATURES)


def test_a_new_feature_column_is_null_in_older_rows(store):
    write_night(
        store, [6], known_at=day(9), run_id="run-5", features=(*FEATURES, "wavelet-LL_glcm_Contrast"), value=2.0
    )
    rows = answers(store, 'SELECT "wavelet-LL_glcm_Contrast", original_glcm_Contrast FROM radiomics ORDER BY known_at')
    assert rows == [(None, 1.0)] * 7 + [(2.0, 2.0)]
    assert store.feature_names() == [*FEATURES, "wavelet-LL_glcm_Contrast"]
    assert len(store.manifest().tables["radiomics"].files) == 2  # one reading for each schema
    maintenance.compact(store.root, partial(write_manifest, store.root), run_id="run-6", committed_at=NOW)
    assert answers(store, 'SELECT count("wavelet-LL_glcm_Contrast"), count(*) FROM radiomics') == [(1, 8)]


def test_a_feature_that_is_no_longer_computed_is_null_in_newer_rows(store):
    write_night(store, [6], known_at=day(9), run_id="run-5", features=FEATURES[:1])
    assert answers(store, "SELECT count(original_glcm_Contrast), count(*) FROM radiomics") == [(7, 8)]


def test_a_new_clinical_variable_is_null_in_older_rows(store):
    grown = open_store(store.root, (*VARIABLES, ClinicalVariable("smoker", VariableKind.FLAG)))
    assert answers(grown, "SELECT count(smoker), count(*) FROM cases") == [(0, 7)]
    row = case_tables("C1", 1, day(9))["clinical"].append_column("smoker", pa.array([True]))
    with open_writer(grown, "run-5") as writer:
        with writer.commit(LINEAGE) as batch:
            batch.stage("clinical", "C1", row)
        with writer.commit(LINEAGE) as batch:
            batch.publish("C1")
    assert answers(grown, "SELECT smoker, age FROM cases WHERE case_key = 'case-C1-0001'") == [(True, 50.0)]
    assert answers(grown, "SELECT count(smoker), count(*) FROM cases") == [(1, 7)]


def test_a_variable_that_changed_its_type_is_refused_in_one_sentence(store):
    text = open_store(store.root, (ClinicalVariable("age", VariableKind.CATEGORY, levels=("young", "old")),))
    row = table_of("clinical", [{"center": "C1", "age": "young"}], age=pa.string())
    with open_writer(text, "run-5") as writer:
        with writer.commit(LINEAGE) as batch:
            batch.stage("clinical", "C1", row)
        block = writer.commit(LINEAGE)
        block.__enter__().publish("C1")
        with pytest.raises(StoreError, match="clinical"):
            block.__exit__(None, None, None)
    assert answers(store, "SELECT count(*) FROM cases") == [(7,)]


@pytest.mark.parametrize(
    ("relation", "extra", "sentence"),
    [
        ("rois", {"volume": pa.float64()}, "unknown columns"),
        ("clinical", {"shoe_size": pa.float64()}, "unknown columns"),
        ("files", {}, "not gated"),
    ],
)
def test_a_table_is_checked_before_it_is_staged(store, relation, extra, sentence):
    with open_writer(store, "run-5") as writer, writer.commit(LINEAGE) as batch:
        with pytest.raises(ValueError, match=sentence):
            batch.stage(relation, "C1", table_of(relation, [{"center": "C1"}], **extra))
        with pytest.raises(ValueError, match="another center"):
            batch.stage("rois", "C2", table_of("rois", [{"center": "C1"}]))
        with pytest.raises(ValueError, match="missing columns"):
            batch.stage("rois", "C1", table_of("rois", [{"center": "C1"}]).drop_columns(["reader"]))
        with pytest.raises(ValueError, match="stage its rows"):
            batch.append("rois", table_of("rois", [{"center": "C1"}]))


def test_files_on_disk_are_zstd_and_hold_no_center_column(store):
    for path in parquet_files(store):
        file = pq.ParquetFile(path)
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        assert "center" not in file.schema_arrow.names or path.parent.name == "runs"


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten_in_the_middle(path):
    content = bytearray(path.read_bytes())
    content[100:-100] = bytes(len(content) - 200)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [Path.unlink, halved, overwritten_in_the_middle])
def test_whatever_is_done_with_a_damaged_file_ends_in_a_sentence(store, damage):
    write_night(store, [6], known_at=day(9), run_id="run-5")
    for path in parquet_files(store):
        if "radiomics" in str(path):
            damage(path)
    publish = partial(write_manifest, store.root)
    wanted = {"radiomics": {"case_key": ["case-C1-0000"]}}
    for act in (
        lambda: store.relation("radiomics"),
        lambda: store.table("feature_set_now"),
        lambda: store.case_frame(day(20)),
        lambda: store.ask("FROM radiomics"),
        lambda: maintenance.compact(store.root, publish, run_id="run-6", committed_at=NOW),
        lambda: maintenance.erase(store.root, wanted, publish, run_id="run-6", committed_at=NOW),
    ):
        with pytest.raises(StoreError, match="clnm store verify"):
            act()
    assert any("radiomics" in finding for finding in maintenance.verify(store.root)["findings"])


def test_a_damaged_staged_file_is_named_when_it_is_verified_and_when_it_is_to_be_published(store):
    with open_writer(store, "run-5") as writer, writer.commit(LINEAGE) as batch:
        stage_cases(batch, "C1", [6], day(9))
    [path] = (store.root / "staging" / "rois" / "C1").rglob("*.parquet")
    halved(path)
    assert any(path.name in finding for finding in maintenance.verify(store.root)["findings"])
    with open_writer(store, "run-6") as writer:
        block = writer.commit(LINEAGE)
        block.__enter__().publish("C1")
        with pytest.raises(StoreError, match=path.name):
            block.__exit__(None, None, None)


def test_a_store_on_a_disk_that_loses_bytes_is_not_said_to_be_restored(store, tmp_path, monkeypatch):
    copies.backup(store.root, tmp_path / "backup")
    copy = shutil.copy2

    def lose_a_byte(source, target):
        copy(source, target)
        if target.suffix == ".parquet":
            target.write_bytes(target.read_bytes()[:-1])

    monkeypatch.setattr(shutil, "copy2", lose_a_byte)
    with pytest.raises(StoreError, match="the disk of the store is not sound"):
        copies.restore(tmp_path / "again", tmp_path / "backup")
    assert not (tmp_path / "again" / "manifest.json").exists()
