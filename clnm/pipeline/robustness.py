"""Robustness of the radiomics features, judged on train centers alone and before any outcome is read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from clnm import cluster
from clnm.features.parameters import read_parameters
from clnm.features.worker import Extractor, RoiTask, perturb_roi
from clnm.pipeline.encoder import spacing
from clnm.pipeline.extract import TIME_LIMIT_SECONDS
from clnm.pipeline.run import Run
from clnm.store.tables import rows

SAMPLE_PER_CENTER = 12
"""ROIs of each train center that are perturbed, evenly spread over time."""
_SHARD_SIZE = 4


def judge_robustness(run: Run) -> None:
    """Judge every feature of the current set; rows of `feature_robustness`.

    A set is judged again where there were too few ROIs for a verdict, or where more were drawn by two readers since.
    A run that looks back judges nothing: it would write over what is known now.
    """
    store = run.store
    if run.is_past:
        return
    version = store.run_query("feature_set_now")[0]["feature_set_version"]
    if version is None:
        return
    from clnm.features.robustness import icc_2_1, is_robust

    names = store.feature_names()
    readers = _rated_by_readers(store.table("reader_ratings", centers=list(run.installation.train_centers)), names)
    before = store.run_query("robustness_of", feature_set_version=version)
    if before and before[0]["is_judged"] and before[0]["n"] >= len(readers):
        return
    perturbed = _rated_when_perturbed(run, names)
    by_readers = icc_2_1(readers) if len(readers) else None
    by_perturbation = icc_2_1(perturbed) if len(perturbed) else None
    verdicts = is_robust(by_readers, by_perturbation)
    judged = [
        {
            "feature": name,
            "icc": _number(by_readers and by_readers.icc[place]),
            "icc_lower": _number(by_readers and by_readers.lower[place]),
            "icc_upper": _number(by_readers and by_readers.upper[place]),
            "n": len(readers),
            "perturbation_icc": _number(by_perturbation and by_perturbation.icc[place]),
            "perturbation_icc_lower": _number(by_perturbation and by_perturbation.lower[place]),
            "perturbation_icc_upper": _number(by_perturbation and by_perturbation.upper[place]),
            "n_perturbed": len(perturbed),
            "is_robust": verdicts[place] if len(verdicts) else None,
            "feature_set_version": version,
        }
        for place, name in enumerate(names)
    ]
    with run.commit() as batch:
        batch.append("feature_robustness", rows("feature_robustness", judged))


def robust_features(run: Run) -> list[str]:
    """The features that models may use: all but those judged not robust by then."""
    store = run.store
    fragile = {row["feature"] for row in store.run_query("fragile_features")}
    names = [name for name in store.feature_names() if name not in fragile]
    if not names and fragile:
        run.logger.warning("training", caution="no feature is robust; all are used")
        return store.feature_names()
    return names


def _rated_when_perturbed(run: Run, names: Sequence[str]) -> np.ndarray:
    """(ROIs, perturbations, features)."""
    installation = run.installation
    parameters = read_parameters(installation.path(installation.settings.radiomics.params))
    extractor = Extractor(installation.pixels, parameters, "fast", None)
    sample = installation.store.run_query(
        "perturbation_sample", centers=list(installation.train_centers), per_center=SAMPLE_PER_CENTER
    )
    tasks = [
        RoiTask(row["roi_key"], row["image_key"], spacing(row), needs_radiomics=True, needs_deep=False)
        for row in sample
    ]
    shards = [tasks[start : start + _SHARD_SIZE] for start in range(0, len(tasks), _SHARD_SIZE)]
    if not shards:
        return np.empty((0, 0, len(names)))
    results = cluster.run_shards(
        handle := run.cluster(),
        cluster.Work(functools.partial(perturb_roi, extractor)),
        shards,
        in_flight=cluster.in_flight_of(handle),
        time_limit_s=TIME_LIMIT_SECONDS,
    )
    rated = sorted((key, values) for result in results for key, values in result.done if values)
    if not rated:
        return np.empty((0, 0, len(names)))
    return np.array([[_row(values, names) for values in variants] for _, variants in rated])


def _rated_by_readers(table: Any, names: Sequence[str]) -> np.ndarray:
    """(ROIs, 2 readers, features): the query gives both readers' rows one after the other."""
    if not table.num_rows:
        return np.empty((0, 2, len(names)))
    columns = [table.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in names]
    return np.array(columns).T.reshape(-1, 2, len(names))


def _row(values: dict[str, float | None], names: Sequence[str]) -> list[float]:
    return [np.nan if (value := values.get(name)) is None else value for name in names]


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
