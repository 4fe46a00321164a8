"""Forgetting a patient: rows, older versions, cached pixels and ledger links; models that learned are named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clnm.archive.entry import Entry, Kind
from clnm.archive.ledger import Ledger
from clnm.errors import UserError
from clnm.imaging import cache
from clnm.pipeline.run import Run, open_run
from clnm.store import maintenance

_BY_PATIENT = ("images", "rois", "clinical", "outcomes", "scores")
_BY_ROI = ("radiomics", "deep")
_LEDGER = "ledger/"


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
        found = [entry for ledger in _ledgers(run).values() for entry in ledger.of_patient(patient_key)]
        image_keys = {*(row["image_key"] for row in (*rois, *images)), *(e.image_key for e in found if e.image_key)}
        found = [entry for ledger in _ledgers(run).values() for entry in ledger.of_patient(patient_key, image_keys)]
        file_keys = {entry.file_key for entry in found}
        roi_keys = {*(row["roi_key"] for row in rois), *_drawn(run, found)}
        predicates = {name: {"patient_key": [patient_key]} for name in _BY_PATIENT}
        predicates |= {name: {"roi_key": sorted(roi_keys)} for name in _BY_ROI}
        predicates["files"] = {"image_key": sorted(image_keys), "file_key": sorted(file_keys)}
        predicates["quarantine"] = {"item_key": [*image_keys, *roi_keys, *file_keys, patient_key]}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        # Each step is found by the keys of the later ones, rows last: a run that was killed can be repeated.
        files = cache.forget(run.installation.pixels, [*image_keys, *roi_keys])
        _forget_in_ledgers(run, patient_key, image_keys)
        count = maintenance.erase(
            run.installation.root,
            predicates,
            run.writer.publish,
            run_id=run.run_id,
            committed_at=now,
            before_deleting=store.rebuild_catalog,
        )
        if not count and not found:
            raise UserError(f"no patient {patient_key!r} in the store")
    return {"patient_key": patient_key, "rows": count, "files": files, "model_versions": models}


def _drawn(run: Run, entries: Sequence[Entry]) -> Iterator[str]:
    """The ROIs of some masks, published or not: their pixels are kept under these keys."""
    pseudonyms = run.installation.pseudonyms()
    for mask in entries:
        if mask.kind is Kind.MASK and mask.image_key and mask.labels:
            yield from (pseudonyms.roi(mask.image_key, mask.reader, int(label)) for label in mask.labels.split(","))


def _ledgers(run: Run) -> dict[str, Ledger]:
    """Every ledger of the store by its name, also those of centers that are no longer configured."""
    root, kept = run.installation.root, run.installation.store.manifest().kept
    return {name: Ledger.read(root / path) for name, path in kept.items() if name.startswith(_LEDGER)}


def _forget_in_ledgers(run: Run, patient_key: str, image_keys: set[str]) -> None:
    with run.commit() as batch:
        for name, ledger in _ledgers(run).items():
            path = f"private/ledger/{name.removeprefix(_LEDGER)}-{run.run_id}.parquet"
            ledger.without(patient_key, image_keys).write(run.installation.root / path)
            batch.keep(name, path)
