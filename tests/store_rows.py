"""Small stores with rows that are easy to reason about, for the tests of the store."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from clnm.entities import ClinicalVariable, Lineage, VariableKind
from clnm.store import Store
from clnm.store.tables import TABLES

DAY_0 = datetime(2024, 1, 1, tzinfo=UTC)
LINEAGE = Lineage("run-1", "0.1.0", "config")
VARIABLES = (
    ClinicalVariable("age", VariableKind.NUMBER, unit="years"),
    ClinicalVariable("edge", VariableKind.CATEGORY, levels=("clear", "unclear")),
)
FEATURES = ("original_firstorder_Mean", "original_glcm_Contrast")
GATED = ("images", "rois", "clinical", "outcomes", "radiomics", "deep")


def day(number):
    return DAY_0 + timedelta(days=number)


def open_store(root, variables=VARIABLES):
    return Store(root, variables=variables)


def table_of(relation, rows, **extra):
    """Rows with every column that is not given filled by a plain value of its type; `extra` names more columns."""
    columns = {column.name: column.type for column in TABLES[relation].columns} | extra
    filled = [{name: row.get(name, _plain(name, kind)) for name, kind in columns.items()} for row in rows]
    return pa.Table.from_pylist(filled, schema=pa.schema(list(columns.items())))


def case_tables(center, number, known_at, *, features=FEATURES, value=1.0, answer=True, age=50.0):
    """Every gated relation's rows of one case: a patient, an image, a ROI, and what is known of them."""
    patient, study, image = (
        f"patient-{center}-{number:04d}",
        f"study-{center}-{number:04d}",
        f"image-{center}-{number:04d}",
    )
    keys = {
        "patient_key": patient,
        "study_key": study,
        "image_key": image,
        "roi_key": f"roi-{center}-{number:04d}",
        "case_key": f"case-{center}-{number:04d}",
        "center": center,
        "acquired_at": known_at - timedelta(days=1),
        "known_at": known_at,
        "computed_at": known_at,
        "sha256": f"sha-{center}-{number:04d}",
        "mask_sha256": f"mask-{center}-{number:04d}",
        "feature_set_version": "v1",
        "reader": "r1",
        "rows_px": 100,
        "columns_px": 200,
        "area_px": 400,
        "area_mm2": 4.0,
        "spacing_x_mm": 0.1,
        "spacing_y_mm": 0.1,
    }
    radiomics = keys | dict.fromkeys(features, value)
    return {
        "images": table_of("images", [keys]),
        "rois": table_of("rois", [keys]),
        "clinical": table_of("clinical", [keys | {"age": age, "edge": "clear"}], age=pa.float64(), edge=pa.string()),
        "outcomes": table_of("outcomes", [keys | {"value": answer}]),
        "radiomics": table_of("radiomics", [radiomics], **dict.fromkeys(features, pa.float64())),
        "deep": table_of("deep", [keys | {"embedding": [float(number + 1), 1.0]}]),
    }


def stage_cases(batch, center, numbers, known_at, **options):
    tables = [case_tables(center, number, known_at, **options) for number in numbers]
    for relation in GATED:
        batch.stage(relation, center, pa.concat_tables([table[relation] for table in tables]))


def open_writer(store, run_id="run-1"):
    return store.writer(run_id=run_id, command="test", started_at=DAY_0)


def write_night(store, numbers, *, center="C1", known_at=DAY_0, run_id="run-1", **options):
    """Stage and publish some cases in two commits, as a night does; one file state and one run beside them."""
    lineage = Lineage(run_id, "0.1.0", "config")
    with open_writer(store, run_id) as writer:
        with writer.commit(lineage) as batch:
            stage_cases(batch, center, numbers, known_at, **options)
            file = {
                "file_key": f"file-{center}-{run_id}",
                "center": center,
                "last_seen_at": known_at,
                "image_key": None,
            }
            batch.append("files", table_of("files", [file]))
        with writer.commit(lineage) as batch:
            batch.publish(center)
            batch.append("centers", table_of("centers", [{"center": center, "role": "train", "known_at": known_at}]))
            batch.append(
                "runs", table_of("runs", [{"started_at": known_at, "finished_at": known_at, "status": "done"}])
            )


def answers(store, question, **options):
    return [tuple(row.values()) for row in store.ask(question, **options).to_pylist()]


def _plain(name, kind):
    if name == "stage_ms":
        return "{}"
    if pa.types.is_string(kind):
        return f"{name}-0"
    if pa.types.is_timestamp(kind):
        return DAY_0
    if pa.types.is_list(kind):
        return [1.0, 0.0]
    return {pa.int64(): 1, pa.float64(): 1.0, pa.bool_(): False}[kind]
