"""Trains and judges: the whole path inside every outer fold, once more on all train centers, then on external ones.

Nothing is chosen on external centers: they are only looked at after champion and cut-offs stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from clnm.entities import ClinicalVariable, Role
from clnm.models.eligibility import usable_rows
from clnm.models.evaluate import Evaluation, evaluate, selection_optimism, youden_threshold
from clnm.models.fitting import FitNetwork, Fitted, Layout, Network, TrainingOptions, fit_everything
from clnm.models.folds import Fold, deal_folds
from clnm.models.frame import DL_SCORE, RADIOMICS_SCORE
from clnm.models.intervals import auc
from clnm.models.model import Model
from clnm.models.zoo import Parameters

NumberedFold = tuple[int, Fold]
MapFolds = Callable[[Callable[[NumberedFold], Any], Iterable[NumberedFold]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One algorithm's model, fitted on all train rows, its cut-off frozen."""

    algorithm: str
    model: Model
    parameters: Parameters
    auc_cv: float
    """AUC of the outer out-of-fold predictions, within folds: the whole path ran without the rows it is measured on."""
    threshold: float


@dataclass(frozen=True, slots=True)
class SelectedFeature:
    """One column a LASSO kept; `stage` is radiomics_score, dl_score or fusion; the coefficient is per SD."""

    stage: str
    name: str
    coefficient: float


@dataclass(frozen=True, slots=True)
class Training:
    """The outcome of one training."""

    candidates: tuple[Candidate, ...]
    champion: int
    """Place in `candidates` of the highest `auc_cv`; of equals the simplest."""
    evaluations: tuple[Evaluation, ...]
    """For every algorithm and both scores: cohort `cv` and `external`, per center and `all`; and one `cv` row
    `selection_optimism` of the champion: how much its AUC there owes to its having been picked."""
    predictions: pd.DataFrame
    """One row per judged case: case_key, center, cohort, outcome, fold (-1 in cohort external), and one column of
    probabilities per algorithm and score."""
    selected: tuple[SelectedFeature, ...]
    n_train: int
    n_events: int
    events_per_variable: float
    """Positives per candidate term of the second stage (10 is the usual rule of thumb)."""
    warnings: tuple[str, ...]
    network: Network | None
    """The network fine-tuned on all train rows, where one was asked for: what the models' `dl_margin` comes from."""


def train_models(
    frame: pd.DataFrame,
    *,
    outcome: str,
    variables: Sequence[ClinicalVariable],
    radiomics_columns: Sequence[str],
    options: TrainingOptions | None = None,
    fit_network: FitNetwork | None = None,
    map_folds: MapFolds = map,
) -> Training:
    """Train the nine models on rows of role `train` and judge them by cross-validation and on rows of role `external`.

    `frame` has one row per case: case_key, patient_key, center, role, the clinical variables, `outcome` (boolean, never
    null), radiomics columns (float, NaN where missing) and, where there are any, `embedding` (a sequence of floats or
    null). Its row order does not matter, and neither do the values of the keys but among ties of `acquired_at`.
    `fit_network` fine-tunes a network inside every fold, and its margin is the DL score; without, the DL score is a
    signature over the embeddings.
    `map_folds` may run the outer folds elsewhere and in any order: it is handed a function that can be pickled.

    Raises `UserError` where the train rows are too few to learn from.
    """
    options = options or TrainingOptions()
    if frame[outcome].isna().any():
        raise ValueError("the training frame has rows without an outcome")
    order = [name for name in ("center", "acquired_at", "case_key") if name in frame.columns]
    ordered = frame.sort_values(order, kind="stable").reset_index(drop=True)
    train, layout, warnings = usable_rows(ordered[ordered["role"] == Role.TRAIN], outcome, variables, radiomics_columns)
    run_fold = partial(_run_fold, train, layout, options, fit_network)
    fitted, held_out = _cross_validate(train, layout, options, run_fold, map_folds)
    external = ordered[ordered["role"] == Role.EXTERNAL]
    return _judge(held_out, external, layout, options, fitted=fitted, warnings=warnings)


def _cross_validate(
    train: pd.DataFrame,
    layout: Layout,
    options: TrainingOptions,
    run_fold: Callable[[NumberedFold], Any],
    map_folds: MapFolds,
) -> tuple[Fitted, pd.DataFrame]:
    """What was fitted on all rows, and the rows of `Training.predictions` that judge how it was fitted."""
    truth = train[layout.outcome].to_numpy(dtype=bool)
    folds = deal_folds(truth, train["patient_key"].to_numpy(), options.outer_folds, options.seed)
    everything: Fold = (np.arange(len(train)), np.arange(0))
    held_out = train[["case_key", "center"]].assign(cohort="cv", outcome=truth, fold=-1)
    fitted: Fitted | None = None
    for number, part, predicted in map_folds(run_fold, enumerate([*folds, everything])):
        if part is not None:
            fitted = part
        else:
            held_out.loc[folds[number][1], ["fold", *predicted]] = pd.DataFrame(
                {"fold": number, **predicted}, index=folds[number][1]
            )
    assert fitted is not None
    return fitted, held_out


def _run_fold(
    train: pd.DataFrame,
    layout: Layout,
    options: TrainingOptions,
    fit_network: FitNetwork | None,
    numbered: NumberedFold,
) -> tuple[int, Fitted | None, dict[str, np.ndarray]]:
    """Fit on one side and predict the other; with no other side, give back what was fitted."""
    number, (fit_rows, held_rows) = numbered
    fitted = fit_everything(train.iloc[fit_rows], layout, options, fit_network)
    if not len(held_rows):
        return number, fitted, {}
    held = fitted.seen(train.iloc[held_rows])
    return number, None, {name: model.predict(held) for name, model in fitted.models.items()}


def _judge(
    held_out: pd.DataFrame,
    external: pd.DataFrame,
    layout: Layout,
    options: TrainingOptions,
    *,
    fitted: Fitted,
    warnings: list[str],
) -> Training:
    """Freeze the cut-offs on out-of-fold predictions, choose the champion by them, then look at external centers."""
    truth, fold = held_out["outcome"].to_numpy(), held_out["fold"].to_numpy()
    models = {
        name: replace(model, threshold=youden_threshold(truth, held_out[name].to_numpy()))
        for name, model in fitted.models.items()
    }
    out_of_fold = held_out[list(options.algorithms)].to_numpy().T
    candidates = tuple(
        Candidate(name, models[name], fitted.parameters[name], float(auc_cv), models[name].threshold)
        for name, auc_cv in zip(options.algorithms, auc(truth, out_of_fold, fold), strict=True)
    )
    champion = int(np.argmax([candidate.auc_cv for candidate in candidates]))
    optimism = selection_optimism(truth, out_of_fold, fold, seed=options.seed)
    n, n_events = len(truth), int(truth.sum())
    predictions = pd.concat([held_out, _predict_external(fitted.seen(external), layout, models)], ignore_index=True)
    winner = candidates[champion]
    return Training(
        candidates=candidates,
        champion=champion,
        evaluations=(
            *_evaluations(predictions, models, options.seed),
            Evaluation(winner.algorithm, "cv", "all", "selection_optimism", optimism, None, None, n, n_events),
        ),
        predictions=predictions,
        selected=tuple(_selected(winner.model)),
        n_train=n,
        n_events=n_events,
        events_per_variable=n_events / max(1, len(winner.model.representation.terms)),
        warnings=(*warnings, *_cautions(n_events, models, predictions, layout)),
        network=fitted.network,
    )


def _predict_external(external: pd.DataFrame, layout: Layout, models: dict[str, Model]) -> pd.DataFrame:
    answers = {name: model.predict(external) for name, model in models.items()}
    truth = external[layout.outcome].to_numpy(dtype=bool)
    return external[["case_key", "center"]].assign(cohort="external", outcome=truth, fold=-1, **answers)


def _evaluations(predictions: pd.DataFrame, models: dict[str, Model], seed: int) -> Iterator[Evaluation]:
    for cohort, rows in predictions.groupby("cohort", sort=True):
        for center, part in [("all", rows), *rows.groupby("center", sort=True)]:
            for name, model in models.items():
                answered = part[part[name].notna()]
                yield from evaluate(
                    name,
                    str(cohort),
                    str(center),
                    answered["outcome"].to_numpy(dtype=bool),
                    answered[name].to_numpy(dtype=float),
                    threshold=model.threshold,
                    seed=seed,
                    folds=answered["fold"].to_numpy(),
                )


def _selected(model: Model) -> Iterator[SelectedFeature]:
    stages = {
        RADIOMICS_SCORE: model.representation.radiomics,
        DL_SCORE: model.representation.deep,
        "fusion": model.fusion,
    }
    for stage, signature in stages.items():
        if signature is not None:
            for name, coefficient in zip(signature.columns, signature.coefficients, strict=True):
                yield SelectedFeature(stage, name, coefficient)


def _cautions(n_events: int, models: dict[str, Model], predictions: pd.DataFrame, layout: Layout) -> Iterator[str]:
    terms = next(iter(models.values())).representation.terms
    if not terms:
        yield "no variable or feature says anything of the outcome: every model answers with the prevalence"
    elif n_events / len(terms) < 10:
        yield f"{n_events} events for {len(terms)} candidate terms: fewer than 10 per term, expect optimism"
    asked = ((RADIOMICS_SCORE, bool(layout.radiomics_columns)), (DL_SCORE, layout.embedding_length > 0))
    for score, is_asked in asked:
        if is_asked and score not in terms:
            yield f"no {score}: the LASSO kept none of its features"
    external = predictions[predictions["cohort"] == "external"]
    if external.empty:
        yield "no external center: the models are judged by cross-validation alone"
    unanswered = int(external[list(models)].isna().any(axis=1).sum())
    if unanswered:
        yield f"{unanswered} of {len(external)} external cases lack features and are not judged"
