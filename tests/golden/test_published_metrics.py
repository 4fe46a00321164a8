"""Metrics against numbers worked out elsewhere: the published study's confusion matrix, and formulas by hand."""

import numpy as np
import pytest
from scipy import stats

from clnm.models.evaluate import METRICS, Confusion, confusion, evaluate, youden_threshold
from clnm.models.intervals import auc, auc_delong, auc_newcombe, wilson
from clnm.models.selection import mann_whitney_p

STUDY = Confusion(tp=16, fn=3, fp=5, tn=46)
"""The one integer solution of the published accuracy, precision, recall and F1 at n = 70 (Su 2025)."""


def test_the_published_confusion_matrix_gives_the_published_metrics():
    fractions = {name: round(interval.value, 3) for name, interval in STUDY.fractions().items()}
    assert fractions == {"accuracy": 0.886, "precision": 0.762, "recall": 0.842, "specificity": 0.902, "npv": 0.939}
    assert STUDY.f1 == pytest.approx(0.8)


def test_no_other_confusion_matrix_of_70_cases_gives_them():
    solutions = []
    for positives in range(1, 70):
        for tp in range(positives + 1):
            for fp in range(70 - positives + 1):
                counts = Confusion(tp, positives - tp, fp, 70 - positives - fp)
                fractions = counts.fractions()
                if (
                    fractions["precision"] is not None
                    and round(fractions["recall"].value, 3) == 0.842
                    and round(fractions["precision"].value, 3) == 0.762
                    and round(fractions["accuracy"].value, 3) == 0.886
                    and round(counts.f1, 3) == 0.8
                ):
                    solutions.append(counts)
    assert solutions == [STUDY]


@pytest.mark.parametrize(
    ("metric", "low", "high"),
    [
        ("recall", 0.62, 0.94),
        ("specificity", 0.79, 0.96),
        ("precision", 0.55, 0.89),
        ("npv", 0.83, 0.98),
        ("accuracy", 0.79, 0.94),
    ],
)
def test_wilson_intervals_of_the_published_metrics(metric, low, high):
    interval = STUDY.fractions()[metric]
    assert (round(interval.low, 2), round(interval.high, 2)) == (low, high)


def test_wilson_at_the_edges():
    assert wilson(0, 0) is None
    none, every = wilson(0, 10), wilson(10, 10)
    assert none.low == 0
    assert none.high == pytest.approx(0.2775, abs=1e-4)  # z^2 / (n + z^2)
    assert every.high == 1
    assert every.low == pytest.approx(1 - 0.2775, abs=1e-4)


def test_auc_and_delong_by_hand():
    """Positives 3, 2; negatives 1, 2.5, 0: 5 of 6 pairs won; placements 1, 2/3 and 1, 1/2, 1."""
    outcome, score = np.array([1, 1, 0, 0, 0], dtype=bool), np.array([3, 2, 1, 2.5, 0])
    interval = auc_delong(outcome, score)
    variance = np.var([1, 2 / 3], ddof=1) / 2 + np.var([1, 0.5, 1], ddof=1) / 3
    assert interval.value == pytest.approx(5 / 6)
    assert interval.low == pytest.approx(5 / 6 - 1.959964 * np.sqrt(variance))
    assert interval.high == 1.0


def test_ties_count_half():
    assert auc(np.array([True, False, False]), np.array([1.0, 1.0, 0.0])) == 0.75


def test_with_folds_only_cases_of_one_fold_are_compared():
    outcome = np.array([True, False, True, False, True])
    score = np.array([0.9, 0.8, 0.3, 0.2, 0.1])
    folds = np.array([0, 0, 1, 1, 2])
    assert auc(outcome, score, folds) == 1.0
    assert auc(outcome, score) == pytest.approx(3 / 6)
    assert auc_delong(outcome, score, folds).value == 1.0


def test_the_interval_of_a_cross_validated_auc_is_widened_for_shared_training_rows():
    """Two folds alike: DeLong's variance on the placements 1, 1/2, 1, 1/2 and 1, 1/2, 1, 1/2, times 1 + 2 / 1."""
    outcome = np.tile([True, True, False, False], 2)
    score = np.tile([4.0, 2.0, 3.0, 1.0], 2)
    interval = auc_delong(outcome, score, np.repeat([0, 1], 4))
    variance = 2 * np.var([1, 0.5, 1, 0.5], ddof=1) / 4
    assert interval.value == 0.75
    assert interval.low == pytest.approx(0.75 - 1.959964 * np.sqrt(3 * variance))


def test_delong_agrees_with_the_bootstrap():
    generator = np.random.default_rng(0)
    outcome = np.arange(120) < 40
    score = generator.normal(size=120) + 1.0 * outcome
    interval = auc_delong(outcome, score)
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([generator.integers(0, 40, 40), generator.integers(40, 120, 80)])
        drawn.append(float(auc(outcome[rows], score[rows])))
    assert (interval.high - interval.low) / (2 * 1.959964) == pytest.approx(np.std(drawn), rel=0.06)


def test_newcombe_covers_where_delong_is_silent():
    outcome = np.arange(70) < 19
    interval = auc_delong(outcome, outcome.astype(float))
    assert interval.value == interval.high == 1
    assert 0.90 < interval.low < 0.99
    assert auc_delong(outcome, -outcome.astype(float)).low == 0
    constant = auc_delong(outcome, np.zeros(70))
    assert constant.value == 0.5
    assert 0.3 < constant.low < 0.5 < constant.high < 0.7


@pytest.mark.parametrize(("value", "low", "high"), [(0.836, 0.72, 0.96), (0.819, 0.69, 0.94), (0.77, 0.63, 0.91)])
def test_newcombe_is_near_hanley_mcneil_on_the_published_aucs(value, low, high):
    interval = auc_newcombe(value, 19, 51)
    assert interval.low == pytest.approx(low, abs=0.03)
    assert interval.high == pytest.approx(high, abs=0.06)


def test_mann_whitney_agrees_with_scipy_with_ties():
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 5, size=(60, 7)).astype(float)
    outcome = np.arange(60) < 22
    expected = stats.mannwhitneyu(
        matrix[outcome], matrix[~outcome], method="asymptotic", use_continuity=False, axis=0
    ).pvalue
    np.testing.assert_allclose(mann_whitney_p(matrix, outcome), expected, rtol=1e-10)


def test_youden_cut_off_by_hand():
    outcome = np.array([False, False, False, True, False, True, True])
    probability = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    # cut at 0.35: sensitivity 1, specificity 3/4; at 0.55: 2/3 and 1
    assert youden_threshold(outcome, probability) == pytest.approx(0.35)
    assert confusion(outcome, probability, 0.35) == Confusion(tp=3, fn=0, fp=1, tn=3)


def test_every_metric_by_hand():
    outcome = np.array([True] * 5 + [False] * 5)
    probability = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.8, 0.3, 0.2, 0.1, 0.4])
    rows = {row.metric: row for row in evaluate("lr", "cv", "all", outcome, probability, threshold=0.5, seed=0)}
    assert tuple(rows) == METRICS
    assert rows["accuracy"].value == 0.8
    assert rows["auc"].value == pytest.approx((5 + 4.5 + 4 + 4 + 1.5) / 25)
    assert rows["f1"].value == pytest.approx(8 / 10)
    assert rows["f1"].ci_low < 0.8 < rows["f1"].ci_high
    assert rows["brier"].value == pytest.approx(np.mean((probability - outcome) ** 2))
    assert rows["o_e_ratio"].value == pytest.approx(1.0)
    assert all((row.n, row.n_events) == (10, 5) for row in rows.values())


def test_four_positives_are_too_few_for_any_metric():
    outcome = np.arange(40) < 4
    rows = evaluate("lr", "external", "C3", outcome, np.linspace(0, 1, 40), threshold=0.5, seed=0)
    assert {(row.value, row.ci_low, row.ci_high, row.n, row.n_events) for row in rows} == {(None, None, None, 40, 4)}
