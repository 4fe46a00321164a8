"""Every published table: its grain, its columns with type, unit and meaning.

Columns that depend on the installation (radiomics features, clinical variables) are added by whoever writes the rows;
everything else is fixed here and checked on write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_TEXT, _WHOLE, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_MOMENT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Arrow type and the sentence that `COMMENT ON` shows."""

    name: str
    type: pa.DataType
    comment: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table: a row per `grain`; `key` names the columns that identify it; `is_gated` tables pass the gate first."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    is_gated: bool = False
    is_open: bool = False
    """More columns than those listed may be present (features, clinical variables)."""

    @property
    def has_center(self) -> bool:
        """Whether the table is partitioned by center."""
        return any(column.name == "center" for column in self.columns)

    def schema(self) -> pa.Schema:
        """The Arrow schema of the fixed columns, lineage included."""
        return pa.schema([pa.field(column.name, column.type) for column in (*self.columns, *LINEAGE)])


LINEAGE = (
    Column("run_id", _TEXT, "The run that wrote the row."),
    Column("code_version", _TEXT, "The clnm version that wrote the row."),
    Column("config_hash", _TEXT, "Hash of the configuration in force."),
    Column(
        "commit_seq",
        _WHOLE,
        "The commit that published the row; of two rows alike in key and known_at, the later commit wins.",
    ),
)

_CENTER = Column("center", _TEXT, "The hospital: the unit of partition, drift and per-group evaluation.")
_PATIENT = Column("patient_key", _TEXT, "A person, by keyed pseudonym only.")
_STUDY = Column("study_key", _TEXT, "One ultrasound examination.")
_IMAGE = Column("image_key", _TEXT, "One frame of one DICOM instance, or one picture file.")
_ROI = Column("roi_key", _TEXT, "One labelled region drawn by one reader.")
_CASE = Column("case_key", _TEXT, "One patient's study with at least one ROI: what is predicted.")
_ACQUIRED = Column("acquired_at", _MOMENT, "When it was true (UTC).")
_KNOWN = Column("known_at", _MOMENT, "When we knew it (UTC).")

_TABLES = (
    Table(
        "centers",
        "center and change of its role",
        ("center",),
        (_CENTER, Column("role", _TEXT, "train, external (labelled, never trained on) or score."), _KNOWN),
    ),
    Table(
        "files",
        "file or archive member, and change of its state",
        ("file_key",),
        (
            Column("file_key", _TEXT, "Keyed hash of the path; the path itself lives under private/ alone."),
            _CENTER,
            Column("source", _TEXT, "The center's archive entry, e.g. C1/0."),
            Column("status", _TEXT, "ingested, duplicate, ignored, quarantined, pending or gone."),
            Column("reason", _TEXT, "Reason code; empty when simply ingested."),
            Column("detail", _TEXT, "Numbers and codes that explain the reason."),
            Column("image_key", _TEXT, "The image the file became, if any."),
            Column("size_bytes", _WHOLE, "Size in bytes."),
            Column("sha256", _TEXT, "Checksum of the content at first sight."),
            Column("first_seen_at", _MOMENT, "First run that saw the file."),
            Column("last_seen_at", _MOMENT, "Last run in which its state changed."),
        ),
    ),
    Table(
        "quarantine",
        "item set aside, and change of its state",
        ("item_key", "kind"),
        (
            Column("item_key", _TEXT, "file_key, roi_key, image_key or patient_key, by kind."),
            Column("kind", _TEXT, "file, roi or case."),
            _CENTER,
            Column("reason", _TEXT, "Reason code."),
            Column("detail", _TEXT, "Numbers and codes that explain the reason."),
            Column("first_seen_at", _MOMENT, "When it was first set aside."),
            Column("attempts", _WHOLE, "How often it was tried."),
            Column("resolved_at", _MOMENT, "When it was no longer set aside; null while it is."),
        ),
    ),
    Table(
        "images",
        "accepted image",
        ("image_key",),
        (
            _IMAGE,
            _STUDY,
            _PATIENT,
            _CENTER,
            _ACQUIRED,
            _KNOWN,
            Column("rows_px", _WHOLE, "Height after the crop to the ultrasound region."),
            Column("columns_px", _WHOLE, "Width after the crop to the ultrasound region."),
            Column("spacing_x_mm", _REAL, "Millimetres per pixel along a row; null when unknown."),
            Column("spacing_y_mm", _REAL, "Millimetres per pixel along a column; null when unknown."),
            Column("spacing_source", _TEXT, "regions, pixel_spacing, index or none."),
            Column("manufacturer", _TEXT, "Scanner manufacturer."),
            Column("model", _TEXT, "Scanner model."),
            Column("transfer_syntax", _TEXT, "DICOM transfer syntax UID, or the picture format."),
            Column("decoder", _TEXT, "Decoder and version that made the pixels."),
            Column("frame", _WHOLE, "Frame index used, from 0."),
            Column("sha256", _TEXT, "Checksum of the source file."),
        ),
        is_gated=True,
    ),
    Table(
        "rois",
        "ROI and reader",
        ("roi_key",),
        (
            _ROI,
            _IMAGE,
            _CASE,
            _PATIENT,
            _STUDY,
            _CENTER,
            _ACQUIRED,
            _KNOWN,
            Column("reader", _TEXT, "Who drew it: a reader code, never a name."),
            Column("label", _WHOLE, "Label value in the mask."),
            Column("area_px", _WHOLE, "Area in pixels."),
            Column("area_mm2", _REAL, "Area in square millimetres; null without spacing."),
            Column("touches_border", _FLAG, "Whether the ROI reaches the edge of the ultrasound region."),
            Column("mask_sha256", _TEXT, "Checksum of the mask's pixels in the cropped frame."),
        ),
        is_gated=True,
    ),
    Table(
        "clinical",
        "row of a clinical table",
        ("patient_key", "study_key"),
        (_PATIENT, _STUDY, _CENTER, _ACQUIRED, _KNOWN),
        is_gated=True,
        is_open=True,
    ),
    Table(
        "outcomes",
        "answer of pathology",
        ("patient_key", "study_key"),
        (_PATIENT, _STUDY, _CENTER, _ACQUIRED, _KNOWN, Column("value", _FLAG, "The outcome: true is positive.")),
        is_gated=True,
    ),
    Table(
        "radiomics",
        "ROI and feature set version",
        ("roi_key", "feature_set_version"),
        (
            _ROI,
            _CASE,
            _CENTER,
            _ACQUIRED,
            _KNOWN,
            Column("computed_at", _MOMENT, "When the values were computed (UTC)."),
            Column("feature_set_version", _TEXT, "Hash of parameters, preprocessing and engine."),
            Column("engine", _TEXT, "fast, pyradiomics, or both by image type."),
        ),
        is_gated=True,
        is_open=True,
    ),
    Table(
        "deep",
        "ROI and feature set version",
        ("roi_key", "feature_set_version"),
        (
            _ROI,
            _CASE,
            _CENTER,
            _ACQUIRED,
            _KNOWN,
            Column("computed_at", _MOMENT, "When the values were computed (UTC)."),
            Column("feature_set_version", _TEXT, "Hash of backbone, weights and preprocessing."),
            Column("backbone", _TEXT, "MONAI network name."),
            Column("weights_sha256", _TEXT, "Checksum of the weights."),
            Column("embedding", pa.list_(pa.float32()), "The embedding; its length is the backbone's."),
        ),
        is_gated=True,
    ),
    Table(
        "feature_robustness",
        "feature",
        ("feature",),
        (
            Column("feature", _TEXT, "Radiomics column."),
            Column("icc", _REAL, "ICC(2,1) between readers."),
            Column("icc_lower", _REAL, "Lower 95 % bound of the ICC between readers."),
            Column("icc_upper", _REAL, "Upper 95 % bound of the ICC between readers."),
            Column("n", _WHOLE, "ROIs with two readers."),
            Column("perturbation_icc", _REAL, "ICC(2,1) over perturbed masks, gains and angles."),
            Column("perturbation_icc_lower", _REAL, "Lower 95 % bound of the perturbation ICC."),
            Column("perturbation_icc_upper", _REAL, "Upper 95 % bound of the perturbation ICC."),
            Column("n_perturbed", _WHOLE, "ROIs perturbed."),
            Column("is_robust", _FLAG, "Lower bounds at least 0.75; null where there is too little to say."),
            Column("feature_set_version", _TEXT, "The feature set judged."),
        ),
    ),
    Table(
        "scores",
        "case, model version and scoring",
        ("case_key", "model_version"),
        (
            _CASE,
            _PATIENT,
            _CENTER,
            Column("model_version", _TEXT, "The champion at scoring; empty when there was none."),
            Column("probability", _REAL, "Predicted probability of the outcome."),
            Column("prediction", _FLAG, "probability >= threshold."),
            Column("threshold", _REAL, "The model's cut-off, frozen on training rows."),
            Column("status", _TEXT, "scored, abstained or unscored."),
            Column("reason", _TEXT, "Why not scored; empty when scored."),
            Column("scored_at", _MOMENT, "As of when (UTC): the start of the run, or the moment it looked back to."),
            Column("input_hash", _TEXT, "Hash of the inputs: a case is scored again when they change."),
        ),
    ),
    Table(
        "drift",
        "run, center, window and feature",
        ("run_id", "center", "feature"),
        (
            _CENTER,
            Column("feature", _TEXT, "Feature or clinical variable."),
            Column("feature_group", _TEXT, "radiomics, deep, clinical, score or outcome."),
            Column("window_start", _MOMENT, "Start of the current window."),
            Column("window_end", _MOMENT, "End of the current window."),
            Column("reference", _TEXT, "own (the center's earlier cases) or training (the champion's cohort)."),
            Column("n_reference", _WHOLE, "Values in the reference window."),
            Column("n_current", _WHOLE, "Values in the current window."),
            Column("statistic", _TEXT, "ks or chi2 (Fisher's exact where counts are small)."),
            Column("value", _REAL, "The statistic."),
            Column("p_value", _REAL, "Its p-value."),
            Column("q_value", _REAL, "Benjamini-Hochberg over all centers and features of the run."),
            Column("effect", _REAL, "Robust standardised shift of the median, or largest change of a share."),
            Column("verdict", _TEXT, "stable, drift or insufficient."),
        ),
    ),
    Table(
        "center_health",
        "run and center",
        ("run_id", "center"),
        (
            _CENTER,
            Column("verdict", _TEXT, "stable, drift or insufficient."),
            Column(
                "p_value", _REAL, "The center's combined p-value over its features (Simes), Holm-adjusted over centers."
            ),
            Column("window_end", _MOMENT, "End of the current window."),
            Column("n_features_tested", _WHOLE, "Features with enough data on both sides."),
            Column("n_features_drifted", _WHOLE, "Features whose verdict is drift."),
            Column("n_new_cases", _WHOLE, "Cases acquired in the current window."),
            Column("n_quarantined", _WHOLE, "Items of the center in quarantine now."),
        ),
    ),
    Table(
        "performance",
        "run, center (or all), window, metric and kind",
        ("run_id", "center", "metric", "kind"),
        (
            _CENTER,
            Column("window_start", _MOMENT, "Start of the window; null for all time."),
            Column("window_end", _MOMENT, "End of the window."),
            Column("metric", _TEXT, "auc, brier, o_e_ratio, calibration_slope, ..."),
            Column("value", _REAL, "The estimate; null when insufficient."),
            Column("ci_low", _REAL, "Lower 95 % bound."),
            Column("ci_high", _REAL, "Upper 95 % bound."),
            Column("n", _WHOLE, "Cases."),
            Column("n_events", _WHOLE, "Positive outcomes."),
            Column("kind", _TEXT, "realized (labels are there) or estimated."),
            Column("verdict", _TEXT, "stable, drift or insufficient."),
        ),
    ),
    Table(
        "alerts",
        "alert, and change of its state",
        ("alert_key",),
        (
            Column("alert_key", _TEXT, "Hash of center and kind."),
            _CENTER,
            Column("kind", _TEXT, "drift, degradation or intake."),
            Column("severity", _TEXT, "critical, warning or info."),
            Column("message", _TEXT, "One sentence."),
            Column("first_raised_at", _MOMENT, "When it was first raised."),
            Column("last_raised_at", _MOMENT, "When it was last raised."),
            Column("resolved_at", _MOMENT, "When it was no longer true; null while it is."),
        ),
    ),
    Table(
        "model_versions",
        "model version, and change of its status",
        ("model_version",),
        (
            Column("model_version", _TEXT, "Version: date and hash of the bundle."),
            Column("algorithm", _TEXT, "One of the nine."),
            Column("status", _TEXT, "champion, challenger, retired or rejected."),
            Column("trained_at", _MOMENT, "When the training ran."),
            Column("training_as_of", _MOMENT, "Nothing known later was used."),
            Column("n_train", _WHOLE, "Cases trained on."),
            Column("n_events", _WHOLE, "Positive outcomes among them."),
            Column("auc_cv", _REAL, "Cross-validated AUC over the whole training path."),
            Column("auc_external", _REAL, "AUC on the external centers; never used to choose."),
            Column("threshold", _REAL, "Cut-off, frozen on training rows."),
            Column("sha256", _TEXT, "Checksum of the bundle."),
            Column("feature_set_version", _TEXT, "The radiomics feature set it reads."),
        ),
    ),
    Table(
        "evaluations",
        "model version, cohort, center and metric",
        ("model_version", "cohort", "center", "metric"),
        (
            Column("model_version", _TEXT, "Model version."),
            Column("algorithm", _TEXT, "One of the nine, or radiomics_score, dl_score."),
            Column("cohort", _TEXT, "cv (cross-validated on train centers) or external."),
            Column("center", _TEXT, "A center, or all."),
            Column("metric", _TEXT, "auc, accuracy, precision, recall, f1, specificity, ..."),
            Column("value", _REAL, "The estimate."),
            Column("ci_low", _REAL, "Lower 95 % bound."),
            Column("ci_high", _REAL, "Upper 95 % bound."),
            Column("n", _WHOLE, "Cases."),
            Column("n_events", _WHOLE, "Positive outcomes."),
        ),
    ),
    Table(
        "check_results",
        "run, table, center and expectation",
        ("run_id", "relation", "center", "expectation"),
        (
            Column("relation", _TEXT, "The table checked."),
            _CENTER,
            Column("expectation", _TEXT, "Expectation type and column."),
            Column("severity", _TEXT, "critical, warning or info."),
            Column("is_success", _FLAG, "Whether it held."),
            Column("observed", _TEXT, "What was seen, in numbers."),
            Column("reason", _TEXT, "Why the bound is where it is."),
        ),
    ),
    Table(
        "runs",
        "run",
        ("run_id",),
        (
            Column("command", _TEXT, "The command."),
            Column("started_at", _MOMENT, "Start (UTC)."),
            Column("as_of", _MOMENT, "The moment the run looked back to; its start where it did not."),
            Column("finished_at", _MOMENT, "End (UTC)."),
            Column("status", _TEXT, "done, or the exit code's name."),
            Column("counts", _TEXT, "What was done, as JSON."),
            Column("stage_ms", _TEXT, "How long each stage took, in milliseconds, as JSON."),
        ),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
GATED: tuple[str, ...] = tuple(table.name for table in _TABLES if table.is_gated)


def rows(relation: str, content: Sequence[Mapping[str, Any]], *, more: Sequence[pa.Field] = ()) -> pa.Table:
    """Dictionaries as an Arrow table of `relation`'s fixed columns and `more` (lineage is the commit's)."""
    fields = [*(pa.field(column.name, column.type) for column in TABLES[relation].columns), *more]
    return pa.Table.from_struct_array(pa.array(content, pa.struct(fields)))
