"""Train: nine models on what was known at `as_of`, judged by cross-validation and on the external centers."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clnm import cluster
from clnm.entities import ModelStatus, Role
from clnm.errors import ConfigurationError, TooFewCasesError
from clnm.features.tuning import TunedNetwork
from clnm.pipeline.models import make_champion
from clnm.pipeline.robustness import judge_robustness, robust_features
from clnm.pipeline.run import Run
from clnm.pipeline.tuning import SCORE_FOLDS, fine_tuning_for, save_network
from clnm.store.tables import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from clnm.models.training import Candidate, Training

_FOLD_SECONDS = 24 * 3600.0
"""For one outer fold; with fine-tuning it fits six networks."""


def train_if_no_champion(run: Run) -> None:
    """The nightly's training: only where there is no champion yet. Too few outcomes to learn from are waited for."""
    if run.champion() or run.installation.store.run_query("champion"):
        run.count("train", None, {"skipped": "there is a champion"})
        return
    try:
        train(run)
    except TooFewCasesError as error:
        run.count("train", None, {"waiting": str(error)})


def train(run: Run, *, promote: bool = False) -> None:
    """Train, judge and register nine versions.

    The best by cross-validated AUC becomes champion where there is none, where its cross-validated AUC is higher than
    the champion's was, or when told to `promote`. The external centers are never asked.
    """
    from clnm.models.eligibility import demand_outcomes
    from clnm.models.fitting import TrainingOptions
    from clnm.models.training import train_models

    installation = run.installation
    settings = installation.settings
    frame = run.store.training_frame(run.as_of)
    if frame.empty:
        raise TooFewCasesError("no case has both features and an outcome yet; `clnm status` shows what is there")
    demand_outcomes(frame.loc[frame["role"] == Role.TRAIN, settings.outcome.name])
    judge_robustness(run)
    fit_network = fine_tuning_for(run, frame)
    training = train_models(
        frame,
        outcome=settings.outcome.name,
        variables=settings.variables(),
        radiomics_columns=robust_features(run),
        options=TrainingOptions(score_folds=SCORE_FOLDS) if fit_network else None,
        fit_network=fit_network,
        map_folds=partial(run_folds, run.cluster()),
    )
    best = training.candidates[training.champion]
    champion = installation.store.run_query("champion")
    versions = _register(run, training)
    if promote or not champion or best.auc_cv > champion[0]["auc_cv"]:
        make_champion(run, versions[best.algorithm])
    for warning in training.warnings:
        run.logger.warning("training", caution=warning)
    run.count("train", None, _counts(training))


def run_folds(handle: cluster.Handle, run_fold: Callable[[Any], Any], folds: Iterable[Any]) -> Iterator[Any]:
    """The answer of each outer fold, as they come.

    Raises:
        ConfigurationError: no worker survived one of them.
    """
    shards = ([fold] for fold in folds)
    work = cluster.Work(run_fold)
    for result in cluster.run_shards(handle, work, shards, in_flight=handle.workers(), time_limit_s=_FOLD_SECONDS):
        for failure in result.failures:
            raise ConfigurationError(
                f"[compute] memory_per_worker_gib: no worker survived a fold of the training ({failure.reason.value}); "
                "raise it and run again"
            )
        yield from result.done


def _register(run: Run, training: Training) -> dict[str, str]:
    """Bundles first, rows after: a version that is listed has its bundle."""
    network = training.network
    assert network is None or isinstance(network, TunedNetwork)
    kept = save_network(run.installation, network, run.installation.settings.deep.backbone) if network else ""
    saved = {candidate.algorithm: _save(run, training, candidate, kept) for candidate in training.candidates}
    external = {
        row.algorithm: row.value
        for row in training.evaluations
        if (row.cohort, row.center, row.metric) == ("external", "all", "auc")
    }
    champion = training.candidates[training.champion].algorithm
    version = run.store.run_query("feature_set_now")[0]["feature_set_version"]
    versions = [
        {
            "model_version": saved[candidate.algorithm][0],
            "algorithm": candidate.algorithm,
            "status": ModelStatus.CHALLENGER.value,
            "trained_at": run.started_at,
            "training_as_of": run.as_of,
            "n_train": training.n_train,
            "n_events": training.n_events,
            "auc_cv": candidate.auc_cv,
            "auc_external": external.get(candidate.algorithm),
            "threshold": candidate.threshold,
            "sha256": saved[candidate.algorithm][1],
            "feature_set_version": version,
        }
        for candidate in training.candidates
    ]
    evaluations = [
        {**asdict(row), "model_version": saved.get(row.algorithm, saved[champion])[0]} for row in training.evaluations
    ]
    with run.commit() as batch:
        batch.append("model_versions", rows("model_versions", versions))
        batch.append("evaluations", rows("evaluations", evaluations))
    return {algorithm: version for algorithm, (version, _) in saved.items()}


def _save(run: Run, training: Training, candidate: Candidate, network: str) -> tuple[str, str]:
    from clnm.models.registry import save_bundle

    folder = bundle_folder(run.installation.root)
    scratch = folder / f"scratch-{run.run_id}-{candidate.algorithm}"
    meta = {
        "algorithm": candidate.algorithm,
        "training_as_of": run.as_of.isoformat(),
        "n_train": training.n_train,
        "n_events": training.n_events,
        "parameters": dict(candidate.parameters),
        "selected": [asdict(feature) for feature in training.selected],
        **asdict(run.lineage),
    }
    sha256 = save_bundle(replace(candidate.model, network=network), scratch, meta=meta)
    version = f"{run.as_of:%Y%m%d}-{candidate.algorithm}-{sha256[:8]}"
    final = folder / version
    if not final.exists():
        scratch.rename(final)
    return version, sha256


def bundle_folder(root: Path) -> Path:
    """Where model bundles lie, one folder a version."""
    return root / "models"


def _counts(training: Training) -> dict[str, Any]:
    best = training.candidates[training.champion]
    return {
        "cases": training.n_train,
        "events": training.n_events,
        "models": len(training.candidates),
        "best": best.algorithm,
        "auc_cv": round(best.auc_cv, 3),
    }
