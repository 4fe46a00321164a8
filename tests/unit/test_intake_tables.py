"""Clinical, outcome and index tables: a hospital's own columns and words, typed or listed, never guessed."""

import csv
import io
from datetime import UTC, datetime

import pytest

from clnm.archive.tables import TableFormat, Vocabulary, read_day, read_flag, read_number, typed_value
from clnm.entities import ClinicalVariable, Role, VariableKind
from clnm.errors import ConfigurationError
from tests.unit.intake_archives import AGE, CALCIFICATION, EDGE, SHARED, dicom, hospital, pixels, png, put

PLAIN = Vocabulary({}, {}, TableFormat())
HEAD = "patient,age,edge,calcification,clnm,known_on\n"


def clinic(directory, text, **options):
    """A center with one image of patient P1 and this clinical table."""
    content = text if isinstance(text, bytes) else text.encode()
    name = options.pop("name", "clinical.csv")
    return hospital(directory, {"a.dcm": dicom(1)}, tables={"clinical": (name, content)}, **options)


def values(intake):
    return [row.values for row in intake.clinical]


def test_a_row_becomes_typed_values_and_an_outcome(tmp_path):
    intake = clinic(tmp_path, HEAD + "P1,54.5,Unclear,yes,positive,2025-06-01\n").look()
    [row], [answer] = intake.clinical, intake.outcomes
    assert row.values == {"age": 54.5, "edge": "unclear", "calcification": True}
    assert row.known_at == answer.known_at == datetime(2025, 6, 1, tzinfo=UTC)
    assert answer.value is True
    assert row.patient_key == answer.patient_key == intake.images[0].patient_key


def test_without_a_date_a_row_is_known_since_the_run_that_saw_it(tmp_path):
    place = clinic(tmp_path, HEAD + "P1,54,clear,no,0,\n")
    intake = place.look()
    assert intake.clinical[0].known_at == intake.images[0].known_at
    assert place.look().is_empty


def test_missing_values_are_null_and_no_problem(tmp_path):
    place = clinic(tmp_path, HEAD + "P1,not available,?,n/a,unknown,-\n")
    intake = place.look()
    assert values(intake) == [{"age": None, "edge": None, "calcification": None}]
    assert intake.outcomes == []
    assert place.open_asides() == [("no_mask", "")]


def test_values_out_of_range_or_unreadable_are_null_and_listed(tmp_path):
    place = clinic(tmp_path, HEAD + "P1,154,clear,no,0,\nP2,old,jagged,maybe,perhaps,\n")
    assert values(place.look()) == [
        {"age": None, "edge": "clear", "calcification": False},
        {"age": None, "edge": None, "calcification": None},
    ]
    assert place.open_asides() == [("no_mask", ""), ("unmatched_row", ""), ("value_out_of_range", "age")]


def test_what_is_wrong_with_a_row_is_listed_when_its_patients_image_has_come(tmp_path):
    place = clinic(tmp_path, HEAD + "P2,old,jagged,maybe,perhaps,\n")
    place.look()
    assert ("unmatched_row", "") in place.open_asides()
    put(place.archive, {"b.dcm": dicom(2)})
    second = place.look()
    assert ("value_unreadable", "age, calcification, clnm, edge") in place.open_asides()
    assert second.clinical == []


def test_a_mended_value_is_a_new_row_and_no_longer_listed(tmp_path):
    place = clinic(tmp_path, HEAD + "P1,154,clear,no,0,\n")
    place.look()
    put(tmp_path, {"clinical.csv": HEAD + "P1,54,clear,no,0,\n"})
    second = place.look()
    assert values(second) == [{"age": 54.0, "edge": "clear", "calcification": False}]
    assert second.outcomes == []
    assert place.open_asides() == [("no_mask", "")]


def test_a_value_that_was_changed_and_changed_back_is_told_again(tmp_path):
    place = clinic(tmp_path, HEAD + "P1,54,clear,no,0,\n")
    place.look()
    put(tmp_path, {"clinical.csv": HEAD + "P1,55,clear,no,0,\n"})
    assert [row["age"] for row in values(place.look())] == [55.0]
    put(tmp_path, {"clinical.csv": HEAD + "P1,54,clear,no,0,\n"})
    third = place.look()
    assert [row["age"] for row in values(third)] == [54.0]
    assert third.clinical[0].known_at > place.history[1].clinical[0].known_at
    assert place.look().is_empty


def test_a_new_line_alone_is_news(tmp_path):
    place = clinic(tmp_path, HEAD + "P1,54,clear,no,0,\n")
    place.look()
    put(tmp_path, {"clinical.csv": HEAD + "P1,54,clear,no,0,\nP2,60,clear,no,1,\n"})
    second = place.look()
    assert [row["age"] for row in values(second)] == [60.0]
    assert ("unmatched_row", "") in place.open_asides()


def test_two_answers_for_one_patient_are_both_kept_with_when_they_were_known(tmp_path):
    intake = clinic(tmp_path, HEAD + "P1,54,clear,no,0,2025-06-01\nP1,54,clear,no,1,2025-09-01\n").look()
    assert [(answer.value, answer.known_at.month) for answer in intake.outcomes] == [(False, 6), (True, 9)]
    assert len({answer.patient_key for answer in intake.outcomes}) == 1


def test_a_line_that_is_there_twice_is_one_row(tmp_path):
    intake = clinic(tmp_path, HEAD + "P1,54,clear,no,0,2025-06-01\n" * 2).look()
    assert (len(intake.clinical), len(intake.outcomes)) == (1, 1)


def test_a_line_without_a_patient_is_listed(tmp_path):
    place = clinic(tmp_path, HEAD + ",54,clear,no,0,\nP1,54,clear,no,0,\n")
    assert len(place.look().clinical) == 1
    assert ("missing_tag", "patient") in place.open_asides()


def test_a_patient_without_an_image_is_listed_until_the_image_comes(tmp_path):
    place = clinic(tmp_path, HEAD + "P2,54,clear,no,0,\n")
    place.look()
    assert ("unmatched_row", "") in place.open_asides()
    put(place.archive, {"b.dcm": dicom(2)})
    place.look()
    assert ("unmatched_row", "") not in place.open_asides()


def test_a_line_shorter_than_the_header_has_empty_cells(tmp_path):
    assert values(clinic(tmp_path, HEAD + "P1,54\n").look()) == [{"age": 54.0, "edge": None, "calcification": None}]


@pytest.mark.parametrize(
    ("encoding", "table"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {}),
        ("cp1252", {}),
        ("utf-16", {}),
        ("latin-1", {"encoding": "latin-1"}),
    ],
)
def test_the_encodings_of_hospitals_are_read(tmp_path, encoding, table):
    text = "Patiënt;Alter;clnm\nP1;54;ja\nP2;60;nein\n"
    place = clinic(tmp_path, text.encode(encoding), columns={"patient": "Patiënt", "age": "Alter"}, table=table)
    intake = place.look()
    assert [row["age"] for row in values(intake)] == [54.0, 60.0]
    assert [answer.value for answer in intake.outcomes] == [True, False]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path, separator):
    text = HEAD.replace(",", separator) + "P1,54,clear,no,1,2025-06-01\n".replace(",", separator)
    assert values(clinic(tmp_path, text).look())[0]["age"] == 54.0


def test_decimal_commas_and_days_first_are_read_as_configured(tmp_path):
    text = "patient;age;clnm;known_on\nP1;54,5;1;03/04/2025\n"
    place = clinic(tmp_path, text, table={"decimal": ",", "dayfirst": True})
    [row] = place.look().clinical
    assert row.values["age"] == 54.5
    assert row.known_at == datetime(2025, 4, 3, tzinfo=UTC)


def test_a_point_where_commas_are_decimal_is_listed_and_not_guessed(tmp_path):
    place = clinic(tmp_path, "patient;age;clnm\nP1;1.054;1\n", table={"decimal": ","})
    assert values(place.look())[0]["age"] is None
    assert ("value_unreadable", "age") in place.open_asides()


@pytest.mark.parametrize(
    ("text", "dayfirst", "day"),
    [
        ("2025-04-03", False, "2025-04-03"),
        ("20250403", False, "2025-04-03"),
        ("2025/04/03", True, "2025-04-03"),
        ("03.04.2025", False, "2025-04-03"),
        ("3/4/2025", True, "2025-04-03"),
        ("3/4/2025", False, "2025-03-04"),
        ("03-04-2025 11:30", True, "2025-04-03"),
        ("2025-04-03T23:30:00-05:00", False, "2025-04-04"),
        ("31/12/2025", False, None),
        ("03.04.25", True, None),
        ("1899-12-31", False, None),
        ("45750", False, None),
        ("Müller", False, None),
        ("", False, None),
    ],
)
def test_a_date_is_read_as_it_is_written_or_not_at_all(text, dayfirst, day):
    found = read_day(text, dayfirst=dayfirst)
    assert (None if found is None else str(found.date())) == day


@pytest.mark.parametrize("word", ["1_000", "inf", "nan", "1e400", "", "5 mm", "0x10"])
def test_what_is_no_finite_number_is_none(word):
    assert read_number(word, ".") is None


def test_yes_and_no_are_read_in_the_usual_words_and_nothing_else_is():
    assert [read_flag(word) for word in ("YES", " 1", "Pos", "0.0", "absent", "2", "perhaps")] == [
        True, True, True, False, False, None, None,
    ]  # fmt: skip


def test_a_hospitals_words_are_mapped_to_ours():
    vocabulary = Vocabulary({}, {"edge": {"unscharf": "unclear"}, "calcification": {"K+": 1, "-": 0}}, TableFormat())
    assert typed_value("Unscharf ", EDGE, vocabulary) == ("unclear", None)
    assert typed_value("k+", CALCIFICATION, vocabulary) == (True, None)
    assert typed_value("-", CALCIFICATION, vocabulary) == (
        False,
        None,
    )  # a word of theirs, though it mostly means nothing
    assert typed_value("-", AGE, vocabulary) == (None, None)


def test_a_range_includes_its_ends():
    assert typed_value("120", AGE, PLAIN) == (120.0, None)
    value, problem = typed_value("120.01", AGE, PLAIN)
    assert value is None
    assert problem.is_out_of_range


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx"])
def test_typed_tables_are_read_as_a_person_would_write_them(tmp_path, suffix):
    import pandas as pd

    frame = pd.DataFrame(
        {
            "patient": [1001.0, 1002.0],  # an integer column that once had a gap
            "age": [54.5, float("nan")],
            "calcification": [True, False],
            "clnm": [1, 0],
            "known_on": pd.to_datetime(["2025-06-01", "2025-07-01"]),
        }
    )
    path = tmp_path / f"scratch{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_excel(path, index=False)
    for number, decimal in enumerate((".", ",")):
        place = clinic(tmp_path / str(number), path.read_bytes(), name=f"clinical{suffix}", table={"decimal": decimal})
        intake = place.look()
        assert values(intake) == [
            {"age": 54.5, "edge": None, "calcification": True},
            {"age": None, "edge": None, "calcification": False},
        ]
        assert [answer.value for answer in intake.outcomes] == [True, False]
        assert [row.known_at.month for row in intake.clinical] == [6, 7]
        assert intake.clinical[0].patient_key == place.pseudonyms.patient("C1", "1001")


def test_outcomes_of_their_own_table_are_read_by_study(tmp_path):
    files = {"a.dcm": dicom(1)}
    study = "1.2.826.0.1.3680043.10.9999.2.1"
    tables = {
        "clinical": ("clinical.csv", "patient,age\nP1,54\n"),
        "outcomes": ("outcomes.csv", f"patient,study,clnm,known_on\nP1,{study},1,2025-06-01\n"),
    }
    intake = hospital(tmp_path, files, tables=tables).look()
    assert [(answer.study_key, answer.value) for answer in intake.outcomes] == [(intake.images[0].study_key, True)]


def refused(place):
    with pytest.raises(ConfigurationError) as caught:
        place.look()
    assert caught.value.exit_code == 10
    assert str(place.directory) not in str(caught.value)
    return str(caught.value)


def test_a_mapped_column_that_is_not_there_is_told_with_the_nearest(tmp_path):
    place = clinic(tmp_path, "PatientID,age,clnm\nP1,54,1\n", columns={"patient": "Patient_ID"})
    assert refused(place) == (
        "center C1: [center.columns] patient = 'Patient_ID': no such column; did you mean 'PatientID'?"
    )


def test_a_table_without_a_patient_column_is_told(tmp_path):
    sentence = refused(clinic(tmp_path, "case,age,clnm\nP1,54,1\n"))
    assert sentence == (
        "center C1: the table that `clinical` names has no column 'patient'; map patient in [center.columns]; "
        "known: age, case, clnm"
    )


def test_a_table_without_the_outcome_is_told_unless_none_is_expected(tmp_path):
    text = "patient,age,CLNM\nP1,54,1\n"
    assert "none of its tables has a column 'clnm' for the outcome" in refused(clinic(tmp_path, text))
    assert len(clinic(tmp_path, text, role=Role.SCORE).look().clinical) == 1


def test_a_table_that_is_not_there_is_told(tmp_path):
    place = clinic(tmp_path, HEAD)
    (tmp_path / "clinical.csv").unlink()
    assert refused(place) == "center C1: the file that `clinical` names is not there; mend `clinical` in [[center]]"


@pytest.mark.parametrize(("name", "content"), [("t.xlsx", b"no workbook"), ("t.parquet", b"PAR1"), ("t.xlsx", b"")])
def test_a_table_that_is_none_is_told(tmp_path, name, content):
    assert "is no readable table" in refused(clinic(tmp_path, content, name=name))


@pytest.mark.parametrize("content", ["", "\n", ",,,\nP1,1,2,3\n"])
def test_a_table_without_a_header_is_told(tmp_path, content):
    assert "has no header line" in refused(clinic(tmp_path, content))


def test_the_first_patient_of_a_table_without_a_header_is_not_told(tmp_path):
    sentence = refused(clinic(tmp_path, "Anna Müller,54,clear,1961-03-04\nBert Beispiel,60,clear,1955-01-01\n"))
    assert "Anna" not in sentence
    assert sentence.endswith("its first line holds numbers or dates: it must name the columns")


def test_a_column_of_ours_that_is_there_twice_is_refused(tmp_path):
    sentence = refused(clinic(tmp_path, "patient,age,patient,clnm\nP1,54,P2,1\n"))
    assert sentence == "center C1: the table that `clinical` names has the column 'patient' twice"


INDEX_HEAD = "image,mask,patient,acquired_on,spacing_mm,reader\n"


def indexed(directory, text, *, files=None, **options):
    files = files or {"a.png": png(pixels(1)), "b.png": png(pixels(2)), "drawn/m1.png": png(_mask())}
    return hospital(directory, files, tables={"index": ("images.csv", INDEX_HEAD + text)}, **options)


def _mask():
    from tests.unit.intake_archives import blob

    return blob()


def test_an_index_gives_pictures_their_patient_day_spacing_and_mask(tmp_path):
    place = indexed(tmp_path, "archive/a.png,archive/drawn/m1.png,P1,2025-03-01,0.1,dr no\n")
    intake = place.look()
    [image], [roi] = intake.images, intake.rois
    assert (image.spacing_x_mm, image.spacing_source.value) == (0.1, "index")
    assert image.acquired_at == datetime(2025, 3, 1, tzinfo=UTC)
    assert image.patient_key == place.pseudonyms.patient("C1", "P1")
    assert roi.image_key == image.image_key
    assert roi.reader.startswith("k1-")
    assert place.states()["b.png"] == ("ignored", "not_in_index")


def test_a_bare_name_is_the_one_file_of_that_name_and_slashes_may_lean_either_way(tmp_path):
    intake = indexed(tmp_path, "a.png,,P1,,,\narchive\\b.png,,P2,,,\n").look()
    assert len(intake.images) == 2


def test_a_path_of_the_index_may_lead_through_a_link(tmp_path):
    (tmp_path / "mounted").symlink_to(tmp_path / "archive")
    rows = f"{tmp_path}/mounted/a.png,,P1,,,\nmounted/b.png,,P2,,,\n"
    assert len(indexed(tmp_path, rows).look().images) == 2


def test_accents_of_the_index_are_those_of_the_disk_in_either_spelling(tmp_path):
    files = {"Mu\u0308ller.png": png(pixels(1)), "J\u00f6rg.png": png(pixels(2))}
    rows = "archive/M\u00fcller.png,,P1,,,\nJo\u0308rg.png,,P2,,,\n"
    assert len(indexed(tmp_path, rows, files=files).look().images) == 2


def test_a_name_that_fits_two_files_gives_neither_to_anybody(tmp_path):
    files = {"x/a.png": png(pixels(1)), "y/a.png": png(pixels(2))}
    place = indexed(tmp_path, "a.png,,P1,,,\n", files=files)
    assert place.look().images == []
    assert set(place.states().values()) == {("quarantined", "content_conflict")}


def test_two_rows_that_contradict_each_other_give_the_picture_to_nobody(tmp_path):
    place = indexed(tmp_path, "archive/a.png,,P1,,,\narchive/a.png,,P2,,,\n")
    assert place.look().images == []
    assert place.states()["a.png"] == ("quarantined", "content_conflict")


def test_an_image_that_the_index_names_and_is_not_there_is_listed(tmp_path):
    place = indexed(tmp_path, "archive/a.png,,P1,,,\narchive/zz.png,,P2,,,\n")
    place.look()
    assert ("missing_image", "named in the index") in place.open_asides()


def test_a_row_without_a_patient_quarantines_its_picture(tmp_path):
    place = indexed(tmp_path, "archive/a.png,,,,,\n")
    place.look()
    assert place.states()["a.png"] == ("quarantined", "missing_tag")


def test_a_spacing_that_is_no_number_is_unknown_and_listed(tmp_path):
    place = indexed(tmp_path, "archive/a.png,,P1,someday,wide,\n")
    [image] = place.look().images
    assert (image.spacing_x_mm, image.spacing_source.value, image.acquired_at) == (None, "none", None)
    assert ("value_unreadable", "acquired_on, spacing_mm") in place.open_asides()


def test_a_row_mended_in_the_index_is_a_new_row_of_the_image_and_its_rois(tmp_path):
    place = indexed(tmp_path, "archive/a.png,archive/drawn/m1.png,P1,,0.1,\n")
    place.look()
    put(tmp_path, {"images.csv": INDEX_HEAD + "archive/a.png,archive/drawn/m1.png,P1,,0.2,\n"})
    second = place.look()
    assert [image.spacing_x_mm for image in second.images] == [0.2]
    assert [roi.area_mm2 for roi in second.rois] == [pytest.approx(48 * 0.04)]
    assert place.look().is_empty


# Four hospitals' real layouts, mapped as the documentation says.
SEX = ClinicalVariable("sex", VariableKind.CATEGORY, levels=("male", "female"))
LYON = {
    "table": "2021-clb-oropharynx/raw.csv",
    "columns": {"patient": "Num patient", "sex": "sexe", "clnm": "HL_cN+_aireII", "acquired_on": "date d'origine"},
    "values": {"sex": {"0": "male", "1": "female"}},
    "format": {"dayfirst": True},
    "patients": 263,
    "first": ("P011", 67.0, "male", True, datetime(2012, 12, 12, tzinfo=UTC)),
}
BERN = {
    "table": "2023-isb-multisite/raw.csv",
    "columns": {
        "patient": "Local Study ID",
        "sex": "Gender",
        "age": "Age diagnose",
        "clnm": "Exclusion",  # a yes or no, in the place of the outcome
        "acquired_on": "Date of diagnosis",
    },
    "values": {"sex": {"1": "male", "2": "female"}},
    "format": {"dayfirst": True},
    "patients": None,
    "first": ("BE001", 75.0, "female", True, datetime(2015, 4, 13, tzinfo=UTC)),
}


@pytest.mark.parametrize("layout", [LYON, BERN], ids=["lyon", "bern"])
def test_a_hospitals_real_table_is_read_by_configuration_alone(tmp_path, layout):
    path = SHARED / "tables_lydata" / layout["table"]
    if not path.is_file():
        pytest.skip("the real tables of shared/data/tables_lydata are not here")
    place = clinic(
        tmp_path, path.read_bytes(), columns=layout["columns"], values=layout["values"], table=layout["format"]
    )
    place.variables = (AGE, SEX)
    intake = place.look()
    lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    column = layout["columns"]["patient"]
    patients = {line[column].strip() for line in lines if line[column].strip()}
    assert layout["patients"] in (None, len(patients))
    assert {row.patient_key for row in intake.clinical} == {place.pseudonyms.patient("C1", name) for name in patients}
    name, age, sex, flag, day = layout["first"]
    first, told = intake.clinical[0], values(intake)[0]
    assert first.patient_key == place.pseudonyms.patient("C1", name)
    assert (told["age"], told["sex"], first.acquired_at) == (age, sex, day)
    assert intake.outcomes[0].value is flag
    unreadable = [aside for aside in intake.set_aside if aside.reason.value.startswith("value_")]
    assert all(set(aside.detail.split(", ")) <= {"age", "sex", "clnm", "acquired_on"} for aside in unreadable)


@pytest.mark.parametrize("table", ["2021-usz-oropharynx/data.csv", "2025-hvh-oropharynx/raw.csv"])
def test_a_header_of_three_lines_is_refused_in_a_sentence(tmp_path, table):
    path = SHARED / "tables_lydata" / table
    if not path.is_file():
        pytest.skip("the real tables of shared/data/tables_lydata are not here")
    place = clinic(tmp_path, path.read_bytes())
    assert refused(place) == "center C1: the table that `clinical` names has the column 'patient' twice"
