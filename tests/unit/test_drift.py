"""The monitor, the performance and the alerts: what moved, what got worse, and what one is told of it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from clnm.drift.alerts import AlertKind, update_alerts
from clnm.drift.monitor import CenterHealth
from clnm.drift.performance import Expected, hanley_mcneil_variance, measure_auc, realized
from clnm.drift.statistics import benjamini_hochberg, holm, simes
from clnm.entities import Severity, Verdict
from clnm.store.tables import TABLES
from tests.unit.drifting import AS_OF, SIZES, cases_of_a_night, look


@pytest.fixture
def quiet() -> pd.DataFrame:
    return cases_of_a_night(np.random.default_rng(11), n_features=30)


@pytest.fixture
def moved() -> pd.DataFrame:
    return cases_of_a_night(np.random.default_rng(11), n_features=30, shift={"C3": 2.5})


def test_a_gain_like_shift_names_its_center_alone(moved):
    result = look(moved)
    assert {row.center: row.verdict for row in result.health} == {
        "C1": Verdict.STABLE,
        "C2": Verdict.STABLE,
        "C3": Verdict.DRIFT,
        "C4": Verdict.STABLE,
    }
    named = {row.feature for row in result.drift if row.verdict is Verdict.DRIFT}
    assert named <= {f"original_firstorder_F{k}" for k in range(12)}
    assert len(named) >= 10
    assert {row.center for row in result.drift if row.verdict is Verdict.DRIFT} == {"C3"}
    assert all(row.effect > 0.5 for row in result.drift if row.verdict is Verdict.DRIFT)


def test_q_values_are_over_all_centers_together_and_every_group_has_its_share(moved):
    rows = look(moved).drift
    for group in ("radiomics", "clinical"):
        mine = [row for row in rows if row.feature_group == group]
        expected = np.minimum(1, 2 * benjamini_hochberg(np.array([row.p_value for row in mine])))
        assert [row.q_value for row in mine] == pytest.approx(expected)


def test_a_centers_p_value_is_simes_in_each_group_shared_over_the_groups_and_holm_over_the_centers(moved):
    result = look(moved)
    combined = []
    for center in SIZES:
        rows = [row for row in result.drift if row.center == center]
        by_group = [
            simes(np.array([row.p_value for row in rows if row.feature_group == group]))
            for group in ("radiomics", "clinical")
        ]
        combined.append(min(1, 2 * min(by_group)))
    assert [row.p_value for row in result.health] == pytest.approx(holm(np.array(combined)))


def test_one_clinical_variable_that_moved_is_not_drowned_by_hundreds_of_radiomics_columns():
    cases = cases_of_a_night(np.random.default_rng(11), n_features=400)
    is_mine = cases["center"].eq("C1") & (cases["acquired_at"] > AS_OF - timedelta(days=30))
    cases.loc[is_mine, "calcification"] = True
    result = look(cases)
    assert [row.center for row in result.health if row.verdict is Verdict.DRIFT] == ["C1"]
    assert [row.feature for row in result.drift if row.verdict is Verdict.DRIFT] == ["calcification"]


def test_an_innocent_center_names_no_feature_however_small_its_q_value(moved):
    # C1 has a feature with a q-value below the rate only because C3's discoveries lend it rank.
    is_first = moved["center"].eq("C1") & (moved["acquired_at"] > AS_OF - timedelta(days=30))
    moved.loc[is_first, "original_firstorder_F29"] += 1.0
    result = look(moved)
    lent = [row for row in result.drift if row.center == "C1" and row.q_value <= 0.05]
    verdicts = {row.center: row.verdict for row in result.health}
    assert lent
    assert verdicts["C1"] is Verdict.STABLE
    assert {row.verdict for row in lent} == {Verdict.STABLE}


def test_too_few_current_cases_are_insufficient_without_any_number(quiet):
    few = quiet[~((quiet["center"] == "C4") & (quiet["acquired_at"] > AS_OF - timedelta(days=25)))]
    result = look(few)
    health = {row.center: row for row in result.health}["C4"]
    assert (health.verdict, health.p_value, health.n_features_tested) == (Verdict.INSUFFICIENT, None, 0)
    mine = [row for row in result.drift if row.center == "C4"]
    assert len(mine) == 32
    assert {(row.value, row.p_value, row.q_value, row.effect, row.verdict) for row in mine} == {
        (None, None, None, None, Verdict.INSUFFICIENT)
    }


def test_a_center_without_a_past_is_compared_with_the_champions_cohort(quiet):
    is_new = quiet["center"] == "C4"
    young = quiet[~is_new | (quiet["acquired_at"] > AS_OF - timedelta(days=30))]
    trained = quiet.loc[quiet["center"].isin(["C1", "C2"]), "case_key"]
    rows = [row for row in look(young, training_cases=set(trained)).drift if row.center == "C4"]
    assert {(row.reference, row.n_reference, row.n_current) for row in rows} == {("training", 144, 10)}


def test_the_training_reference_leaves_out_the_centers_own_current_cases(quiet):
    young = quiet[(quiet["center"] != "C1") | (quiet["acquired_at"] > AS_OF - timedelta(days=30))]
    trained = young.loc[young["center"].isin(["C1", "C2"]), "case_key"]
    rows = [row for row in look(young, training_cases=set(trained)).drift if row.center == "C1"]
    assert {(row.reference, row.n_reference, row.n_current) for row in rows} == {("training", 64, 26)}


def test_a_constant_feature_is_insufficient(quiet):
    quiet["original_firstorder_F0"] = 1.0
    rows = [row for row in look(quiet).drift if row.feature == "original_firstorder_F0"]
    assert {row.verdict for row in rows} == {Verdict.INSUFFICIENT}


def test_a_feature_nobody_has_is_insufficient(quiet):
    groups = {"original_glcm_Contrast": "radiomics"}
    result = look(quiet, features=list(groups), groups=groups)
    assert {(row.n_reference, row.n_current, row.verdict) for row in result.drift} == {(0, 0, Verdict.INSUFFICIENT)}
    assert {row.verdict for row in result.health} == {Verdict.INSUFFICIENT}


def test_missing_and_infinite_values_are_left_out_of_a_features_counts(quiet):
    rows = quiet.index[quiet["center"].eq("C1") & (quiet["acquired_at"] <= AS_OF - timedelta(days=30))][:3]
    quiet.loc[rows[:2], "original_firstorder_F1"] = np.nan
    quiet.loc[rows[2], "original_firstorder_F1"] = np.inf
    counts = {row.feature: row.n_reference for row in look(quiet).drift if row.center == "C1"}
    assert counts["original_firstorder_F1"] == counts["original_firstorder_F0"] - 3


def test_a_category_moves_by_the_change_of_its_share(quiet):
    is_now = quiet["center"].eq("C2") & (quiet["acquired_at"] > AS_OF - timedelta(days=30))
    quiet.loc[is_now, "tumor_edge"] = "a new word"
    row = next(row for row in look(quiet).drift if (row.center, row.feature) == ("C2", "tumor_edge"))
    assert (row.statistic, row.effect, row.verdict) == ("chi2", 1.0, Verdict.DRIFT)


def test_a_flag_with_missing_values_counts_those_that_are_there(quiet):
    quiet["calcification"] = quiet["calcification"].astype(object)
    quiet.loc[quiet["center"].eq("C1") & (quiet["acquired_at"] > AS_OF - timedelta(days=30)), "calcification"] = None
    row = next(row for row in look(quiet).drift if (row.center, row.feature) == ("C1", "calcification"))
    assert (row.n_current, row.verdict) == (0, Verdict.INSUFFICIENT)


def test_scores_of_cases_the_model_was_trained_on_are_left_out(quiet):
    quiet["probability"] = np.random.default_rng(0).random(len(quiet))
    trained = quiet.loc[quiet["center"].isin(["C1", "C2"]), "case_key"]
    groups = {"probability": "score"}
    result = look(quiet, features=list(groups), groups=groups, training_cases=set(trained))
    assert {row.center: row.n_reference for row in result.drift} == {"C1": 0, "C2": 0, "C3": 26, "C4": 22}


def test_cases_without_a_date_and_cases_of_the_future_are_in_no_window(quiet):
    quiet.loc[quiet["center"].eq("C1"), "acquired_at"] = pd.NaT
    quiet.loc[quiet["center"].eq("C2"), "acquired_at"] = pd.Timestamp(AS_OF + timedelta(hours=1))
    health = {row.center: row for row in look(quiet).health}
    assert health["C1"].n_new_cases == health["C2"].n_new_cases == 0
    assert health["C1"].verdict is health["C2"].verdict is Verdict.INSUFFICIENT


def test_a_configured_center_without_a_case_is_insufficient(quiet):
    health = {row.center: row for row in look(quiet, centers=[*SIZES, "C9"]).health}
    assert (health["C9"].verdict, health["C9"].n_new_cases) == (Verdict.INSUFFICIENT, 0)


def test_the_order_of_the_cases_changes_nothing(moved):
    assert look(moved) == look(moved.sample(frac=1, random_state=1))


def test_rows_have_the_columns_of_their_tables(moved):
    result = look(moved)
    columns = {column.name for column in TABLES["drift"].columns}
    assert {field.name for field in dataclasses.fields(result.drift[0])} == columns
    columns = {column.name for column in TABLES["center_health"].columns}
    assert {field.name for field in dataclasses.fields(result.health[0])} == columns - {"n_quarantined", "window_end"}
    columns = {column.name for column in TABLES["performance"].columns}
    assert {field.name for field in dataclasses.fields(judge(scored_cases(20))[0])} == columns


# performance


def scored_cases(n: int, *, effect: float = 2.0, seed: int = 0) -> pd.DataFrame:
    """Labelled cases whose probabilities are right when `effect` is 2: a normal score moved by the outcome."""
    generator = np.random.default_rng(seed)
    outcome = np.arange(n) % 3 == 0
    score = generator.normal(size=n) + effect * outcome
    logit = 2.0 * (score - 1.0) + np.log(0.5)
    return pd.DataFrame(
        {
            "case_key": [f"k{k}" for k in range(n)],
            "center": "C3",
            "acquired_at": AS_OF - timedelta(days=40),
            "probability": 1 / (1 + np.exp(-logit)),
            "clnm": outcome.astype(object),
        }
    )


def judge(cases, **changes):
    asked = {"outcome": "clnm", "as_of": AS_OF, "training_cases": [], "expected": Expected(0.92, 60, 140)}
    return realized(cases, **{**asked, **changes})


def test_sixty_nine_labelled_cases_are_insufficient_and_seventy_are_not():
    assert {(row.value, row.verdict) for row in judge(scored_cases(69))} == {(None, Verdict.INSUFFICIENT)}
    assert all(row.value is not None and row.verdict is Verdict.STABLE for row in judge(scored_cases(70)))


def test_nine_events_are_insufficient_however_many_cases():
    cases = scored_cases(200)
    cases["clnm"] = [k < 9 for k in range(200)]
    assert {row.verdict for row in judge(cases)} == {Verdict.INSUFFICIENT}


def test_cases_the_champion_was_trained_on_do_not_speak():
    cases = scored_cases(200)
    assert {row.n for row in judge(cases, training_cases=set(cases["case_key"][:150]))} == {50}


def test_pending_outcomes_and_missing_scores_are_not_counted():
    cases = scored_cases(100)
    cases.loc[:4, "clnm"] = None
    cases.loc[95:, "probability"] = np.nan
    assert {row.n for row in judge(cases)} == {90}


def test_a_model_that_lost_its_discrimination_is_named():
    rows = {row.metric: row for row in judge(scored_cases(200, effect=0.3)) if row.center == "all"}
    assert rows["auc"].verdict is Verdict.DRIFT
    assert rows["auc"].ci_high < 0.85


def test_without_a_promise_the_auc_is_not_judged():
    rows = {row.metric: row for row in judge(scored_cases(200), expected=None) if row.center == "all"}
    assert (rows["auc"].verdict, rows["auc"].value) == (Verdict.INSUFFICIENT, None)
    assert rows["brier"].verdict is Verdict.STABLE


def test_probabilities_that_promise_twice_the_events_are_named():
    cases = scored_cases(300)
    cases["probability"] = np.clip(cases["probability"] * 0.2 + 0.6, 0, 1)
    rows = {row.metric: row for row in judge(cases) if row.center == "all"}
    assert rows["o_e_ratio"].verdict is Verdict.DRIFT
    assert rows["o_e_ratio"].value == pytest.approx(100 / cases["probability"].sum())


def test_the_auc_worked_by_hand():
    # Events 0.9, 0.6, 0.4 and others 0.5, 0.3: five of six pairs in order.
    label, probability = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([0.9, 0.6, 0.4, 0.5, 0.3])
    assert measure_auc(label, probability, None).value == pytest.approx(5 / 6)


def test_hanley_and_mcneils_variance_of_the_published_auc():
    # AUC 0.836 at 19 events and 51 others: 0.72 to 0.96 (facts of the published study).
    half = 1.96 * np.sqrt(hanley_mcneil_variance(0.836, 19, 51))
    assert (round(0.836 - half, 2), round(0.836 + half, 2)) == (0.72, 0.96)


# alerts


def health_of(center: str, verdict: Verdict) -> CenterHealth:
    return CenterHealth(center, verdict, 1e-4 if verdict is Verdict.DRIFT else 0.6, 100, 20, 12)


def as_rows(alerts):
    return [dataclasses.asdict(alert) for alert in alerts if alert.resolved_at is None]


def test_an_alert_is_raised_goes_on_and_is_resolved():
    first = update_alerts([health_of("C3", Verdict.DRIFT)], [], [], now=AS_OF)
    later = AS_OF + timedelta(days=1)
    second = update_alerts([health_of("C3", Verdict.DRIFT)], [], as_rows(first), now=later)
    last = AS_OF + timedelta(days=2)
    third = update_alerts([health_of("C3", Verdict.STABLE)], [], as_rows(second), now=last)
    assert [(row.first_raised_at, row.last_raised_at, row.resolved_at) for row in (*first, *second, *third)] == [
        (AS_OF, AS_OF, None),
        (AS_OF, later, None),
        (AS_OF, later, last),
    ]
    assert len({row.alert_key for row in (*first, *second, *third)}) == 1
    assert "20 of 100 features" in first[0].message


def test_a_stable_center_without_an_alert_writes_nothing():
    assert update_alerts([health_of("C1", Verdict.STABLE)], [], [], now=AS_OF) == ()


def test_too_little_data_neither_raises_nor_resolves():
    before = as_rows(update_alerts([health_of("C3", Verdict.DRIFT)], [], [], now=AS_OF))
    assert update_alerts([health_of("C3", Verdict.INSUFFICIENT)], [], before, now=AS_OF + timedelta(days=1)) == ()


def test_an_alert_that_comes_back_begins_anew():
    later = AS_OF + timedelta(days=9)
    (row,) = update_alerts([health_of("C3", Verdict.DRIFT)], [], [], now=later)
    assert row.first_raised_at == later


def test_a_fallen_auc_is_critical_and_wrong_counts_are_a_warning():
    fallen = update_alerts([], judge(scored_cases(200, effect=0.3)), [], now=AS_OF)
    assert {(row.kind, row.severity) for row in fallen} == {(AlertKind.DEGRADATION, Severity.CRITICAL)}
    cases = scored_cases(300)
    cases["probability"] = np.clip(cases["probability"] * 0.2 + 0.6, 0, 1)
    assert {row.severity for row in update_alerts([], judge(cases), [], now=AS_OF)} == {Severity.WARNING}


def test_intake_alerts_are_raised_and_resolved():
    (row,) = update_alerts([], [], [], now=AS_OF, intake={"C2": "C2: the batch of 12 images is held"})
    assert (row.kind, row.center) == (AlertKind.INTAKE, "C2")
    (over,) = update_alerts([], [], as_rows([row]), now=AS_OF + timedelta(days=1), intake={"C2": None})
    assert over.resolved_at is not None
