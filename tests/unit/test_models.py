"""One model: how rows become numbers, what a case must bring, what stands in for what is missing."""

import numpy as np
import pandas as pd
import pytest

from clnm.entities import ClinicalVariable, VariableKind
from clnm.models.calibrate import Line, calibration_intercept, calibration_slope, logit, platt, recalibrate
from clnm.models.fitting import TrainingOptions
from clnm.models.frame import embedding_length, embedding_matrix, fit_encoder, number_matrix
from clnm.models.selection import FunnelRule, fit_funnel
from clnm.models.signatures import SignatureRule, fit_signature
from clnm.models.training import train_models
from tests.unit.cohorts import VARIABLES, cohort, radiomics_columns


@pytest.fixture(scope="module")
def frame():
    return cohort()


@pytest.fixture(scope="module")
def model(frame):
    options = TrainingOptions(algorithms=("lr",), outer_folds=2, score_folds=4, lambda_folds=4)
    training = train_models(
        frame, outcome="clnm", variables=VARIABLES, radiomics_columns=radiomics_columns(frame), options=options
    )
    return training.candidates[0].model


def test_clinical_values_become_numbers():
    variables = (*VARIABLES, ClinicalVariable("shape", VariableKind.CATEGORY, levels=("oval", "round", "other")))
    rows = pd.DataFrame(
        {
            "age": [40, None, 60.0],
            "edge": ["clear", "unclear", None],
            "cln": pd.array([True, False, None], dtype="boolean"),
            "shape": ["round", "other", "oval"],
        }
    )
    encoder = fit_encoder(rows, variables)
    assert encoder.columns == ("age", "edge=unclear", "cln", "shape=round", "shape=other")
    expected = [[40, 0, 1, 1, 0], [50, 1, 0, 0, 1], [60, 0, 0, 0, 0]]
    np.testing.assert_array_equal(encoder.encode(rows), expected)


def test_what_stands_in_for_a_missing_value_was_learnt_on_training_rows():
    encoder = fit_encoder(pd.DataFrame({"age": [30.0, 40.0, 90.0]}), VARIABLES[:1])
    later = pd.DataFrame({"age": [None, 99.0, 98.0]})
    np.testing.assert_array_equal(encoder.encode(later).ravel(), [40.0, 99.0, 98.0])


def test_a_column_that_is_absent_is_filled_not_fatal(frame):
    encoder = fit_encoder(frame, VARIABLES)
    encoded = encoder.encode(frame.drop(columns=["age", "edge"]))
    np.testing.assert_array_equal(encoded[:, 0], np.full(len(frame), frame["age"].median()))
    assert not np.isnan(encoded).any()


def test_a_level_nobody_declared_counts_as_missing():
    encoder = fit_encoder(pd.DataFrame({"edge": ["unclear", "unclear", "clear"]}), VARIABLES[1:2])
    assert encoder.encode(pd.DataFrame({"edge": ["fuzzy"]})).item() == 1.0


def test_infinite_features_count_as_missing():
    matrix = number_matrix(pd.DataFrame({"a": [1.0, np.inf, -np.inf]}), ["a", "b"])
    np.testing.assert_array_equal(np.isnan(matrix), [[False, True], [True, True], [True, True]])


def test_embeddings_of_another_length_count_as_missing():
    rows = pd.DataFrame({"embedding": [np.ones(3), None, np.ones(2), [1.0, 2.0, 3.0], float("nan")]})
    assert embedding_length(rows) == 3
    matrix = embedding_matrix(rows, 3)
    np.testing.assert_array_equal(np.isnan(matrix).all(axis=1), [False, True, True, False, True])


def test_a_case_without_features_or_embedding_is_named_and_not_scored(model, frame):
    assert {"radiomics_score", "dl_score"} <= set(model.fusion.columns)
    rows = frame.head(4).copy()
    rows.loc[rows.index[1], radiomics_columns(frame)] = np.nan
    rows.loc[rows.index[2], "embedding"] = None
    assert model.missing(rows).tolist() == ["", "no_features", "no_embedding", ""]
    assert np.isnan(model.predict(rows)).tolist() == [False, True, True, False]


def test_a_model_is_not_upset_by_a_frame_without_feature_columns(model, frame):
    rows = frame.drop(columns=[*radiomics_columns(frame), "embedding"])
    assert set(model.missing(rows)) == {"no_features"}
    assert np.isnan(model.predict(rows)).all()


def test_missing_clinical_values_are_no_reason_not_to_score(model, frame):
    rows = frame.head(3).assign(age=None, edge=None, cln=None)
    assert model.missing(rows).tolist() == ["", "", ""]
    assert ((model.predict(rows) > 0) & (model.predict(rows) < 1)).all()


def test_a_row_scores_the_same_alone_and_in_company(model, frame):
    together = model.predict(frame)
    alone = [model.predict(frame.iloc[[row]])[0] for row in range(0, len(frame), 17)]
    np.testing.assert_allclose(alone, together[::17], rtol=0, atol=1e-12)


def test_recalibration_moves_probabilities_and_cut_off_together(model, frame):
    moved = model.recalibrated(Line(-0.7, 0.8))
    np.testing.assert_array_equal(moved.predict(frame) >= moved.threshold, model.predict(frame) >= model.threshold)
    np.testing.assert_allclose(logit(moved.predict(frame)), -0.7 + 0.8 * logit(model.predict(frame)), atol=1e-9)


def test_calibration_agrees_with_an_unpenalised_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    logits = generator.normal(size=400)
    outcome = generator.random(400) < 1 / (1 + np.exp(-(0.3 + 0.6 * logits)))
    probability = 1 / (1 + np.exp(-logits))
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], outcome)
    assert calibration_slope(outcome, probability).value == pytest.approx(reference.coef_[0, 0], abs=1e-4)
    line = recalibrate(outcome, probability, fits_slope=True)
    assert line.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)
    shift = calibration_intercept(outcome, probability)
    assert recalibrate(outcome, probability, fits_slope=False) == Line(shift.value, 1.0)
    assert Line(shift.value, 1.0).probability(logits).mean() == pytest.approx(outcome.mean(), abs=1e-9)


def test_perfectly_separated_predictions_have_no_calibration_slope():
    outcome = np.array([False] * 5 + [True] * 5)
    assert calibration_slope(outcome, np.where(outcome, 0.9, 0.1)) is None


def test_platt_stays_finite_on_separable_margins_and_never_falls():
    outcome = np.arange(20) >= 12
    margin = np.where(outcome, 1.0, -1.0)
    line = platt(margin, outcome)
    assert 0 < line.slope < 10
    assert line.probability(np.array([1.0])).item() == pytest.approx(9 / 10)  # (N+ + 1) / (N+ + 2) with N+ = 8
    assert platt(-margin, outcome).slope == 0
    assert platt(-margin, outcome).probability(margin)[0] == pytest.approx(0.4)


def test_columns_mostly_missing_or_constant_do_not_pass_the_funnel():
    generator = np.random.default_rng(0)
    outcome = np.arange(60) < 25
    matrix = outcome[:, None] + 0.5 * generator.normal(size=(60, 4))
    matrix[:20, 1] = np.nan
    matrix[:, 2] = 3.3
    matrix[:5, 3] = np.nan
    funnel = fit_funnel(matrix, outcome, FunnelRule(max_correlation=1.0))
    assert sorted(funnel.kept) == [0, 3]
    assert np.isfinite(funnel.apply(matrix)).all()


def test_of_two_correlated_columns_the_more_significant_stays():
    generator = np.random.default_rng(1)
    outcome = np.arange(80) < 40
    strong = outcome + 0.5 * generator.normal(size=80)
    weak = strong + 0.15 * generator.normal(size=80)
    apart = outcome + generator.normal(size=80)
    funnel = fit_funnel(np.column_stack([weak, apart, strong]), outcome, FunnelRule())
    assert funnel.kept.tolist() == [2, 1]


def test_signature_agrees_with_the_subgradient_conditions_of_the_lasso():
    """At the optimum |gradient| = lambda on kept columns and below it elsewhere (intercept nearly unpenalised)."""
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(200, 8))
    outcome = matrix[:, 0] - matrix[:, 3] + generator.normal(size=200) > 0
    names = [f"f{i}" for i in range(8)]
    signature = fit_signature(matrix, names, outcome, np.arange(200), SignatureRule(lasso_rule="1se"))
    assert {"f0", "f3"} <= set(signature.columns)
    kept = [names.index(name) for name in signature.columns]
    standard = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    score = signature.score(matrix[:, kept])
    shift = recalibrate(outcome, 1 / (1 + np.exp(-score)), fits_slope=False)
    gradient = standard.T @ (outcome - shift.probability(score)) / 200
    strength = np.abs(gradient[kept]).mean()
    np.testing.assert_allclose(gradient[kept], strength * np.sign(signature.coefficients), rtol=0.02)
    assert np.abs(np.delete(gradient, kept)).max(initial=0) <= strength * 1.02


def test_the_one_standard_error_rule_is_never_denser():
    frame = cohort(n=120, n_external=0)
    matrix, outcome = number_matrix(frame, radiomics_columns(frame)), frame["clnm"].to_numpy()
    patients = frame["patient_key"].to_numpy()
    sizes = {
        rule: len(
            fit_signature(
                matrix, radiomics_columns(frame), outcome, patients, SignatureRule(FunnelRule(), lasso_rule=rule)
            ).columns
        )
        for rule in ("min", "1se")
    }
    assert 0 < sizes["1se"] <= sizes["min"]
