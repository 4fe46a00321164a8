"""The whole training path: nothing leaks, nothing is chosen on external centers, the same rows give the same models."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clnm.errors import UserError
from clnm.models.eligibility import usable_rows
from clnm.models.evaluate import METRICS
from clnm.models.fitting import TrainingOptions, fit_everything
from clnm.models.folds import deal_folds
from clnm.models.intervals import auc, auc_delong
from clnm.models.registry import bundle_files, bundle_sha256
from clnm.models.selection import FunnelRule, fit_funnel
from clnm.models.signatures import SignatureRule, fit_signature, out_of_fold_scores
from clnm.models.training import train_models
from clnm.models.zoo import ALGORITHMS
from tests.unit.cohorts import VARIABLES, cohort, radiomics_columns

QUICK = TrainingOptions(algorithms=("lr", "knn"), outer_folds=2, inner_folds=3, score_folds=3, lambda_folds=3)


def train(frame, options=QUICK, variables=VARIABLES, **more):
    return train_models(
        frame,
        outcome="clnm",
        variables=variables,
        radiomics_columns=radiomics_columns(frame),
        options=options,
        **more,
    )


def value(training, algorithm, metric="auc", cohort_name="cv", center="all"):
    (row,) = [
        row
        for row in training.evaluations
        if (row.algorithm, row.metric, row.cohort, row.center) == (algorithm, metric, cohort_name, center)
    ]
    return row


def bundles(training):
    return [bundle_sha256(bundle_files(candidate.model, {})) for candidate in training.candidates]


@pytest.fixture(scope="module")
def learnt():
    return train(cohort(effect=1.3), TrainingOptions(outer_folds=2, inner_folds=3, score_folds=3, lambda_folds=3))


def test_all_nine_models_and_both_scores_are_judged_on_every_cohort(learnt):
    assert tuple(candidate.algorithm for candidate in learnt.candidates) == ALGORITHMS
    assert len(ALGORITHMS) == 9
    rows = {(row.algorithm, row.cohort, row.center, row.metric) for row in learnt.evaluations}
    names = (*ALGORITHMS, "radiomics_score", "dl_score")
    places = (("cv", "all"), ("cv", "C1"), ("cv", "C2"), ("external", "all"), ("external", "C3"))
    expected = {(name, *place, metric) for name in names for place in places for metric in METRICS}
    assert rows - expected == {(learnt.candidates[learnt.champion].algorithm, "cv", "all", "selection_optimism")}
    assert expected <= rows


def test_the_models_find_the_signal_and_keep_it_on_external_centers(learnt):
    champion = learnt.candidates[learnt.champion].algorithm
    external = value(learnt, champion, cohort_name="external")
    assert 0.6 < external.ci_low < external.value < external.ci_high
    assert value(learnt, champion).value > 0.7
    terms = {feature.name for feature in learnt.selected if feature.stage == "fusion"}
    assert "cln" in terms
    assert terms & {"radiomics_score", "dl_score"}


def test_the_champion_has_the_best_cross_validated_auc(learnt):
    assert learnt.candidates[learnt.champion].auc_cv == max(candidate.auc_cv for candidate in learnt.candidates)


def test_having_picked_the_best_of_nine_flatters_it_by_a_stated_little(learnt):
    optimism = value(learnt, learnt.candidates[learnt.champion].algorithm, "selection_optimism").value
    assert 0 < optimism < 0.05


def test_the_published_rows_can_be_recomputed_from_the_predictions(learnt):
    rows = learnt.predictions[learnt.predictions["cohort"] == "cv"]
    assert not rows.isna().any().any()
    again = auc_delong(rows["outcome"].to_numpy(), rows["lr"].to_numpy(), rows["fold"].to_numpy())
    row = value(learnt, "lr")
    assert (row.value, row.ci_low, row.ci_high, row.n) == (again.value, again.low, again.high, learnt.n_train)


@pytest.mark.long
def test_permuted_outcomes_leave_nothing_to_learn():
    """Over eight permutations, since one alone lies outside its own 95 % interval one time in twenty."""
    frame = cohort(n=150, n_external=0, n_features=150)
    options = replace(QUICK, algorithms=("lr", "decision_tree", "mlp"), outer_folds=5)
    rows = {}
    for seed in range(8):
        outcome = np.random.default_rng(seed).permutation(frame["clnm"].to_numpy())
        training = train(frame.assign(clnm=outcome), options)
        for name in (*options.algorithms, "radiomics_score", "dl_score"):
            rows.setdefault(name, []).append(value(training, name))
    for name, judged in rows.items():
        assert np.mean([row.value for row in judged]) == pytest.approx(0.5, abs=0.06), name
        assert sum(row.ci_low <= 0.5 <= row.ci_high for row in judged) >= 6, name


def test_selecting_features_before_cross_validation_would_be_caught():
    """The same noise, once screened on all rows before the folds and once inside them."""
    frame = cohort(n=110, n_external=0, n_features=600, effect=0.0, seed=3).drop(columns="embedding")
    noise = np.random.default_rng(1).normal(size=(len(frame), 600))
    frame[radiomics_columns(frame)] = noise
    options = replace(QUICK, algorithms=("lr",), outer_folds=4)
    honest = value(train(frame, options, variables=()), "radiomics_score")
    peeked = fit_funnel(noise, frame["clnm"].to_numpy(), FunnelRule(max_kept=20)).kept
    leaking = train_models(
        frame,
        outcome="clnm",
        variables=(),
        radiomics_columns=[radiomics_columns(frame)[column] for column in peeked],
        options=options,
    )
    assert honest.ci_low <= 0.5 <= honest.ci_high
    assert value(leaking, "radiomics_score").ci_low > 0.5
    assert value(leaking, "radiomics_score").value > honest.value + 0.1


def test_external_rows_decide_nothing():
    frame = cohort()
    other = frame.copy()
    is_external = (other["role"] == "external").to_numpy()
    other.loc[is_external, "clnm"] = ~other.loc[is_external, "clnm"]
    other.loc[is_external, radiomics_columns(frame)] = 1e6
    other.loc[is_external, "age"] = 5.0
    first, second = train(frame), train(other)
    assert bundles(first) == bundles(second)
    assert first.champion == second.champion
    assert [c.auc_cv for c in first.candidates] == [c.auc_cv for c in second.candidates]


def test_another_pseudonym_key_deals_the_same_folds_and_fits_the_same_models():
    frame = cohort()
    frame["acquired_at"] = pd.date_range("2025-01-01", periods=len(frame), tz="UTC")
    renamed = frame.assign(case_key=frame["case_key"].str[::-1], patient_key=frame["patient_key"].str[::-1])
    assert bundles(train(renamed)) == bundles(train(frame))


def test_rows_of_role_score_are_not_looked_at():
    frame = cohort()
    extra = frame.tail(10).assign(role="score", case_key=[f"z{i}" for i in range(10)])
    assert bundles(train(pd.concat([frame, extra], ignore_index=True))) == bundles(train(frame))


def test_a_held_out_patient_changes_nothing_in_the_models_that_judge_them():
    frame = cohort(n=120, n_external=0).sort_values(["center", "case_key"])
    rows, layout, _ = usable_rows(frame, "clnm", VARIABLES, radiomics_columns(frame))
    seen = []

    def watch(function, folds):
        for fold in folds:
            seen.append((function, fold))
            yield function(fold)

    train(frame, map_folds=watch)
    function, (number, (fit_rows, held_rows)) = seen[0]
    _, _, predicted = function((number, (fit_rows, held_rows)))
    other = rows.copy()
    other.loc[held_rows, "clnm"] = ~other.loc[held_rows, "clnm"]
    refitted = fit_everything(other.iloc[fit_rows], layout, QUICK)
    for name, model in refitted.models.items():
        np.testing.assert_array_equal(model.predict(rows.iloc[held_rows]), predicted[name])
    assert not set(rows["patient_key"].iloc[fit_rows]) & set(rows["patient_key"].iloc[held_rows])


def test_scores_fed_to_the_second_stage_are_out_of_fold():
    """On noise a signature separates the rows it was found on; what the second stage is fed does not."""
    in_sample, out_of_fold = [], []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        noise, truth = generator.normal(size=(100, 200)), np.arange(100) < 30
        patients = np.arange(100)
        folds = deal_folds(truth, patients, 5, seed)
        rule = SignatureRule(FunnelRule(), seed=seed, needs_one=True)
        names = [str(column) for column in range(200)]
        signature = fit_signature(noise, names, truth, patients, rule)
        in_sample.append(auc(truth, signature.score(noise[:, [int(name) for name in signature.columns]])))
        scores = out_of_fold_scores(noise, truth, patients, folds, rule)
        out_of_fold.append(auc(truth, scores, np.argmax([np.isin(patients, held) for _, held in folds], axis=0)))
    assert np.mean(in_sample) > 0.7
    assert 0.42 < np.mean(out_of_fold) < 0.56


ASKED = []


class Memory:
    """A network that remembers the outcome of each row it was fitted to; of others it says what their picture says."""

    def __init__(self, frame):
        self.patients = set(frame["patient_key"])
        self.remembered = dict(zip(frame["case_key"], frame["clnm"], strict=True))

    def margins(self, frame):
        ASKED.append((self.patients, set(frame["patient_key"])))
        told = np.stack(frame["embedding"])[:, 0]
        known = [self.remembered.get(key) for key in frame["case_key"]]
        return np.array([t if k is None else 9.0 * k for t, k in zip(told, known, strict=True)], dtype=float)


def test_a_network_is_only_asked_for_patients_it_was_not_fitted_to():
    ASKED.clear()
    training = train(cohort(effect=1.0), fit_network=Memory)
    assert len(ASKED) == 3 * QUICK.score_folds + QUICK.outer_folds + 1
    assert all(not (fitted & asked) for fitted, asked in ASKED)
    assert value(training, "dl_score").value == pytest.approx(
        value(training, "dl_score", cohort_name="external").value, abs=0.15
    )
    assert isinstance(training.network, Memory)


def test_a_network_that_remembers_outcomes_gains_nothing_by_it():
    frame = cohort(effect=0.0)
    score = value(train(frame, fit_network=Memory), "dl_score")
    assert score.ci_low <= 0.5 <= score.ci_high


def test_row_order_and_repetition_do_not_matter():
    frame = cohort()
    shuffled = frame.sample(frac=1.0, random_state=4)
    assert bundles(train(frame)) == bundles(train(shuffled))


def test_folds_may_run_in_other_processes_and_end_in_any_order():
    def elsewhere(function, folds):
        carried = pickle.loads(pickle.dumps(function))
        return [pickle.loads(pickle.dumps(carried(fold))) for fold in reversed(list(folds))]

    frame = cohort()
    here, there = train(frame), train(frame, map_folds=elsewhere)
    assert bundles(here) == bundles(there)
    assert here.evaluations == there.evaluations
    pd.testing.assert_frame_equal(here.predictions, there.predictions)


def test_too_few_positive_outcomes_is_a_sentence():
    frame = cohort()
    frame["clnm"] = np.arange(len(frame)) < 7
    with pytest.raises(UserError, match="training frame has 7 positive outcomes, needs 10"):
        train(frame)


def test_no_training_center_at_all_is_the_same_sentence():
    with pytest.raises(UserError, match="training frame has 0 positive outcomes"):
        train(cohort().assign(role="external"))


def test_nothing_to_learn_from_is_a_sentence():
    frame = cohort().drop(columns="embedding")
    with pytest.raises(UserError, match="neither clinical variables nor features"):
        train_models(frame, outcome="clnm", variables=(), radiomics_columns=(), options=QUICK)


def test_an_outcome_that_is_null_is_refused():
    frame = cohort().astype({"clnm": object})
    frame.loc[3, "clnm"] = None
    with pytest.raises(ValueError, match="without an outcome"):
        train(frame)


def test_training_cases_without_features_are_left_out_and_counted():
    frame = cohort()
    frame.loc[[0, 1, 2], radiomics_columns(frame)] = np.nan
    training = train(frame)
    assert training.n_train == 107
    assert "3 of 110 training cases left out: no features" in training.warnings


def test_embeddings_that_most_cases_lack_are_left_out_and_said():
    frame = cohort()
    frame.loc[frame.index[10:], "embedding"] = None
    training = train(frame)
    assert "embedding left out: only 10 of 110 training cases have it" in training.warnings
    assert not [row for row in training.evaluations if row.algorithm == "dl_score"]


def test_without_external_centers_the_training_says_so():
    training = train(cohort(n_external=0))
    assert "no external center: the models are judged by cross-validation alone" in training.warnings
    assert {row.cohort for row in training.evaluations} == {"cv"}


def test_a_center_with_too_few_positives_gets_no_number_but_its_n():
    frame = cohort()
    frame.loc[frame.index[-8:], "center"] = "C4"
    training = train(frame)
    row = value(training, "lr", cohort_name="external", center="C4")
    assert (row.value, row.ci_low, row.ci_high, row.n) == (None, None, None, 8)


def test_columns_that_say_nothing_leave_every_model_at_the_prevalence():
    frame = cohort(n_features=3).drop(columns="embedding")
    frame[radiomics_columns(frame)] = 1.0
    training = train(frame, variables=())
    assert any("every model answers with the prevalence" in warning for warning in training.warnings)
    assert {candidate.auc_cv for candidate in training.candidates} == {0.5}


def test_few_events_per_term_are_said():
    training = train(cohort(n=100))
    assert any("fewer than 10 per term" in warning for warning in training.warnings)
    assert training.events_per_variable == training.n_events / 5
