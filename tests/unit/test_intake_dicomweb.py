"""A DICOMweb server as an archive, told by a server that can be made to lie."""

import dataclasses
import hashlib
import logging
from datetime import date

import pytest

from clnm.archive import dicomweb
from clnm.archive.center import CenterArchive
from clnm.archive.dicomweb import WebArchive
from clnm.entities import Role
from clnm.errors import NothingToDoError
from tests.pacs.lying_server import Lies, lying_server
from tests.unit.intake_archives import ROOT, SHAPE, Hospital, blob, dicom, name_of, png, put


def key_of(number, instance=1, series=None):
    return f"{ROOT}.2.{number}", series or f"{ROOT}.4.{number}", f"{ROOT}.3.{number}.{instance}"


def instance(number, place=1, **elements):
    study, series, uid = key_of(number, place)
    return dicom(
        number * 100 + place,
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        SOPInstanceUID=uid,
        PatientID=f"P{number}",
        **elements,
    )


def held(studies=3, instances=2):
    return {
        key_of(number, place): instance(number, place)
        for number in range(1, studies + 1)
        for place in range(1, instances + 1)
    }


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(dicomweb, "_PAUSE_SECONDS", 0.001)


@pytest.fixture
def lies():
    return Lies(held())


@pytest.fixture
def url(lies):
    with lying_server(lies) as address:
        yield address


class WebHospital(Hospital):
    """A center whose archive is a server; every look is a run with a connection of its own."""

    def look(self, *, since=None, **options):
        root = WebArchive(self.url, since=since)
        self.center = dataclasses.replace(self.center, archive=(root, *self.center.archive[1:]))
        try:
            return super().look(**options)
        finally:
            root.close()

    def path(self, key):
        return "/".join(key)


@pytest.fixture
def hospital(tmp_path, url):
    made = WebHospital(tmp_path, CenterArchive("C1", Role.TRAIN, (WebArchive(url),)))
    made.url = url
    return made


def counts(intake):
    return {status: count for status, count in intake.counts.items() if count}


def test_every_instance_the_server_counts_is_ingested_byte_for_byte(hospital, lies):
    assert counts(hospital.look()) == {"ingested": 6}
    sums = {entry.path.decode(): entry.sha256 for entry in hospital.history[-1].ledger.entries()}
    assert sums == {"/".join(key): hashlib.sha256(content).hexdigest() for key, content in lies.held.items()}
    sizes = {entry.size_bytes for entry in hospital.history[-1].ledger.entries()}
    assert sizes == {len(content) for content in lies.held.values()}


def test_a_second_look_fetches_nothing_but_the_sample_that_is_hashed_again_and_tells_nothing(
    hospital, lies, monkeypatch
):
    monkeypatch.setattr("clnm.archive.difference.REHASHED", 0)
    hospital.look()
    lies.asked.clear()
    assert hospital.look().is_empty
    assert lies.asked["files"] == 0


def test_only_what_is_new_is_fetched(hospital, lies, monkeypatch):
    monkeypatch.setattr("clnm.archive.difference.REHASHED", 0)
    hospital.look()
    lies.asked.clear()
    lies.held[key_of(2, 3)] = instance(2, 3)
    assert counts(hospital.look()) == {"ingested": 7}
    assert lies.asked["files"] == 1


@pytest.mark.parametrize("page", [1, 2, 5])
def test_pages_that_the_server_caps_are_all_read(hospital, lies, page):
    lies.page = page
    assert counts(hospital.look()) == {"ingested": 6}


def test_a_server_that_ignores_the_offset_does_not_hang_and_its_count_tells_what_is_missing(hospital, lies):
    lies.held, lies.page, lies.ignores_offset = held(1, 4), 3, True
    assert counts(hospital.look()) == {"ingested": 3, "quarantined": 1}
    assert hospital.states()[f"{ROOT}.2.1/{ROOT}.4.1"] == ("quarantined", "not_delivered")


def test_what_is_counted_and_not_listed_is_a_row_and_gone_when_it_is_listed(hospital, lies):
    lies.unlisted = {key_of(1, 2)}
    assert counts(hospital.look()) == {"ingested": 5, "quarantined": 1}
    [row] = [e for e in hospital.history[-1].ledger.entries() if e.status == "quarantined"]
    assert (row.path.decode(), row.detail) == (f"{ROOT}.2.1/{ROOT}.4.1", "1 of 2 instances listed")
    lies.unlisted = set()
    assert counts(hospital.look()) == {"ingested": 6, "gone": 1}


def test_what_is_known_is_not_gone_while_its_study_is_not_listed_whole(hospital, lies):
    hospital.look()
    lies.unlisted = {key_of(1, 2)}
    assert counts(hospital.look()) == {"ingested": 6, "quarantined": 1}


@pytest.mark.parametrize("fault", ["status", "cut", "dropped"])
def test_what_is_listed_and_not_delivered_is_a_row_and_tried_again(hospital, lies, fault):
    key = key_of(2, 1)
    lies.status_of = {key: 500} if fault == "status" else {}
    lies.cut, lies.dropped = ({key} if fault == "cut" else set()), ({key} if fault == "dropped" else set())
    assert counts(hospital.look()) == {"ingested": 5, "quarantined": 1}
    assert hospital.states()["/".join(key)] == ("quarantined", "not_delivered")
    assert hospital.look().is_empty
    lies.status_of, lies.cut, lies.dropped = {}, set(), set()
    assert counts(hospital.look()) == {"ingested": 6}


def test_a_file_that_is_cut_at_the_server_is_named_like_any_other(hospital, lies):
    lies.held[key_of(1, 1)] = lies.held[key_of(1, 1)][:-100]
    hospital.look()
    assert hospital.states()["/".join(key_of(1, 1))] == ("quarantined", "truncated_pixels")


def test_an_object_of_another_class_is_ignored_without_being_fetched(hospital, lies):
    lies.classes[key_of(3, 1)] = "1.2.840.10008.5.1.4.1.1.88.11"
    assert counts(hospital.look()) == {"ingested": 5, "ignored": 1}
    assert lies.asked["files"] == 5
    assert hospital.look().is_empty


def test_a_server_that_goes_away_loses_nothing_and_the_next_look_goes_on(hospital, lies, monkeypatch):
    monkeypatch.setattr("clnm.archive.difference.REHASHED", 0)
    lies.dies_after = 2
    assert counts(hospital.look()) == {"ingested": 2, "pending": 4}
    assert {reason for _, reason in hospital.states().values()} == {"", "not_fetched"}
    [server] = hospital.center.servers.values()
    assert server.is_away
    revived = Lies(lies.held)
    with lying_server(revived) as address:
        hospital.url = address
        assert counts(hospital.look()) == {"ingested": 6}
    assert revived.asked["files"] == 4


def test_a_server_that_is_not_there_is_a_sentence_without_its_address(hospital):
    hospital.url = "http://127.0.0.1:9/dicom-web"
    with pytest.raises(NothingToDoError, match="DICOMweb server of C1/0 cannot be used: it does not answer") as caught:
        hospital.look()
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(("status", "sentence"), [(401, "refuses our login"), (500, "status 500"), (404, "status 404")])
def test_a_server_that_does_not_list_is_a_sentence(hospital, lies, status, sentence):
    lies.status = status
    with pytest.raises(NothingToDoError, match=sentence):
        hospital.look()


def test_a_server_that_lost_most_of_its_studies_is_refused(hospital, lies):
    hospital.look()
    lies.held = held(1)
    with pytest.raises(NothingToDoError, match="4 of 6 known files of C1/0 are not there"):
        hospital.look()


def test_with_a_window_older_studies_are_neither_asked_for_nor_gone(hospital, lies):
    hospital.look()
    lies.dates = {f"{ROOT}.2.{number}": "20200101" for number in (1, 2)}
    lies.held[key_of(3, 3)] = instance(3, 3)
    lies.asked.clear()
    assert counts(hospital.look(since=date(2025, 12, 1))) == {"ingested": 7}
    assert lies.asked["instances"] == 1
    del lies.held[key_of(3, 1)]
    assert counts(hospital.look(since=date(2025, 12, 1))) == {"ingested": 6, "gone": 1}
    assert counts(hospital.look(since=date(2027, 1, 1))) == {"ingested": 6, "gone": 1}


def test_some_at_a_time_ends_where_all_at_once_ends(hospital, lies):
    looks = [hospital.look(max_fetched=4), hospital.look(max_fetched=4)]
    assert [(look.is_whole, counts(look)) for look in looks] == [
        (False, {"ingested": 4, "pending": 2}),
        (True, {"ingested": 6}),
    ]
    assert len({image.image_key for look in looks for image in look.images}) == 6


def test_a_mask_on_the_disk_finds_its_instance_by_its_uid(hospital, tmp_path):
    put(tmp_path / "drawn", {f"{key_of(1, 1)[2]}_mask.png": png(blob(SHAPE) * 255)})
    intake = hospital.again(masks=(tmp_path / "drawn",)).look()
    assert len(intake.rois) == 1
    assert intake.rois[0].image_key == hospital.entry("/".join(key_of(1, 1))).image_key


def test_nothing_of_a_server_is_told_to_any_logger(hospital, lies, caplog):
    caplog.set_level(logging.DEBUG)
    lies.status_of = {key_of(2, 1): 500}
    intake = hospital.look()
    assert ROOT not in caplog.text
    assert "127.0.0.1" not in caplog.text
    assert ROOT not in repr(intake.files) + repr(intake.set_aside) + repr(intake.images)
    assert ROOT in name_of(hospital.entry("/".join(key_of(2, 1))))


@pytest.mark.parametrize(
    "body", [b"[1, null, {}]", b'{"a": 1}', b"<html>", b'[{"0020000D": {"Value": ["../../etc"]}}]', b"\xff" * 10]
)
def test_a_list_that_is_none_is_never_a_crash(hospital, lies, body, monkeypatch):
    monkeypatch.setattr(lies, "answer", lambda *_: (200, "application/dicom+json", body))
    with pytest.raises(NothingToDoError):
        hospital.look()
