import csv
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest

from clnm.entities import Reason
from clnm.errors import UserError
from clnm.settings import read_settings
from clnm.simulate import Drift, DriftKind, parse_drift, simulate_archive

UNTIL = datetime(2026, 2, 1, tzinfo=UTC)
PATIENTS = 16
OF_LATER_STAGES = {
    "batch_dropped",
    "near_duplicate",
    "roi_too_small",
    "extraction_failed",
    "worker_crash",
    "memory",
    "timeout",
}
OF_DISKS_SERVERS_AND_SECOND_LOOKS = {
    "permission",
    "io_error",
    "decoder_crash",
    "still_copying",
    "not_fetched",
    "not_delivered",
    "checksum_changed",
}
OF_INDEX_TABLES = {"not_in_index", "missing_image"}
NEVER_GIVEN = {"table_unreadable"}
NOT_PLANTED = OF_LATER_STAGES | OF_DISKS_SERVERS_AND_SECOND_LOOKS | OF_INDEX_TABLES | NEVER_GIVEN


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return simulate_archive(tmp_path_factory.mktemp("plain"), patients=PATIENTS, until=UNTIL)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    return simulate_archive(tmp_path_factory.mktemp("faulty"), patients=PATIENTS, until=UNTIL, faults=True, workers=2)


def digests(directory: Path) -> dict[str, str]:
    files = [p for p in directory.rglob("*") if p.is_file() and p.name != "simulation.json"]
    return {p.relative_to(directory).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def truth(simulation):
    with (simulation.directory / "truth" / "truth.csv").open() as file:
        return list(csv.DictReader(file))


def dicoms(directory: Path):
    for path in sorted((directory / "archives").rglob("*")):
        if path.is_file() and path.suffix not in {".csv", ".nrrd", ".zip", ".tar"} and "incoming" not in path.parts:
            yield path, pydicom.dcmread(path)


def test_the_same_call_gives_the_same_bytes_with_any_number_of_workers(plain, tmp_path):
    again = simulate_archive(tmp_path, patients=PATIENTS, until=UNTIL, workers=2)
    assert digests(again.directory) == digests(plain.directory)


def test_another_seed_gives_other_pictures(plain, tmp_path):
    other = simulate_archive(tmp_path, patients=PATIENTS, seed=1, until=UNTIL)
    same = set(digests(other.directory).values()) & set(digests(plain.directory).values())
    kept = {digests(plain.directory)[name] for name in ("clnm.toml", "radiomics.yaml")}
    assert same == kept


def test_a_second_call_finds_the_archive_and_touches_nothing(plain):
    before = {p: p.stat().st_mtime_ns for p in plain.directory.rglob("*")}
    later = simulate_archive(plain.directory, patients=PATIENTS, until=UNTIL + timedelta(days=3))
    assert later == plain
    assert {p: p.stat().st_mtime_ns for p in plain.directory.rglob("*")} == before


def test_a_folder_with_another_simulation_is_refused_with_the_difference(plain):
    with pytest.raises(UserError, match="differs in seed"):
        simulate_archive(plain.directory, patients=PATIENTS, seed=9, until=UNTIL)
    with pytest.raises(UserError, match="differs in until"):
        simulate_archive(plain.directory, patients=PATIENTS, until=UNTIL - timedelta(days=1))


def test_a_folder_with_somebody_elses_configuration_is_refused(tmp_path):
    (tmp_path / "clnm.toml").write_text("# mine")
    with pytest.raises(UserError, match="empty folder"):
        simulate_archive(tmp_path, patients=PATIENTS, until=UNTIL)
    assert (tmp_path / "clnm.toml").read_text() == "# mine"


def test_a_killed_simulation_is_started_again_in_the_same_folder(plain, tmp_path):
    def kill(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_archive(tmp_path, patients=PATIENTS, until=UNTIL, progress=kill)
    assert not (tmp_path / "simulation.json").exists()
    simulate_archive(tmp_path, patients=PATIENTS, until=UNTIL)
    assert digests(tmp_path) == digests(plain.directory)


def test_every_patient_has_one_readable_image_with_its_spacing_and_a_mask_on_its_grid(plain):
    import SimpleITK as sitk  # noqa: N813 - the name everybody knows it by

    stems = {p.name for p in plain.directory.rglob("*_r1.nrrd")}
    seen = 0
    for path, header in dicoms(plain.directory):
        pixels = header.pixel_array
        region = header.SequenceOfUltrasoundRegions[0]
        assert region.PhysicalUnitsXDirection == region.PhysicalUnitsYDirection == 3
        assert 0.005 < region.PhysicalDeltaX < 0.012
        stem = path.name.removesuffix(path.suffix)
        masks = [name for name in stems if name in {f"{stem}_r1.nrrd", f"{stem}_f002_r1.nrrd"}]
        assert len(masks) == 1
        center = path.relative_to(plain.directory / "archives").parts[0]
        mask = sitk.GetArrayFromImage(sitk.ReadImage(plain.directory / "archives" / center / "masks" / masks[0]))
        assert mask.shape == (header.Rows, header.Columns)
        assert set(np.unique(mask)) == {0, 1}
        rows, columns = np.nonzero(mask)
        assert region.RegionLocationMinY0 <= rows.min() <= rows.max() <= region.RegionLocationMaxY1
        assert region.RegionLocationMinX0 <= columns.min() <= columns.max() <= region.RegionLocationMaxX1
        assert pixels.size >= header.Rows * header.Columns
        seen += 1
    assert seen == PATIENTS


def test_the_four_centers_write_four_kinds_of_dicom(plain):
    kinds = {
        (
            path.relative_to(plain.directory / "archives").parts[0],
            h.PhotometricInterpretation,
            h.file_meta.TransferSyntaxUID.is_compressed,
            int(h.get("NumberOfFrames", 1)),
        )
        for path, h in dicoms(plain.directory)
    }
    assert kinds == {
        ("C1", "MONOCHROME2", False, 1),
        ("C2", "RGB", False, 1),
        ("C3", "MONOCHROME2", True, 1),
        ("C3", "YBR_FULL_422", True, 1),
        ("C4", "MONOCHROME2", False, 1),
        ("C4", "MONOCHROME2", False, 4),
    }


def test_the_name_is_burned_in_above_the_region_and_nothing_but_the_region_is_tissue(plain):
    for _, header in dicoms(plain.directory):
        frame = header.pixel_array if header.get("NumberOfFrames", 1) == 1 else header.pixel_array[0]
        grey = frame if frame.ndim == 2 else frame[..., 0]
        top = header.SequenceOfUltrasoundRegions[0].RegionLocationMinY0
        assert (grey[:20, :160] > 150).sum() > 100
        assert (grey[top - 4 : top] < 40).mean() > 0.9


def test_the_configuration_is_accepted_and_its_columns_exist_in_the_tables(plain):
    settings = read_settings(plain.config)
    assert [(c.name, str(c.role)) for c in settings.center] == [
        ("C1", "train"),
        ("C2", "train"),
        ("C3", "external"),
        ("C4", "external"),
    ]
    for center in settings.center:
        columns = set()
        for table in (center.clinical, center.outcomes):
            first = (plain.directory / table).read_text().splitlines()[0]
            columns |= set(first.split(center.table.separator))
        assert columns == set(center.columns.values())


def test_all_words_of_the_tables_are_mapped(plain):
    settings = read_settings(plain.config)
    for center in settings.center:
        for table in (center.clinical, center.outcomes):
            with (plain.directory / table).open() as file:
                rows = list(csv.DictReader(file, delimiter=center.table.separator))
            for ours, words in center.values.items():
                column = center.columns[ours]
                if rows and column in rows[0]:
                    assert {row[column] for row in rows} <= {*words, "n/a", ""}


def test_answers_later_than_until_are_not_in_the_files_yet(plain):
    rows = truth(plain)
    pending = [r for r in rows if r["known_on"] > UNTIL.date().isoformat()]
    assert len(pending) == plain.n_pending
    written = sum(
        len((plain.directory / "archives" / c / "outcomes.csv").read_text().splitlines()) - 1 for c in plain.patients
    )
    assert written == PATIENTS - len(pending)


def test_gain_drift_changes_only_pictures_of_its_center_in_the_last_thirty_days(plain, tmp_path):
    drifted = simulate_archive(tmp_path, patients=PATIENTS, until=UNTIL, drift=[Drift("C3", DriftKind.GAIN)])
    before, after = digests(plain.directory), digests(drifted.directory)
    changed = {name for name in before if before[name] != after[name]}
    assert set(before) == set(after)
    assert changed
    for name in changed:
        assert name.startswith("archives/C3/")
        header = pydicom.dcmread(tmp_path / name)
        exam = datetime.strptime(header.StudyDate, "%Y%m%d").replace(tzinfo=UTC)
        assert UNTIL - timedelta(days=30) <= exam < UNTIL
        top, left = header.SequenceOfUltrasoundRegions[0].RegionLocationMinY0, 100
        louder = pydicom.dcmread(tmp_path / name).pixel_array[top + 20 : -60, left:-100].mean()
        assert louder > pydicom.dcmread(plain.directory / name).pixel_array[top + 20 : -60, left:-100].mean() + 15


def test_every_fault_is_recorded_and_lies_beside_untouched_clean_files(plain, faulty):
    clean, bad = digests(plain.directory), digests(faulty.directory)
    extra = set(bad) - set(clean)
    changed = {name for name in clean if clean[name] != bad[name]}
    assert changed == {"clnm.toml", *(f"archives/{center}/clinical.csv" for center in ("C1", "C3", "C4"))}
    listed = {fault.path.split("!")[0] for fault in faulty.faults}
    assert extra - {"truth/faults.csv"} == listed - changed
    assert {fault.reason for fault in faulty.faults} == {reason for reason in Reason if reason not in NOT_PLANTED}
    with (faulty.directory / "truth" / "faults.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["fault"], r["path"], r["status"], r["reason"]) for r in rows] == [
        (f.fault, f.path, f.status, f.reason) for f in faulty.faults
    ]


def test_planted_files_are_as_bad_as_they_say(faulty):
    place = {fault.fault: faulty.directory / fault.path for fault in faulty.faults}
    assert place["zero_bytes"].stat().st_size == 0
    assert b"DICM" not in place["text_as_dicom"].read_bytes()[:132]
    assert "PixelData" not in pydicom.dcmread(place["no_pixels"])
    assert "PatientID" not in pydicom.dcmread(place["no_patient_id"])
    whole = {p.read_bytes() for p, _ in dicoms(faulty.directory)}
    assert place["duplicate"].read_bytes() in whole
    with pytest.raises((ValueError, EOFError, OSError)):
        _ = pydicom.dcmread(place["truncated_native"]).pixel_array


def test_a_drift_is_read_from_text_or_refused_with_the_known_ones():
    assert parse_drift("C3:gain") == Drift("C3", DriftKind.GAIN)
    with pytest.raises(UserError, match="known: gain, scanner, prevalence, label"):
        parse_drift("C3:gian")
    with pytest.raises(UserError, match="known: C1, C2, C3, C4"):
        parse_drift("C9:gain")
    with pytest.raises(UserError, match="CENTER:KIND"):
        parse_drift("gain")


def test_a_time_without_a_zone_and_too_few_patients_are_refused(tmp_path):
    with pytest.raises(UserError, match="time zone"):
        simulate_archive(tmp_path, until=UNTIL.replace(tzinfo=None))
    with pytest.raises(UserError, match="at least 16"):
        simulate_archive(tmp_path, patients=7, until=UNTIL)
    assert not list(tmp_path.iterdir())
