"""A simulated archive as it grew: what lay there on an earlier night, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from clnm.simulate import dicom
from clnm.simulate.archive import STAMP, invent_persons
from clnm.simulate.cohort import Case, draw_cohort, parse_drift
from clnm.simulate.scanners import CENTERS, Center
from clnm.simulate.tables import write_text

_COPYING = timedelta(minutes=2)
"""Files of the last minute may still be being copied: the growing archive is dated back."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One patient's examination as files of an archive; paths are relative to the center's folder."""

    center: Center
    case: Case
    person: dicom.Person
    image: Path
    mask_stem: str

    def masks(self, folder: Path) -> list[Path]:
        """The masks of it in the center's `folder`."""
        return sorted((folder / "masks").glob(f"{self.mask_stem}_r*.nrrd"))


def read_arrivals(simulated: Path) -> list[Arrival]:
    """Every examination of a finished simulation, the earliest first."""
    stamp = json.loads((simulated / STAMP).read_text(encoding="utf-8"))
    drift = [parse_drift(text) for text in stamp["drift"]]
    cases = draw_cohort(stamp["patients"], stamp["seed"], datetime.fromisoformat(stamp["until"]), drift)
    arrivals = []
    for case, person in zip(cases, invent_persons(cases, stamp["seed"]), strict=True):
        center = next(known for known in CENTERS if known.name == case.center)
        path = dicom.image_path(center, case, person)
        arrivals.append(Arrival(center, case, person, path, dicom.mask_stem(center, case, path)))
    return sorted(arrivals, key=lambda arrival: arrival.case.exam_at)


def deliver(simulated: Path, target: Path, arrivals: Sequence[Arrival], *, now: datetime) -> None:
    """Make `target` an installation in which these examinations lie, with their table rows and no others.

    What is there already stays as it is. Answers that pathology gave later than `now` are left out.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in ("clnm.toml", "radiomics.yaml"):
        if not (target / name).exists():
            shutil.copyfile(simulated / name, target / name)
    for center in CENTERS:
        here = [arrival for arrival in arrivals if arrival.center == center]
        source, folder = simulated / "archives" / center.name, target / "archives" / center.name
        for arrival in here:
            for path in (arrival.image, *(mask.relative_to(source) for mask in arrival.masks(source))):
                _copy(source / path, folder / path)
        _copy_rows(source, folder, "clinical.csv", center, {arrival.person.patient_id for arrival in here})
        answered = {arrival.person.patient_id for arrival in here if arrival.case.known_on <= now.date()}
        _copy_rows(source, folder, "outcomes.csv", center, answered)
    date_back(target / "archives", now)


def date_back(folder: Path, now: datetime) -> None:
    """Give files that were written a moment ago an age at which nobody copies them any more."""
    settled = (now - _COPYING).timestamp()
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mtime > settled:
            os.utime(path, (settled, settled))


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _copy_rows(source: Path, folder: Path, name: str, center: Center, patients: set[str]) -> None:
    """The rows of new patients are added; those that are there stay, in whatever words."""
    separator = center.table.separator
    header, *lines = (source / name).read_text(encoding="utf-8").splitlines()
    table = folder / name
    there = table.read_text(encoding="utf-8").splitlines() if table.exists() else [header]
    known = {line.split(separator, 1)[0] for line in there}
    new = [line for line in lines if (patient := line.split(separator, 1)[0]) in patients and patient not in known]
    if new or not table.exists():
        write_text(table, "\n".join([*there, *new]) + "\n")
