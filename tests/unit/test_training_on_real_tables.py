"""The training path on real hospitals' tables: four of heart disease (gaps, categories), three of CT radiomics."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clnm.entities import ClinicalVariable, VariableKind
from clnm.models.fitting import TrainingOptions
from clnm.models.training import train_models

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
OPTIONS = TrainingOptions(algorithms=("lr", "extra_trees"), outer_folds=4, inner_folds=4, score_folds=4, lambda_folds=4)
NUMBERS = ("age", "trestbps", "chol", "thalach", "oldpeak")
CATEGORIES = {"cp": ("1", "2", "3", "4"), "slope": ("1", "2", "3"), "thal": ("3", "6", "7")}
FLAGS = ("sex", "fbs", "exang")


def needs(folder):
    return pytest.mark.skipif(not (SHARED / folder).is_dir(), reason=f"shared/data/{folder} is not there")


def auc_of(training, algorithm, cohort):
    (row,) = [
        row
        for row in training.evaluations
        if (row.algorithm, row.cohort, row.center, row.metric) == (algorithm, cohort, "all", "auc")
    ]
    return row


def heart():
    roles = {"cleveland": "train", "hungarian": "train", "switzerland": "external", "va": "external"}
    hospitals = []
    for name, role in roles.items():
        table = pd.read_csv(
            SHARED / "tables_uci_heart" / f"processed.{name}.data", na_values="?", skipinitialspace=True
        )
        table.columns = [column.strip() for column in table.columns]
        keys = [f"{name}-{row}" for row in range(len(table))]
        hospitals.append(table.assign(case_key=keys, patient_key=keys, center=name, role=role))
    frame = pd.concat(hospitals, ignore_index=True)
    for name in CATEGORIES:
        frame[name] = frame[name].map(lambda code: None if pd.isna(code) else str(int(code)))
    frame["clnm"] = frame[frame.columns[13]] > 0
    return frame


@needs("tables_uci_heart")
def test_clinical_variables_with_gaps_train_and_travel_to_other_hospitals():
    frame = heart()
    variables = (
        *(ClinicalVariable(name, VariableKind.NUMBER) for name in NUMBERS),
        *(ClinicalVariable(name, VariableKind.CATEGORY, levels=levels) for name, levels in CATEGORIES.items()),
        *(ClinicalVariable(name, VariableKind.FLAG) for name in FLAGS),
    )
    assert frame[list(NUMBERS)].isna().to_numpy().sum() > 100
    training = train_models(frame, outcome="clnm", variables=variables, radiomics_columns=(), options=OPTIONS)
    assert (training.n_train, training.n_events) == (597, 245)
    assert auc_of(training, "lr", "cv").value > 0.85
    external = auc_of(training, "lr", "external")
    assert external.n == 323
    assert 0.6 < external.ci_low < external.value < auc_of(training, "lr", "cv").value
    assert not training.predictions.isna().any().any()


@needs("tables_radiomics_hn_lnm")
def test_radiomics_of_ct_train_on_two_hospitals_and_are_judged_on_a_third():
    tables = []
    for name, role in (("HNSCC", "train"), ("Head-Neck-Radiomics-HN1", "train"), ("QIN-HEADNECK", "external")):
        table = pd.read_csv(SHARED / "tables_radiomics_hn_lnm" / f"{name}.csv.gz")
        prefix = "manual_" if name.startswith("QIN") else ""
        features = {
            column[column.index("original_") :]: table[column]
            for column in table
            if "original_" in column and column.startswith(prefix)
        }
        outcome = table[table.columns[-1]].to_numpy() > 0
        keys = [f"{name}-{row:03d}" for row in range(len(table))]
        tables.append(
            pd.DataFrame(features).assign(case_key=keys, patient_key=keys, center=name, role=role, clnm=outcome)
        )
    frame = pd.concat(tables, join="inner", ignore_index=True)
    columns = [name for name in frame if name.startswith("original_")]
    assert len(columns) > 90
    training = train_models(frame, outcome="clnm", variables=(), radiomics_columns=columns, options=OPTIONS)
    judged = auc_of(training, "radiomics_score", "cv")
    assert judged.n == training.n_train == 230
    assert judged.ci_low > 0.5
    assert np.isfinite(training.predictions["lr"]).all()
