"""Dates shifted by patient: intervals stay, images and tables go together, and nothing is shifted by halves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clnm.archive.pseudonyms import MAX_SHIFT_DAYS, Pseudonyms
from clnm.errors import ConfigurationError
from tests.unit.intake_archives import dicom, hospital

PLAIN = Pseudonyms(b"k" * 32)
SHIFTING = Pseudonyms(b"k" * 32, shifts_dates=True)
STUDY = datetime(2025, 3, 1, 10, 15, tzinfo=UTC)
TABLE = "patient,age,clnm,acquired_on,known_on\nP1,40,1,2025-03-01,2025-03-11\nP2,50,0,2025-03-01,\n"


def clinic(directory, pseudonyms):
    files = {"a.dcm": dicom(1), "b.dcm": dicom(2)}
    made = hospital(directory, files, tables={"clinical": ("clinical.csv", TABLE)})
    made.pseudonyms = pseudonyms
    return made


def test_images_and_tables_of_a_patient_are_shifted_alike_and_intervals_stay(tmp_path):
    plain, shifted = clinic(tmp_path / "a", PLAIN).look(), clinic(tmp_path / "b", SHIFTING).look()
    by = {}
    for before, after in zip(plain.images, shifted.images, strict=True):
        by[after.patient_key] = before.acquired_at - after.acquired_at
        assert before.acquired_at == STUDY
    assert len(set(by.values())) == 2
    assert all(timedelta(days=1) <= days <= timedelta(days=MAX_SHIFT_DAYS) for days in by.values())
    for rows in ("clinical", "outcomes"):
        for before, after in zip(getattr(plain, rows), getattr(shifted, rows), strict=True):
            assert before.acquired_at - after.acquired_at == by[after.patient_key]
    first = next(row for row in shifted.outcomes if row.value)
    assert first.known_at - first.acquired_at == timedelta(days=10)


def test_keys_are_the_same_with_and_without(tmp_path):
    plain, shifted = clinic(tmp_path / "a", PLAIN).look(), clinic(tmp_path / "b", SHIFTING).look()
    for name in ("image_key", "patient_key", "study_key"):
        assert [getattr(i, name) for i in plain.images] == [getattr(i, name) for i in shifted.images]


def test_a_second_look_is_empty_and_a_changed_mind_is_refused(tmp_path):
    made = clinic(tmp_path, SHIFTING)
    made.look()
    assert made.look().is_empty
    made.pseudonyms = PLAIN
    with pytest.raises(ConfigurationError, match="shift_dates = true; set it back"):
        made.look()


def test_a_store_without_shifted_dates_is_not_shifted_by_halves(tmp_path):
    made = clinic(tmp_path, PLAIN)
    made.look()
    made.pseudonyms = SHIFTING
    with pytest.raises(ConfigurationError, match="shift_dates = false; set it back"):
        made.look()


@given(st.text(min_size=1), st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_shift_is_by_whole_days_back_and_follows_from_the_key(patient, moment):
    days = moment - SHIFTING.shifted(patient, moment)
    assert timedelta(days=1) <= days <= timedelta(days=MAX_SHIFT_DAYS)
    assert days.seconds == 0
    assert SHIFTING.shifted(patient, moment) == SHIFTING.shifted(patient, moment)
    assert PLAIN.shifted(patient, moment) == moment
    assert SHIFTING.shifted(patient, None) is None


def test_another_key_shifts_otherwise():
    other = replace(SHIFTING, key=b"q" * 32)
    patients = [f"k1-{number}" for number in range(20)]
    assert [SHIFTING.shifted(p, STUDY) for p in patients] != [other.shifted(p, STUDY) for p in patients]
