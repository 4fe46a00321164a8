"""A canary's name in every field, path, member, overlay and cell: no night tells it outside `private/`."""

import io
import os
import subprocess
import sys
import zipfile

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from clnm.settings import make_pseudonym_key
from tests.unit.intake_archives import blob, dicom, pixels, png, put, region, volume

pytestmark = pytest.mark.long

NAME = "Zwitscherling"
NEEDLES = [
    NAME.lower().encode(),
    NAME.upper().encode(),
    NAME.encode(),
    NAME.encode("utf-16-le"),
    NAME.encode("utf-16-be"),
]
PIXELS = b"BurnedInZwitscher"
SHAPE = (48, 64)
BOX = (4, 10, 59, 43)
TEXT_FIELDS = {
    "PN": ("PatientName", "OtherPatientNames", "ReferringPhysicianName", "OperatorsName", "PhysiciansOfRecord"),
    "LO": ("PatientID", "InstitutionName", "Manufacturer", "ManufacturerModelName", "StudyDescription",
           "SeriesDescription", "ProtocolName", "DeviceSerialNumber", "IssuerOfPatientID"),
    "SH": ("AccessionNumber", "StationName", "StudyID"),
    "ST": ("InstitutionAddress", "DerivationDescription"),
    "LT": ("ImageComments", "PatientComments", "AdditionalPatientHistory"),
    "UT": ("TextValue",),
    "CS": ("BodyPartExamined", "PatientSex", "Laterality"),
    "AE": ("RetrieveAETitle",),
}  # fmt: skip


def canary_dicom(number, **elements):
    """A good file with the name in every field of text, private and nested elements, an overlay, and in pixels."""
    array = pixels(number, SHAPE)
    array[2, 3 : 3 + len(PIXELS)] = np.frombuffer(PIXELS, dtype=np.uint8)
    dataset = dcmread(io.BytesIO(dicom(number, array=array, regions=[region(BOX)])))
    for kind, names in TEXT_FIELDS.items():
        for name in names:
            if dictionary_VR(name) == kind:
                setattr(dataset, name, f"{NAME}^{number}" if kind == "PN" else f"{NAME.upper()} {number}")
    dataset.StudyInstanceUID = f"1.2.3.{number}"
    dataset.PatientBirthDate = "19610304"
    item = Dataset()
    item.PatientName, item.PatientID = f"{NAME}^Nested", NAME
    dataset.RequestAttributesSequence = Sequence([item])
    dataset.private_block(0x0011, NAME, create=True).add_new(1, "LO", NAME)
    dataset.add_new(0x60000010, "US", SHAPE[0])
    dataset.add_new(0x60000011, "US", SHAPE[1])
    dataset.add_new(0x60000022, "LO", NAME)
    dataset.add_new(0x60003000, "OW", NAME.encode() * 30 + b"\x00" * 2)
    for name, value in elements.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def canary_archive(directory):
    nrrd = volume(blob(SHAPE, top=20, left=20, height=12, width=14), ".nrrd", directory)
    nrrd = nrrd.replace(b"\nsizes:", f"\n# {NAME}\ncontent: {NAME}\nsizes:".encode(), 1)
    drawn = png(blob(SHAPE, top=20, left=20, height=12, width=14))
    put(
        directory / f"{NAME}_share",
        {
            f"{NAME}_Anna/{NAME}1.dcm": canary_dicom(1),
            f"{NAME}_Anna/{NAME}1_mask.nrrd": nrrd,
            f"{NAME}_Anna/{NAME}1_{NAME}.png": drawn,  # drawn by a reader of this name
            f"{NAME}2.zip": zipped({f"{NAME}/{NAME}2.dcm": canary_dicom(2), f"../{NAME}.dcm": b"x"}),
            f"{NAME}3.dcm": canary_dicom(3),
            f"{NAME}3_mask.png": png(blob((9, 9))),
            f"bad/{NAME}.dcm": canary_dicom(4)[:900],
            f"bad/{NAME}_rows.dcm": canary_dicom(5).replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00KS", 1),
            f"bad/{NAME}_frames.dcm": dicom(6, NumberOfFrames="1").replace(b"IS\x02\x001 ", b"IS\x02\x00Zw", 1),
            f"bad/{NAME}_none.dcm": b"DICM" + NAME.encode(),
            f"bad/{NAME}.txt": f"{NAME}",
            f"bad/{NAME}.mha": f"PatientName = {NAME}\nNDims = {NAME}\n",
            f"bad/{NAME}.nii": f"{NAME}" * 50,
            f"bad/{NAME}.tar": f"{NAME}" * 50,
            f"twin/{NAME}.dcm": canary_dicom(1),
        },
    )
    for path in (directory / f"{NAME}_share").rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))  # long ago: nothing is still being copied
    rows = [f"{NAME.upper()} {number};{NAME};{number * 20};{NAME};{NAME};{number % 2}" for number in range(1, 6)]
    rows += [f"{NAME} 9;x;{NAME};{NAME};yes;{NAME}"]
    put(directory / f"{NAME}_tables", {"clinical.csv": f"{NAME};remark;age;edge;calc;clnm\n" + "\n".join(rows) + "\n"})


def canary_config(directory):
    config = directory / "clnm.toml"
    config.write_text(
        f"""
[[center]]
name = "C1"
role = "train"
archive = ["{NAME}_share"]
masks = ["{NAME}_share"]
clinical = "{NAME}_tables/clinical.csv"
[center.columns]
patient = "{NAME}"
calcification = "calc"
[clinical]
age = {{ type = "number", max = 90 }}
edge = {{ type = "category", levels = ["clear", "unclear"] }}
calcification = {{ type = "flag" }}
[deep]
enabled = false
[compute]
workers = 1
""",
        encoding="utf-8",
    )
    (directory / "radiomics.yaml").write_text(
        "imageType: {Original: {}}\nfeatureClass: {firstorder: , shape2D: }\nsetting: {binCount: 16}\n",
        encoding="utf-8",
    )
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    return config


def clnm(config, *arguments):
    """Run a command with a scratch folder of its own, so that what it leaves there is searched, too."""
    scratch = config.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    code = "from clnm.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", "clnm.toml", *arguments],
        cwd=config.parent,
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A night over the archive, and what an operator asks after it."""
    directory = tmp_path_factory.mktemp("night")
    canary_archive(directory)
    config = canary_config(directory)
    answers = [clnm(config, "nightly"), clnm(config, "quarantine", "list")]
    return directory, answers


def hits(content):
    folded = content.lower()
    return [needle for needle in NEEDLES if needle in content or needle.lower() in folded]


def is_private(path, directory):
    parts = path.relative_to(directory).parts
    return parts[:2] == ("store", "private") or parts[0] in {f"{NAME}_share", f"{NAME}_tables", "clnm.toml", "secrets"}


def test_the_night_saw_the_files_and_did_not_crash(night):
    directory, answers = night
    assert all(answer.returncode != 1 for answer in answers), answers[0].stderr.decode()[-3000:]
    with duckdb.connect(str(directory / "store" / "catalog.duckdb"), read_only=True) as connection:
        states = dict(connection.execute("SELECT reason, count(*) FROM files GROUP BY reason").fetchall())
    assert states == {
        "": 5,  # three images, two masks
        "archive_truncated": 1,
        "duplicate_of": 1,
        "malformed": 2,
        "mask_mismatch": 1,
        "mask_unreadable": 2,
        "not_an_image": 1,
        "not_dicom": 1,
        "truncated_header": 1,
        "unsafe_member": 1,
    }


def test_nothing_the_commands_say_holds_the_name(night):
    _, answers = night
    assert [hits(answer.stdout + answer.stderr) for answer in answers] == [[]] * len(answers)


def test_no_file_outside_private_holds_the_name_in_its_bytes_or_its_path(night):
    directory, _ = night
    public = [path for path in directory.rglob("*") if path.is_file() and not is_private(path, directory)]
    assert len(public) > 20
    found = {str(path.relative_to(directory)) for path in public if hits(path.read_bytes())}
    found |= {str(path) for path in public if NAME.lower() in str(path.relative_to(directory)).lower()}
    assert found == set()


def test_no_compressed_value_of_any_table_holds_the_name(night):
    """Parquet is compressed: its values are searched as they are read."""
    directory, _ = night
    tables = [path for path in directory.rglob("*.parquet") if not is_private(path, directory)]
    assert len(tables) > 5
    found = {path.name for path in tables if hits(repr(pq.read_table(path, partitioning=None).to_pylist()).encode())}
    found |= {path.name for path in tables if hits(repr(pq.read_metadata(path).metadata).encode())}
    assert found == set()


def test_the_burned_in_name_is_in_no_file_at_all_not_even_in_private(night):
    directory, _ = night
    written = [path for path in (directory / "store").rglob("*") if path.is_file()]
    assert any(path.suffix == ".npy" for path in written)
    assert [path.name for path in written if PIXELS in path.read_bytes()] == []


def test_private_is_for_its_owner_alone(night):
    directory, _ = night
    assert (directory / "store" / "private").stat().st_mode & 0o077 == 0


def test_the_search_would_find_the_name(night):
    directory, _ = night
    ledgers = list((directory / "store" / "private").rglob("*.parquet"))
    assert any(hits(repr(pq.read_table(path, partitioning=None).to_pylist()).encode()) for path in ledgers)
    assert hits((directory / f"{NAME}_share" / f"{NAME}3.dcm").read_bytes())
    assert PIXELS in (directory / f"{NAME}_share" / f"{NAME}3.dcm").read_bytes()
