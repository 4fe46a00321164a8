"""The whole make-believe archive: four hospitals' pictures, masks and tables, the configuration and the truth."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clnm.entities import FileStatus, ItemKind, Reason, Role
from clnm.errors import UserError
from clnm.simulate import dicom, tables
from clnm.simulate.anatomy import build_anatomy, reader_mask
from clnm.simulate.cohort import Case, Drift, DriftKind, area_under_curve, case_generator, draw_cohort
from clnm.simulate.faults import FAULTY_ARCHIVES, Fault, faults_csv, plant_faults
from clnm.simulate.masks import full_frame, write_mask_file
from clnm.simulate.scanners import CENTERS, Center, Scanner, louder, replaced
from clnm.simulate.speckle import compress, envelope, scatter

_VERSION = 1
STAMP = "simulation.json"
_SECOND_READER_FRACTION = 0.2
_CLIP_FRAMES = 4
_SETTLED_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulated archive on disk."""

    directory: Path
    config: Path
    patients: Mapping[str, int]
    """Center to number of patients."""
    best_auc: float
    """AUC of the exact posterior over all centers' patients: no method beats it but by luck. NaN: only one class."""
    best_auc_external: float
    n_pending: int
    """Patients whose pathology is not in the files yet."""
    until: datetime
    faults: tuple[Fault, ...]


def simulate_archive(
    directory: Path,
    *,
    patients: int = 214,
    seed: int = 2025,
    until: datetime,
    drift: Sequence[Drift] = (),
    faults: bool = False,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> Simulation:
    """Write the archive under `directory`, or find the same one there.

    The bytes depend on `patients`, `seed`, `until`, `drift` and `faults`, not on `workers`. An archive does not age: a
    call that asks for a later `until` than the one on disk gets the one on disk.

    Raises:
        UserError: `until` has no time zone, too few patients, or `directory` holds another archive.
    """
    if until.utcoffset() is None:
        raise UserError("until needs a time zone, for example 2026-01-31T00:00:00+00:00")
    wanted = {
        "version": _VERSION,
        "patients": patients,
        "seed": seed,
        "drift": sorted({f"{d.center}:{d.kind}" for d in drift}),
        "faults": faults,
    }
    if found := _find(directory, wanted, until):
        return found
    cases = draw_cohort(patients, seed, until, drift)
    persons = invent_persons(cases, seed)
    _claim(directory, wanted)
    tables.write_text(directory / "clnm.toml", tables.config_toml(FAULTY_ARCHIVES if faults else {}))
    parameters = resources.files("clnm").joinpath("radiomics.yaml").read_text(encoding="utf-8")
    tables.write_text(directory / "radiomics.yaml", parameters)
    tables.write_text(directory / "truth" / "truth.csv", tables.truth_csv(cases, persons))
    for center in CENTERS:
        rows = [k for k, case in enumerate(cases) if case.center == center.name]
        folder, of, whose = directory / "archives" / center.name, [cases[k] for k in rows], [persons[k] for k in rows]
        tables.write_text(folder / "clinical.csv", tables.clinical_csv(center, of, whose))
        tables.write_text(folder / "outcomes.csv", tables.outcomes_csv(center, of, whose, until))
    jobs = [(directory, seed, case, person) for case, person in zip(cases, persons, strict=True)]
    with _mapping(workers) as map_jobs:
        for done, _ in enumerate(map_jobs(_write_case, jobs), start=1):
            if progress:
                progress(done, len(jobs))
    planted = _plant(directory, cases, persons) if faults else []
    _settle(directory / "archives", until)
    return _stamp(directory, wanted, cases, until, planted)


def _write_case(job: tuple[Path, int, Case, dicom.Person]) -> None:
    """One patient's image and masks; everything random comes from the case's own generator."""
    directory, seed, case, person = job
    center = next(known for known in CENTERS if known.name == case.center)
    generator = case_generator(seed, CENTERS.index(center), case.index, 1)
    scanner = _scanner_of(case, center)
    anatomy = build_anatomy(case, scanner, generator)
    field = scatter(anatomy, scanner.spacing_mm, generator)
    path = dicom.image_path(center, case, person)
    frames = [
        dicom.draw_frame(region, center, scanner, person, case.exam_at)
        for region in _regions(field, scanner, generator, is_clip=dicom.is_clip(center, case))
    ]
    folder = directory / "archives" / center.name
    header = dicom.make_dataset(center, case, scanner, person)
    dicom.write_dicom(folder / path, header, frames, style=_style(center, case))
    readers = ("r1", "r2") if generator.random() < _SECOND_READER_FRACTION else ("r1",)
    for reader in readers:
        mask = full_frame(reader_mask(anatomy.lesion, scanner, generator), scanner)
        name = f"{dicom.mask_stem(center, case, path)}_{reader}.nrrd"
        write_mask_file(folder / "masks" / name, mask, scanner.spacing_mm)


def _regions(
    field: NDArray[np.complex64], scanner: Scanner, generator: np.random.Generator, *, is_clip: bool
) -> Iterator[NDArray[np.uint8]]:
    """The picture, or a clip of it: the tissue slips one pixel sideways per frame; the annotated frame is at rest."""
    slips = [k - dicom.ANNOTATED_FRAME for k in range(_CLIP_FRAMES)] if is_clip else [0]
    for slip in slips:
        yield compress(envelope(np.roll(field, slip, axis=1), scanner, generator), scanner)


def _scanner_of(case: Case, center: Center) -> Scanner:
    scanner = center.scanner
    if DriftKind.GAIN in case.drifts:
        scanner = louder(scanner)
    return replaced(scanner) if DriftKind.SCANNER in case.drifts else scanner


def _style(center: Center, case: Case) -> str:
    if center.name == "C3":
        return "jpeg_colour" if case.index % 3 == 2 else "jpeg"
    return "rgb" if center.name == "C2" else "grey"


def invent_persons(cases: Sequence[Case], seed: int) -> list[dicom.Person]:
    """Who the patients of these cases are, in their order."""
    persons = []
    for case in cases:
        place = next(k for k, center in enumerate(CENTERS) if center.name == case.center)
        generator = case_generator(seed, place, case.index, 2)
        persons.append(dicom.invent_person(CENTERS[place], case, generator))
    return persons


def _plant(directory: Path, cases: Sequence[Case], persons: Sequence[dicom.Person]) -> list[Fault]:
    images = {}
    for center in CENTERS:
        case, person = next((c, p) for c, p in zip(cases, persons, strict=True) if c.center == center.name)
        images[center.name] = Path("archives", center.name) / dicom.image_path(center, case, person)
    planted = plant_faults(directory, images)
    tables.write_text(directory / "truth" / "faults.csv", faults_csv(planted))
    return planted


def _settle(folder: Path, until: datetime) -> None:
    """Date the files back: a file that was touched a moment ago looks like one that is still being copied."""
    moment = min(until.timestamp(), time.time() - _SETTLED_SECONDS)
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (moment, moment), follow_symlinks=False)


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A map over the cases: in this process, or over `workers` processes with the results in the same order."""
    if workers <= 1:
        yield map
        return
    with ProcessPoolExecutor(workers) as pool:
        yield lambda function, jobs: pool.map(function, jobs, chunksize=4)


def _find(directory: Path, wanted: Mapping[str, Any], until: datetime) -> Simulation | None:
    """The simulation that is there already.

    Raises:
        UserError: another one is there, or something that is no finished simulation.
    """
    stamp = directory / STAMP
    if not stamp.is_file():
        if ((directory / "archives").exists() or (directory / "clnm.toml").exists()) and _claimed(directory) != dict(
            wanted
        ):
            raise UserError("the folder holds an archive that is not this simulation's; name an empty folder")
        return None
    try:
        found = json.loads(stamp.read_text(encoding="utf-8"))
        made_until = datetime.fromisoformat(found["until"])
        is_same = all(found.get(key) == value for key, value in wanted.items())
        if is_same and made_until <= until:
            return _from_stamp(directory, found)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{STAMP} is damaged; delete the folder or name an empty one") from error
    differing = [key for key, value in wanted.items() if found.get(key) != value] or ["until"]
    raise UserError(
        f"the folder holds another simulation (differs in {', '.join(differing)}); name an empty folder, or delete it"
    )


def _claim(directory: Path, wanted: Mapping[str, Any]) -> None:
    """Note what is being made, so that a killed simulation can be started again in the same folder."""
    tables.write_text(directory / f"{STAMP}.partial", json.dumps(wanted))


def _claimed(directory: Path) -> Any:
    partial = directory / f"{STAMP}.partial"
    return json.loads(partial.read_text(encoding="utf-8")) if partial.is_file() else None


def _stamp(
    directory: Path, wanted: Mapping[str, Any], cases: Sequence[Case], until: datetime, planted: Sequence[Fault]
) -> Simulation:
    """Write the stamp, last and whole, and read it back as the result."""
    external = {center.name for center in CENTERS if center.role is Role.EXTERNAL}
    content = dict(wanted) | {
        "until": until.isoformat(),
        "centers": {c.name: sum(case.center == c.name for case in cases) for c in CENTERS},
        "best_auc": _best_auc(cases),
        "best_auc_external": _best_auc([case for case in cases if case.center in external]),
        "n_pending": sum(tables.is_pending(case, until) for case in cases),
        "planted": [asdict(fault) for fault in planted],
        "truth_sha256": hashlib.sha256((directory / "truth" / "truth.csv").read_bytes()).hexdigest(),
    }
    scratch = directory / f"{STAMP}.partial"
    with scratch.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(directory / STAMP)
    return _from_stamp(directory, content)


def _from_stamp(directory: Path, content: Mapping[str, Any]) -> Simulation:
    planted = tuple(
        Fault(f["fault"], f["path"], ItemKind(f["kind"]), f["status"] and FileStatus(f["status"]), Reason(f["reason"]))
        for f in content["planted"]
    )
    best, external = (math.nan if content[k] is None else float(content[k]) for k in ("best_auc", "best_auc_external"))
    return Simulation(
        directory,
        directory / "clnm.toml",
        dict(content["centers"]),
        best,
        external,
        int(content["n_pending"]),
        datetime.fromisoformat(content["until"]),
        planted,
    )


def _best_auc(cases: Sequence[Case]) -> float | None:
    auc = area_under_curve([case.outcome for case in cases], [case.posterior for case in cases])
    return None if math.isnan(auc) else auc
