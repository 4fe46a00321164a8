"""`clnm store verify` after a real intake: silent where all is well, a sentence for each promise that is broken."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from clnm import pipeline
from clnm.archive.ledger import Ledger
from clnm.entities import Lineage
from clnm.pipeline.installation import open_installation
from clnm.pipeline.maintain import verify
from clnm.settings import make_pseudonym_key
from clnm.simulate import simulate_archive
from clnm.store.manifest import write_manifest
from tests.store_rows import table_of

NOW = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Every planted fault taken in, what passes the gate published."""
    directory = tmp_path_factory.mktemp("verified")
    simulate_archive(directory, patients=16, seed=3, until=NOW, faults=True)
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    config = directory / "clnm.toml"
    quality = "\n[quality]\nmax_quarantined_fraction = 1\n"
    config.write_text(config.read_text(encoding="utf-8") + quality, encoding="utf-8")
    pipeline.run_stage(config, "ingest")
    pipeline.run_stage(config, "check")
    return config


def write(config, run_id, *, publish=(), started_at=NOW, lasted=timedelta(), **tables):
    store = open_installation(config).store
    with store.writer(run_id=run_id, command="test", started_at=started_at) as writer:
        with writer.commit(Lineage(run_id, "0.1.0", "config")) as batch:
            for relation, table in tables.items():
                batch.stage(relation, "C1", table)
        with writer.commit(Lineage(run_id, "0.1.0", "config")) as batch:
            for center in publish:
                batch.publish(center)
            run = {"started_at": started_at, "finished_at": started_at + lasted, "status": "done"}
            batch.append("runs", table_of("runs", [run]))
    store.close()


def test_a_sound_store_has_nothing_to_tell(config):
    told = verify(config)
    assert told["findings"] == []
    assert told["rows"] > 100


def test_a_ledger_that_counts_otherwise_than_the_relation_is_told(config):
    installation = open_installation(config)
    path = installation.root / installation.store.kept("ledger/C1")
    files = Ledger.read(path).counts()["ingested"]
    manifest = installation.store.manifest()
    sound = {place: place.read_bytes() for place in (*path.parent.iterdir(), installation.root / "manifest.json")}
    Ledger.empty().write(path)
    assert verify(config)["findings"] == [f"{path.relative_to(installation.root)} is damaged"]
    write_manifest(installation.root, replace(manifest, checksums={}))  # as if it had been written so
    findings = verify(config)["findings"]
    for place, content in sound.items():
        place.write_bytes(content)
    assert f"center C1: 0 files are ingested in the ledger, {files} in the relation files" in findings
    assert verify(config)["findings"] == []


def test_rows_without_what_they_come_from_and_clocks_that_contradict_each_other_are_told(config):
    late = NOW + timedelta(days=2)
    write(
        config,
        "run-a",
        publish=["C1"],
        started_at=late,
        lasted=timedelta(minutes=-1),
        rois=table_of("rois", [{"roi_key": "r", "image_key": "i", "center": "C1", "known_at": late}]),
        radiomics=table_of("radiomics", [{"roi_key": "q", "center": "C1", "known_at": NOW, "computed_at": NOW}]),
        deep=table_of("deep", [{"roi_key": "q", "center": "C1", "known_at": NOW, "computed_at": NOW - DAY}]),
        clinical=table_of("clinical", [{"center": "C1", "known_at": late + 0.5 * DAY, "acquired_at": NOW}]),
        outcomes=table_of(
            "outcomes",
            [
                {"center": "C1", "known_at": late + 1.5 * DAY, "acquired_at": NOW},
                {"center": "C1", "known_at": NOW - 2 * DAY, "acquired_at": NOW},
            ],
        ),
    )
    write(config, "run-b", started_at=NOW + timedelta(days=1))
    assert sorted(verify(config)["findings"]) == [
        "1 deep computed before their ROI was known",
        "1 deep without their ROI",
        "1 outcomes acquired more than a day after they were known",
        "1 outcomes known only after the end of the run that wrote them",
        "1 radiomics without their ROI",
        "1 rois known only after the end of the run that wrote them",
        "1 rois without their image",
        "1 runs that ended before one committed earlier: a clock was set back",
        "1 runs that ended before they began",
    ]
