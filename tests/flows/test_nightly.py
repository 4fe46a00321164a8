"""The whole path on small simulated archives: nothing lost, nothing twice, each center on its own."""

import hashlib
import shutil
import sys
from datetime import UTC, datetime, time
from zipfile import ZipFile

import duckdb
import pytest

from clnm import pipeline
from clnm.archive.ledger import Ledger
from clnm.errors import UserError
from clnm.pipeline.extract import extract
from clnm.pipeline.installation import open_installation
from clnm.pipeline.run import open_run
from clnm.quality import suites
from clnm.settings import make_pseudonym_key
from clnm.simulate import parse_drift, simulate_archive
from tests.flows.archives import SMALL_RADIOMICS

UNTIL = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
SMALLEST = 70
"""Patients of whom enough have an outcome to learn from, on whichever day of the week the simulated archive ends."""
PER_RUN = {"runs", "run_costs", "stage_costs", "drift", "center_health", "performance", "check_results", "alerts"}

pytestmark = pytest.mark.long


def make_installation(directory, *, patients=112, deep=False, drift=(), faults=False):
    simulate_archive(
        directory,
        patients=patients,
        seed=7,
        until=UNTIL,
        drift=[parse_drift(text) for text in drift],
        faults=faults,
    )
    (directory / "radiomics.yaml").write_text(SMALL_RADIOMICS, encoding="utf-8")
    config = directory / "clnm.toml"
    extra = f"\n[deep]\nenabled = {str(deep).lower()}\n[compute]\nworkers = 1\n"
    extra += "[quality]\nmax_quarantined_fraction = 0.02\n"
    config.write_text(config.read_text(encoding="utf-8") + extra, encoding="utf-8")
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    return config


def run_night(config):
    """The exit code of a night, 0 where it ends without a complaint."""
    try:
        pipeline.nightly(config)
    except UserError as error:
        return error.exit_code
    return 0


def answers(config, question):
    with duckdb.connect(str(config.parent / "store" / "catalog.duckdb"), read_only=True) as connection:
        return connection.execute(question).fetchall()


def row_counts(config):
    names = [name for (name,) in answers(config, "SELECT view_name FROM duckdb_views() WHERE NOT internal")]
    shown = [name for name in names if not name.startswith("raw_")]
    return {name: answers(config, f"SELECT count(*) FROM {name}")[0][0] for name in shown}


def what_is_not_ingested(installation):
    """From the ledgers, which alone know paths: a path as the simulator writes it, state and reason."""
    for center in installation.settings.center:
        ledger = Ledger.read(installation.root / installation.store.kept(f"ledger/{center.name}"))
        for entry in ledger.entries():
            source = center.archive[int(entry.source.split("/")[1])]
            name = entry.path.decode()
            if name == ".":
                path = source
            elif ":" in name:
                path = f"{source}!{name.split(':')[1]}"
            else:
                path = f"{source}/{name}"
            if entry.status != "ingested":
                yield path, (entry.status, entry.reason)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """One nightly over 112 simulated patients, with every planted fault, radiomics and embeddings."""
    config = make_installation(tmp_path_factory.mktemp("night"), deep=True, faults=True)
    return config, run_night(config)


def test_more_faults_than_allowed_end_with_their_own_exit_code(night):
    assert night[1] == 15


def test_every_file_is_in_one_state_and_the_states_add_up(night):
    """A zip file is its members."""
    config, _ = night
    on_disk = [path for path in (config.parent / "archives").rglob("*") if path.is_file()]
    exports = [path for path in on_disk if path.suffix == ".zip"]
    files = len(on_disk) - len(exports) + sum(len(ZipFile(path).namelist()) for path in exports)
    assert answers(config, "SELECT count(*), count(DISTINCT file_key) FROM files") == [(files, files)]


def test_every_planted_fault_is_named_with_its_reason_and_no_other(night):
    config, _ = night
    planted = answers(config, f"FROM read_csv('{config.parent}/truth/faults.csv', all_varchar = true)")
    wanted = {path: (status, reason) for _, path, kind, status, reason in planted if kind == "file"}
    assert dict(what_is_not_ingested(open_installation(config))) == wanted
    cases = sorted((path.split("/")[1], reason) for _, path, kind, _, reason in planted if kind == "case")
    assert answers(config, "SELECT center, reason FROM quarantine WHERE kind = 'case' ORDER BY ALL") == cases


def test_every_case_is_scored(night):
    config, _ = night
    assert answers(config, "SELECT status, count(*) FROM worklist GROUP BY status") == [("scored", 112)]


def test_every_roi_has_radiomics_and_an_embedding(night):
    config, _ = night
    rois = answers(config, "SELECT count(*) FROM rois")
    assert rois == answers(config, "SELECT count(*) FROM radiomics") == answers(config, "SELECT count(*) FROM deep")
    assert answers(config, "SELECT DISTINCT len(embedding) FROM deep") == [(512,)]


def test_deep_names_the_checksum_of_the_weights_that_were_learned(night):
    config, _ = night
    [path] = (config.parent / "store" / "models" / "encoders").glob("*.safetensors")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert answers(config, "SELECT DISTINCT weights_sha256 FROM deep") == [(sha256,)]


def test_no_model_saw_an_external_center(night):
    config, _ = night
    n_train = answers(config, "SELECT DISTINCT n_train FROM model_versions")[0][0]
    train = "SELECT count(*) FROM cases WHERE role = 'train' AND clnm IS NOT NULL"
    assert answers(config, train) == [(n_train,)]


def test_nine_models_stand_in_the_registry_and_one_is_champion(night):
    config, _ = night
    counts = "SELECT count(*), count(*) FILTER (WHERE status = 'champion') FROM model_versions"
    assert answers(config, counts) == [(9, 1)]


def test_every_feature_is_judged_for_robustness_and_no_model_reads_a_fragile_one(night):
    config, _ = night
    judged = answers(config, "SELECT feature, is_robust, n_perturbed FROM feature_robustness")
    features = {name for (name,) in answers(config, "SELECT DISTINCT feature FROM features_long")}
    assert {name for name, _, _ in judged} >= features
    assert {n for _, _, n in judged} == {24}
    fragile = {name for name, verdict, _ in judged if verdict is False}
    assert fragile
    for meta in (config.parent / "store" / "models").glob("2*/*.json"):
        assert not [name for name in fragile if f'"{name}"' in meta.read_text(encoding="utf-8")]


def test_each_center_has_a_verdict(night):
    config, _ = night
    verdicts = dict(answers(config, "SELECT center, verdict FROM center_health"))
    assert set(verdicts) == {"C1", "C2", "C3", "C4"}
    assert set(verdicts.values()) <= {"stable", "insufficient"}


def test_the_page_and_the_mail_are_written(night):
    config, _ = night
    page = (config.parent / "store" / "report" / "index.html").read_text(encoding="utf-8")
    mail = (config.parent / "store" / "report" / "morning.txt").read_text(encoding="utf-8")
    assert "Not a medical device" in page
    assert "112 of 112 cases scored" in mail
    assert "To mend:" in mail  # more faults than allowed
    assert len(mail.splitlines()) <= 40


def test_no_name_or_path_of_the_archive_is_in_anything_public(night):
    """A byte search for the made-up names, ids and paths over everything the run wrote outside `private/`."""
    config, _ = night
    names = answers(config, f"SELECT patient FROM read_csv('{config.parent}/truth/truth.csv', all_varchar = true)")
    folders = {path.name for path in (config.parent / "archives").glob("C2/*") if path.is_dir()} - {"masks", "incoming"}
    needles = [text.encode() for text in {name for (name,) in names} | folders if len(text) > 5]
    assert len(needles) > 112
    store = config.parent / "store"
    public = [path for path in store.rglob("*") if path.is_file() and "private" not in path.relative_to(store).parts]
    hits = [(path.name, needle) for path in public for needle in needles if needle in path.read_bytes()]
    assert hits == []


def test_a_second_night_over_nothing_new_adds_rows_to_per_run_tables_alone(night):
    config, _ = night
    before = row_counts(config)
    run_night(config)
    after = row_counts(config)
    assert {name for name in before if before[name] != after[name]} <= PER_RUN
    assert after["runs"] == before["runs"] + 1


def test_a_backfill_computes_one_center_again_to_the_same_values(night):
    config, _ = night
    columns = "roi_key, original_glcm_Contrast, original_shape2D_Sphericity"
    before = answers(config, f"SELECT {columns} FROM radiomics ORDER BY roi_key")
    per_center = "SELECT count(*) FILTER (center = 'C4'), count(*) FILTER (center <> 'C4') FROM raw_radiomics"
    [(again, others)] = answers(config, per_center)
    with open_run(config, command="extract") as run:
        extract(run, backfill=pipeline.Backfill(centers=("C4",)))
        assert run.counts["extract"]["C4"] == {"extracted": again, "failed": 0}
        extract(run, backfill=pipeline.Backfill(centers=("C4",)))  # a task that is tried again
        assert run.counts["extract"]["C4"] == {"extracted": 0, "failed": 0}
    pipeline.run_stage(config, "check")
    assert answers(config, f"SELECT {columns} FROM radiomics ORDER BY roi_key") == before
    assert answers(config, per_center) == [(2 * again, others)]


def test_a_backfill_of_an_unknown_center_names_the_nearest(night):
    with pytest.raises(UserError, match="no center 'C44'; did you mean 'C4'"):
        pipeline.run_stage(night[0], "extract", backfill=pipeline.Backfill(centers=("C44",)))


def test_a_center_whose_mount_is_gone_does_not_stop_the_others(tmp_path):
    config = make_installation(tmp_path, patients=24)
    shutil.rmtree(tmp_path / "archives" / "C3")
    assert run_night(config) == 10  # its clinical table is gone, too
    assert answers(config, "SELECT DISTINCT center FROM cases ORDER BY center") == [("C1",), ("C2",), ("C4",)]


def test_an_empty_archive_is_exit_11_and_the_other_centers_go_on(tmp_path):
    config = make_installation(tmp_path, patients=24)
    shutil.rmtree(tmp_path / "archives" / "C3" / "masks")
    text = config.read_text(encoding="utf-8").replace('archive = ["archives/C3"]', 'archive = ["archives/empty"]')
    text = text.replace('masks = ["archives/C3/masks"]', "masks = []")
    config.write_text(text, encoding="utf-8")
    (tmp_path / "archives" / "empty").mkdir()
    assert run_night(config) == 11
    assert answers(config, "SELECT count(DISTINCT center) FROM cases") == [(3,)]


def test_a_held_batch_is_in_no_published_table_and_can_be_released(tmp_path):
    """Spacing a hundred times too large: centimetres where millimetres belong."""
    import pydicom

    from clnm.pipeline.check import decide, held_batches

    config = make_installation(tmp_path, patients=24)
    for path in (tmp_path / "archives" / "C4").rglob("*"):
        if path.is_file() and path.read_bytes()[128:132] == b"DICM":
            dataset = pydicom.dcmread(path)
            for region in dataset.SequenceOfUltrasoundRegions:
                region.PhysicalDeltaX, region.PhysicalDeltaY = region.PhysicalDeltaX * 100, region.PhysicalDeltaY * 100
            dataset.save_as(path)
    assert run_night(config) == 12
    for relation in ("images", "rois", "cases", "radiomics", "clinical", "outcomes"):
        assert answers(config, f"SELECT count(*) FROM {relation} WHERE center = 'C4'") == [(0,)], relation
    assert answers(config, "SELECT count(*) FROM files WHERE center = 'C4'")[0][0] > 0
    assert {row["center"] for row in held_batches(config)} == {"C4"}
    assert decide(config, "C4", release=True, who="test", why="to see it")["rows"] > 0
    assert answers(config, "SELECT count(*) FROM images WHERE center = 'C4'")[0][0] > 0


def test_a_night_that_may_start_no_process_for_its_suites_runs_them_itself(tmp_path, monkeypatch):
    config = make_installation(tmp_path, patients=16)
    with pipeline.open_run(config, command="nightly") as run:
        assert run.suites is not suites
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pipeline.open_run(config, command="nightly") as run:
        assert run.suites is suites
