"""Who a patient is: sealed by intake, read by the holder of the link key, and by nobody else."""

import stat

import pytest

from clnm import pipeline
from clnm.archive.links import make_link_keys, seal, unseal
from clnm.errors import ConfigurationError, UserError
from clnm.pipeline.forget import forget_patient
from clnm.pipeline.installation import open_installation
from clnm.pipeline.linking import link, make_link_key_files
from clnm.settings import make_pseudonym_key
from tests.unit.intake_archives import dicom, put

NAME, WALKER = "Zwitscherling-77", "Wandersmann-78"


@pytest.fixture
def config(tmp_path):
    make_pseudonym_key(tmp_path / "secrets" / "pseudonym.key")
    make_link_key_files(tmp_path / "secrets" / "link.key", tmp_path / "secrets" / "link.pub")
    put(tmp_path, {"archive/a.dcm": dicom(1, PatientID=NAME)})
    put(tmp_path, {"clinical.csv": f"patient,age,clnm\n{NAME},40,1\n{WALKER},50,0\n"})
    path = tmp_path / "clnm.toml"
    path.write_text(
        """
[[center]]
name = "C1"
role = "train"
archive = ["archive"]
clinical = "clinical.csv"
[clinical]
age = { type = "number" }
[deep]
enabled = false
[compute]
workers = 1
""",
        encoding="utf-8",
    )
    pipeline.run_stage(path, "ingest")
    return path


def keys(config):
    pseudonyms = open_installation(config).pseudonyms()
    return pseudonyms.patient("C1", NAME), pseudonyms.patient("C1", WALKER)


def test_the_holder_of_the_key_learns_who_a_patient_is_and_where_the_files_lie(config):
    imaged, in_the_table_alone = keys(config)
    found = link(config, imaged)
    assert found["patient"] == NAME
    assert ["a.dcm" in row["path"] for row in found["files"]] == [True]
    assert link(config, in_the_table_alone) == {"patient": WALKER, "is_sealed": True, "files": []}


def test_without_the_key_nobody_does(config, tmp_path):
    elsewhere = tmp_path / "usb.key"
    (tmp_path / "secrets" / "link.key").rename(elsewhere)
    assert (link(config, keys(config)[0])["patient"], link(config, keys(config)[0])["is_sealed"]) == (None, True)
    assert link(config, keys(config)[0], key_file=elsewhere)["patient"] == NAME
    held = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert [path.name for path in held if NAME.encode() in path.read_bytes()] == []
    pipeline.run_stage(config, "ingest")  # intake does not need it


def test_another_key_one_that_others_may_read_and_none_are_sentences(config, tmp_path):
    other = tmp_path / "other.key"
    make_link_key_files(other, tmp_path / "other.pub")
    patient = keys(config)[0]
    with pytest.raises(ConfigurationError, match="not the one that this patient was sealed for"):
        link(config, patient, key_file=other)
    other.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        link(config, patient, key_file=other)
    with pytest.raises(ConfigurationError, match="is not there"):
        link(config, patient, key_file=tmp_path / "none")
    with pytest.raises(UserError, match="no patient"):
        link(config, "k1-nobody")


def test_a_forgotten_patient_has_no_link(config):
    imaged, other = keys(config)
    forget_patient(config, imaged)
    with pytest.raises(UserError, match="no patient"):
        link(config, imaged)
    assert link(config, other)["patient"] == WALKER


def test_without_a_public_half_no_link_is_kept(config, tmp_path):
    (tmp_path / "secrets" / "link.pub").unlink()
    put(tmp_path, {"archive/b.dcm": dicom(2, PatientID="Neuling-79")})
    pipeline.run_stage(config, "ingest")
    late = open_installation(config).pseudonyms().patient("C1", "Neuling-79")
    assert link(config, late)["is_sealed"] is False
    assert link(config, keys(config)[0])["patient"] == NAME


def test_a_damaged_half_is_a_sentence_and_nothing_is_lost(config, tmp_path):
    (tmp_path / "secrets" / "link.pub").write_text("what")
    with pytest.raises(ConfigurationError, match=r"\[pseudonyms\] link_file holds no key"):
        pipeline.run_stage(config, "ingest")
    assert link(config, keys(config)[0])["patient"] == NAME


def test_keys_are_private_and_never_overwritten(tmp_path):
    key, half = tmp_path / "s" / "link.key", tmp_path / "s" / "link.pub"
    assert make_link_key_files(key, half)
    before = key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.rename(tmp_path / "away")
    assert not make_link_key_files(key, half)
    assert (tmp_path / "away").read_text() == before
    assert not key.exists()


def test_a_seal_is_of_one_patient_and_never_the_same_twice():
    key, half = make_link_keys()
    sealed = seal(half, "k1-a", "P1")
    assert unseal(key, "k1-a", sealed) == "P1"
    assert seal(half, "k1-a", "P1") != sealed
    with pytest.raises(ConfigurationError):
        unseal(key, "k1-b", sealed)
