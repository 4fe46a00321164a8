"""The page and the mail: the numbers are the inputs' own, the bytes are the same, nothing is fetched."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pandas as pd
import pytest

from clnm.drift.monitor import DriftRow
from clnm.errors import StoreError
from clnm.report.inputs import COLUMNS, ReportInputs
from clnm.report.mail import MAX_LINES, morning_mail
from clnm.report.pages import render, write_report
from clnm.report.words import estimate, listed, p_value
from clnm.store.tables import TABLES
from tests.unit.report_frames import night


@pytest.fixture(scope="module")
def page() -> str:
    return render(night())


def as_tree(page: str) -> ET.Element:
    """The page is written so that an XML parser reads it: every element closed, every text escaped."""
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>"))


def section_text(page: str, name: str) -> str:
    found = as_tree(page).find(f".//section[@id='{name}']")
    assert found is not None
    return " ".join(" ".join(found.itertext()).split())


def test_the_page_is_well_formed_and_its_ids_are_unique(page):
    ids = [element.get("id") for element in as_tree(page).iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    targets = {element.get("href") for element in as_tree(page).iter() if element.get("href")}
    assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_the_page_names_no_address_and_loads_nothing(page):
    assert not re.search(r"(?i)https?:|//[a-z]|@import|<script|<link|<img|<iframe|\bsrc=|url\((?!#)", page)
    assert "default-src 'none'" in page


def test_the_same_inputs_give_the_same_bytes(page, tmp_path):
    path = write_report(night(), tmp_path / "report" / "index.html")
    assert path.read_text("utf-8") == page
    assert write_report(night(), path).read_text("utf-8") == page
    assert [entry.name for entry in path.parent.iterdir()] == ["index.html"]


def test_file_counts_stand_on_the_page_and_add_up(page):
    assert "C1 171 160 4 3 4 0 0" in section_text(page, "files")
    assert "all 382 366 4 5 5 2 0" in section_text(page, "files")


def test_file_counts_that_do_not_add_up_are_refused():
    counts = night().file_counts.assign(ingested=[160, 127, 78])
    with pytest.raises(StoreError, match="center C2: 131 files seen but 130 in a state"):
        night(file_counts=counts)


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="report frame predictions lacks probability"):
        night(predictions=pd.DataFrame({"center": ["C3"], "outcome": [True]}))


def test_scored_and_unscored_cases_are_sums_of_the_worklist(page):
    assert "211 of 214 cases scored; not scored: no mask (2) and missing image (1)." in section_text(page, "summary")
    assert "C3 abstained missing image 1" in section_text(page, "scores")


def test_each_model_stands_there_with_interval_and_n_and_the_champion_is_marked(page):
    told = section_text(page, "models")
    assert "logistic regression (champion) 0.914 0.84 to 0.96" in told
    assert told.count("(champion)") == 2  # the table and the picture
    for name in ("SVM", "k nearest neighbors", "MLP", "radiomics score", "DL score", "XGBoost"):
        assert re.search(rf"{name} 0\.\d{{3}} 0\.\d\d to 0\.\d\d.* 70 19", told)


def test_the_counts_at_the_cut_off_are_the_published_ones(page):
    told = section_text(page, "models")
    assert "with the outcome 16 3 without 5 46" in told
    assert "16 of 19 0.842 (0.62 to 0.94)" in told
    assert "46 of 51 0.902 (0.79 to 0.96)" in told


def test_reached_and_best_possible_are_told_only_where_known(page):
    assert "anyone could reach" not in page
    known = night(meta=replace(night().meta, best_auc_external=0.95))
    assert "The best AUC anyone could reach on these simulated external cases is 0.950." in section_text(
        render(known), "models"
    )


def test_insufficient_is_grey_and_without_a_number(page):
    style = re.search(r"\.chip\.insufficient, \.chip\.info \{ background: var\(--grey\)", page)
    assert style
    assert "C4 insufficient insufficient 0 0 60 7 0" in section_text(page, "drift")
    panel = re.search(r"fill: ?#8c8c8c[^>]*>C4: insufficient<", page) or re.search(
        r"8c8c8c[^<]*\">C4: insufficient", page
    )
    assert panel
    assert "C1 AUC 12 3 realized insufficient" in section_text(page, "performance")


def test_the_features_that_moved_are_named_first_under_their_center(page):
    told = section_text(page, "drift")
    rows = night().drift
    mine = rows[(rows["center"] == "C3") & (rows["verdict"] == "drift")].sort_values("p_value")
    assert told.index("The features that moved most clearly") < told.index(f"{mine.iloc[0]['feature']} radiomics")
    assert "C3 drift 3e-7 25 60 0 13 1" in told


def test_held_batches_and_failed_expectations_are_told(page):
    assert "Held by the quality gate: C2" in section_text(page, "summary")
    assert "spacing 1.0 < 2.0" in section_text(page, "files")
    assert "expect_area" not in page


def test_text_from_frames_is_escaped():
    alerts = night().alerts.assign(message="<script>alert('x')</script>", center="<C3>")
    page = render(night(alerts=alerts))
    assert "<script>" not in page
    assert "<C3>" in section_text(page, "alerts")


def test_an_empty_night_still_gives_a_page_and_a_mail():
    empty = ReportInputs(meta=replace(night().meta, is_simulated=False))
    page = render(empty)
    assert "No file has been seen yet." in section_text(page, "summary")
    assert "No model is in use yet." in section_text(page, "summary")
    assert "Simulated" not in page
    assert "No case is there to be scored." in morning_mail(empty)


def test_too_few_labelled_cases_give_no_curve():
    page = render(night(predictions=night().predictions.iloc[15:30]))
    told = section_text(page, "models")
    assert "Curves: insufficient 15 labelled external cases with 4 events." in told
    assert "with the outcome" not in told


def test_the_page_says_what_it_is_and_where_it_comes_from(page):
    foot = " ".join("".join(as_tree(page).find(".//footer").itertext()).split())
    for told in ("20260301T020000-abc123", "0.1.0", "c0ffee12", "2026-03-01 02:00 UTC", "Not a medical device"):
        assert told in foot
    assert "All figures are simulated" in foot


def test_the_mail_is_short_and_says_the_same():
    mail = morning_mail(night())
    assert "211 of 214 cases scored" in mail
    assert "- C1: 2 unscored, no mask" in mail
    assert "- warning: C3: 25 of 60 features moved" in mail
    assert len(mail.splitlines()) <= MAX_LINES


def test_a_bad_night_still_fits_the_mail():
    scores = pd.DataFrame(
        [(f"C{k}", "unscored", reason, 3) for k in range(30) for reason in ("no_mask", "roi_too_small")],
        columns=list(COLUMNS["score_counts"]),
    )
    alerts = pd.concat([night().alerts.assign(message="a long sentence " * 30)] * 20, ignore_index=True)
    mail = morning_mail(night(score_counts=scores, alerts=alerts))
    assert len(mail.splitlines()) <= MAX_LINES
    assert "and 54 more" in mail
    assert "Research use only" in mail


def test_a_store_with_twenty_centers_draws_them_all():
    health = pd.concat([night().center_health.iloc[:1].assign(center=f"H{k}") for k in range(20)], ignore_index=True)
    page = render(night(center_health=health))
    assert all(f">H{k}: stable<" in page for k in range(20))


def test_numbers_are_written_as_a_reader_wants_them():
    assert estimate(0.9623, 0.901, 0.999) == "0.962 (0.90 to 1.00)"
    assert estimate(None) == estimate(float("nan"), 0.1, 0.2) == "insufficient"
    assert [p_value(value) for value in (0.0321, 3.2e-7, 1.0, 0.0, None)] == [
        "0.032",
        "3e-7",
        "1",
        "below 1e-300",
        "insufficient",
    ]
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c"], at_most=1) == "a and 2 more"


@pytest.mark.parametrize(
    "relation", ["drift", "center_health", "performance", "evaluations", "alerts", "check_results"]
)
def test_the_frames_asked_for_are_columns_of_the_store(relation):
    assert set(COLUMNS[relation]) <= {column.name for column in TABLES[relation].columns}
    assert set(COLUMNS["drift"]) <= set(DriftRow.__slots__)
