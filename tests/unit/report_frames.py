"""Made-up frames of one night, as the pipeline hands them to the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from clnm.report.inputs import ReportInputs, ReportMeta

AS_OF = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
MODELS = (
    *("logistic_regression", "svm", "knn", "decision_tree", "random_forest"),
    *("extra_trees", "xgboost", "lightgbm", "mlp"),
)
METRICS = ("auc", "accuracy", "precision", "recall", "f1", "specificity")


def night(**changes: Any) -> ReportInputs:
    """One night: four centers, of which C3 drifts, C4 has too few cases, and C2's batch is held."""
    frames: dict[str, Any] = {
        "meta": ReportMeta("20260301T020000-abc123", "0.1.0", "c0ffee12", AS_OF, "clnm", is_simulated=True),
        "file_counts": pd.DataFrame(
            [("C1", 171, 160, 4, 3, 4, 0, 0), ("C2", 131, 128, 0, 1, 0, 2, 0), ("C3", 80, 78, 0, 1, 1, 0, 0)],
            columns=["center", "files", "ingested", "duplicate", "ignored", "quarantined", "pending", "gone"],
        ),
        "quarantine_counts": pd.DataFrame(
            [("C1", "file", "truncated_pixels", 3), ("C1", "file", "empty", 1), ("C3", "file", "mask_mismatch", 1)],
            columns=["center", "kind", "reason", "items"],
        ),
        "score_counts": pd.DataFrame(
            [
                ("C1", "scored", "", 78),
                ("C1", "unscored", "no_mask", 2),
                ("C2", "scored", "", 64),
                ("C3", "scored", "", 37),
                ("C3", "abstained", "missing_image", 1),
                ("C4", "scored", "", 32),
            ],
            columns=["center", "status", "reason", "cases"],
        ),
        "model_versions": _versions(),
        "evaluations": _evaluations(),
        "predictions": _predictions(),
        "center_health": pd.DataFrame(
            [
                ("C1", "stable", 0.71, 60, 0, 27, 4),
                ("C2", "stable", 1.0, 60, 0, 21, 0),
                ("C3", "drift", 3.2e-07, 60, 25, 13, 1),
                ("C4", "insufficient", None, 0, 0, 7, 0),
            ],
            columns=[
                "center",
                "verdict",
                "p_value",
                "n_features_tested",
                "n_features_drifted",
                "n_new_cases",
                "n_quarantined",
            ],
        ),
        "drift": _drift(),
        "performance": pd.DataFrame(
            [
                ("C1", "auc", None, None, None, 12, 3, "realized", "insufficient"),
                ("all", "auc", 0.871, 0.79, 0.95, 90, 25, "realized", "stable"),
            ],
            columns=["center", "metric", "value", "ci_low", "ci_high", "n", "n_events", "kind", "verdict"],
        ),
        "alerts": pd.DataFrame(
            [("C3", "drift", "warning", "C3: 25 of 60 features moved", AS_OF - timedelta(days=1), AS_OF)],
            columns=["center", "kind", "severity", "message", "first_raised_at", "last_raised_at"],
        ),
        "check_results": pd.DataFrame(
            [
                ("C2", "images", "expect_spacing", "critical", False, "spacing 1.0 < 2.0", "mm and cm slip by ten"),
                ("C1", "rois", "expect_area", "info", True, "ok", ""),
            ],
            columns=["center", "relation", "expectation", "severity", "is_success", "observed", "reason"],
        ),
        "runs": pd.DataFrame(
            [("20260301T020000-abc123", "nightly", AS_OF, AS_OF + timedelta(minutes=4), "done")],
            columns=["run_id", "command", "started_at", "finished_at", "status"],
        ),
    }
    return ReportInputs(**{**frames, **changes})


def _versions() -> pd.DataFrame:
    rows = [
        (f"20260301-{name}-{k:08x}", name, "challenger" if k else "champion", 144, 39, 0.9 - 0.01 * k, 0.291)
        for k, name in enumerate(MODELS)
    ]
    return pd.DataFrame(
        rows, columns=["model_version", "algorithm", "status", "n_train", "n_events", "auc_cv", "threshold"]
    )


def _evaluations() -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for k, name in enumerate((*MODELS, "radiomics_score", "dl_score")):
        version = f"20260301-{name}-{k:08x}" if k < len(MODELS) else "20260301-logistic_regression-00000000"
        for j, metric in enumerate(METRICS):
            value = 0.9137 - 0.012 * k - 0.01 * j
            rows.append((version, name, "external", "all", metric, value, value - 0.07, value + 0.05, 70, 19))
        rows.append((version, name, "external", "C3", "auc", 0.88, 0.75, 0.97, 38, 10))
        rows.append((version, name, "external", "C4", "auc", None, None, None, 32, 3))
    return pd.DataFrame(
        rows,
        columns=[
            "model_version",
            "algorithm",
            "cohort",
            "center",
            "metric",
            "value",
            "ci_low",
            "ci_high",
            "n",
            "n_events",
        ],
    )


def _predictions() -> pd.DataFrame:
    """TP 16, FN 3, FP 5, TN 46 at 0.291: the published table."""
    generator = np.random.default_rng(7)
    called = [0.3 + 0.65 * generator.random(16), 0.28 * generator.random(3), 0.3 + 0.3 * generator.random(5)]
    probability = np.concatenate([*called, 0.28 * generator.random(46)])
    return pd.DataFrame(
        {
            "center": ["C3" if k % 2 else "C4" for k in range(70)],
            "outcome": [k < 19 for k in range(70)],
            "probability": probability,
        }
    )


def _drift() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for center, n_reference, n_current in (("C1", 53, 27), ("C2", 43, 21), ("C3", 25, 13), ("C4", 20, 7)):
        for k in range(60):
            has_moved = center == "C3" and k < 25
            p = None if center == "C4" else float(generator.random()) * (1e-6 if has_moved else 1.0)
            rows.append(
                {
                    "center": center,
                    "feature": f"original_firstorder_F{k:02d}",
                    "feature_group": "radiomics",
                    "window_start": AS_OF - timedelta(days=30),
                    "window_end": AS_OF,
                    "reference": "own",
                    "n_reference": n_reference,
                    "n_current": n_current,
                    "statistic": "ks",
                    "p_value": p,
                    "q_value": None if p is None else min(1.0, p * 3),
                    "effect": None if p is None else float(generator.normal()) + 3 * has_moved,
                    "verdict": "insufficient" if p is None else "drift" if has_moved else "stable",
                }
            )
    return pd.DataFrame(rows)
