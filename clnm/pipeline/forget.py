"""Forgetting a patient: rows, older versions, cached pixels and ledger links; models that learned are named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clnm.archive.ledger import Ledger
from clnm.errors import UserError
from clnm.imaging import cache
from clnm.pipeline.run import Run, open_run
from clnm.store import maintenance

_BY_PATIENT = ("images", "rois", "clinical", "outcomes", "scores")
_BY_ROI = ("radiomics", "deep")


def forget_patient(config: Path, patient_key: str) -> dict[str, Any]:
    """Remove everything of a patient that the store holds.

    The source archive is not touched: as long as it holds the patient's files, the next ingest takes them in again, so
    remove them there first.

    Raises:
        UserError: no such patient.
    """
    with open_run(config, command="forget") as run:
        store = run.installation.store
        rois = store.run_query("rois_of_patient", patient_key=patient_key)
        images = store.run_query("images_of_patient", patient_key=patient_key)
        models = [row["model_version"] for row in store.run_query("models_trained_on", patient_key=patient_key)]
        image_keys = sorted({row["image_key"] for row in (*rois, *images)})
        roi_keys = sorted({row["roi_key"] for row in rois})
        predicates = {name: {"patient_key": [patient_key]} for name in _BY_PATIENT}
        predicates |= {name: {"roi_key": roi_keys} for name in _BY_ROI}
        predicates["files"] = {"image_key": image_keys}
        predicates["quarantine"] = {"item_key": [*image_keys, *roi_keys, patient_key]}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        # The rows go last: as long as they are there, a run that was killed can be repeated with their keys.
        _forget_in_ledgers(run, patient_key, set(image_keys))
        files = cache.forget(run.installation.pixels, [*image_keys, *roi_keys])
        count = maintenance.erase(
            run.installation.root,
            predicates,
            run.writer.publish,
            run_id=run.run_id,
            committed_at=now,
            before_deleting=store.rebuild_catalog,
        )
        if not count:
            raise UserError(f"no patient {patient_key!r} in the store")
    return {"patient_key": patient_key, "rows": count, "files": files, "model_versions": models}


def _forget_in_ledgers(run: Run, patient_key: str, image_keys: set[str]) -> None:
    with run.commit() as batch:
        for center in run.centers:
            kept = run.installation.store.kept(f"ledger/{center}")
            if kept is None:
                continue
            ledger = Ledger.read(run.installation.root / kept)
            path = f"private/ledger/{center}-{run.run_id}.parquet"
            ledger.without(patient_key, image_keys).write(run.installation.root / path)
            batch.keep(f"ledger/{center}", path)
