"""How long a training of the demo's size takes, and whether it stays at AUC 0.5 when there is nothing to learn.

Run: python bench/training.py [permutations]
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clnm.models.fitting import TrainingOptions
from clnm.models.training import train_models
from tests.unit.cohorts import VARIABLES, cohort, radiomics_columns


def main() -> None:
    permutations = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    frame = cohort(214, n_features=1500, n_deep=512, n_external=70)
    started = time.perf_counter(), time.process_time()
    train_models(frame, outcome="clnm", variables=VARIABLES, radiomics_columns=radiomics_columns(frame))
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(
        f"144 train cases x (1500 radiomics + 512 deep), nine models, 5 x 5 folds: {wall:.1f} s wall, {cpu:.1f} s CPU"
    )
    frame = cohort(144, n_features=300, n_deep=32, n_external=0)
    results: dict[str, list[tuple[float, bool]]] = {}
    for seed in range(permutations):
        permuted = frame.assign(clnm=np.random.default_rng(seed).permutation(frame["clnm"].to_numpy()))
        training = train_models(
            permuted,
            outcome="clnm",
            variables=VARIABLES,
            radiomics_columns=radiomics_columns(frame),
            options=TrainingOptions(seed=seed, algorithms=("lr", "svm", "decision_tree", "lightgbm", "mlp")),
        )
        for row in training.evaluations:
            if row.metric == "auc" and row.center == "all":
                results.setdefault(row.algorithm, []).append((row.value, row.ci_low <= 0.5 <= row.ci_high))
    for name, rows in results.items():
        values, covered = zip(*rows, strict=True)
        error = np.std(values) / np.sqrt(len(values))
        print(f"{name:16} permuted AUC {np.mean(values):.3f} +- {error:.3f}, 0.5 inside the CI {np.mean(covered):.2f}")


if __name__ == "__main__":
    main()
