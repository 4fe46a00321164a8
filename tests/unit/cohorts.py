"""A make-believe training frame with known signal, for the tests of `clnm.models`."""

import numpy as np
import pandas as pd

from clnm.entities import ClinicalVariable, VariableKind

VARIABLES = (
    ClinicalVariable("age", VariableKind.NUMBER),
    ClinicalVariable("edge", VariableKind.CATEGORY, levels=("clear", "unclear")),
    ClinicalVariable("cln", VariableKind.FLAG),
)


def cohort(n=160, *, n_features=60, n_deep=12, seed=0, effect=1.0, n_external=50):
    """`n` cases, the last `n_external` of them external; `effect` 0 is pure noise."""
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.3
    sources = generator.normal(size=(n, 10))
    sources[:, 0] += 1.5 * effect * positive
    radiomics = sources[:, generator.integers(0, 10, n_features)] + 0.5 * generator.normal(size=(n, n_features))
    deep = generator.normal(size=(n, n_deep))
    deep[:, 0] += effect * positive
    is_train = np.arange(n) < n - n_external
    frame = pd.DataFrame(
        {
            "case_key": [f"k1-{i:05d}" for i in range(n)],
            "patient_key": [f"k1-p{i // 2 if i < 20 else i:04d}" for i in range(n)],
            "center": np.where(is_train, np.where(np.arange(n) % 2, "C1", "C2"), "C3"),
            "role": np.where(is_train, "train", "external"),
            "age": generator.normal(50, 10, n) + 5 * effect * positive,
            "edge": np.where(generator.random(n) < 0.3 + 0.3 * effect * positive, "unclear", "clear"),
            "cln": generator.random(n) < 0.15 + 0.45 * effect * positive,
            "clnm": positive,
        }
    )
    features = pd.DataFrame(radiomics, columns=[f"original_f_{i:03d}" for i in range(n_features)])
    return pd.concat([frame, features], axis=1).assign(embedding=list(deep.astype(np.float32)))


def radiomics_columns(frame):
    return [name for name in frame.columns if name.startswith("original_")]
