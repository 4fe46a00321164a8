"""Two more real sets go in as projects: BrEaST (RGBA, spacings, a table of words) and BUSI with its known faults."""

import csv

import pytest

from clnm import pipeline
from clnm.archive.entry import Kind
from clnm.archive.ledger import Ledger
from clnm.pipeline.installation import open_installation
from clnm.settings import make_pseudonym_key
from tests.flows.archives import SHARED

CENTER = """
[outcome]
name = "malignant"
[[center]]
name = "R1"
role = "train"
archive = ["{archive}"]
index = "images.csv"
clinical = "{clinical}"
[center.columns]
patient = "{patient}"
malignant = "Classification"
[center.values.malignant]
malignant = 1
benign = 0
normal = 0
[clinical]
{variables}
[deep]
enabled = false
[quality]
max_quarantined_fraction = 1
"""


def project(directory, **words):
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    config = directory / "clnm.toml"
    config.write_text(CENTER.format(**words), encoding="utf-8")
    pipeline.run_stage(config, "ingest")
    return config


def ask(config, question):
    store = open_installation(config).store
    rows = store._connection(question, with_staged=True).sql(question).fetchall()
    store.close()
    return rows


def write(path, header, rows):
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)


@pytest.fixture(scope="module")
def breast(tmp_path_factory):
    source = SHARED / "breast_lesions_usg"
    if not source.is_dir():
        pytest.skip("the real pictures of shared/data/breast_lesions_usg are not here")
    directory = tmp_path_factory.mktemp("breast")
    rows = list(csv.DictReader((source / "clinical_data.csv").open(encoding="utf-8")))
    index = []
    for row in rows:
        masks = [row["Mask_tumor_filename"], *row["Mask_other_filename"].split("&")]
        for number, mask in enumerate([mask for mask in masks if mask] or [""], start=1):
            place = f"{source}/masks/{mask}" if mask else ""
            image, spacing_mm = f"{source}/images/{row['Image_filename']}", 10 * float(row["Pixel_size"])  # sheet: cm
            index.append((image, row["CaseID"], spacing_mm, place, f"r{number}"))
    write(directory / "images.csv", ("image", "CaseID", "spacing_mm", "mask", "reader"), index)
    variables = """
Age = { type = "number", min = 0, max = 120 }
Calcifications = { type = "category", levels = ["no", "in a mass", "intraductal", "in a mass&intraductal"] }
BIRADS = { type = "category", levels = ["1", "2", "3", "4a", "4b", "4c", "5"] }
"""
    config = project(
        directory,
        archive=source,
        clinical=f"{source}/clinical_data.csv",
        patient="CaseID",
        variables=variables,
    )
    return config, rows


def test_every_file_of_breast_is_in_exactly_one_state(breast):
    config, rows = breast
    on_disk = sum(1 for path in (SHARED / "breast_lesions_usg").rglob("*") if path.is_file())
    assert ask(config, "SELECT count(*), count(DISTINCT file_key) FROM files") == [(on_disk, on_disk)]
    assert ask(config, "SELECT count(*) FROM images") == [(len(rows),)]
    assert ask(config, "SELECT DISTINCT status FROM files ORDER BY 1") == [("ignored",), ("ingested",)]


def test_its_spacings_and_areas_are_in_millimetres(breast):
    config, rows = breast
    told = sorted(round(10 * float(row["Pixel_size"]), 9) for row in rows)
    found = [round(value, 9) for (value,) in ask(config, "SELECT spacing_x_mm FROM images ORDER BY 1")]
    assert found == told
    assert ask(config, "SELECT count(*) FROM rois WHERE area_mm2 IS NULL OR area_mm2 <= 0") == [(0,)]


def test_every_mask_of_it_is_a_roi(breast):
    config, _ = breast
    masks = len(list((SHARED / "breast_lesions_usg" / "masks").iterdir()))
    assert ask(config, "SELECT count(DISTINCT mask_sha256) FROM rois") == [(masks,)]


def test_its_table_is_typed_and_its_outcomes_are_those_of_the_sheet(breast):
    config, rows = breast
    ages = sorted(float(row["Age"]) for row in rows if row["Age"].replace(".", "").isdigit())
    assert [age for (age,) in ask(config, "SELECT Age FROM clinical WHERE Age IS NOT NULL ORDER BY 1")] == ages
    malignant = sum(row["Classification"] == "malignant" for row in rows)
    assert ask(config, "SELECT count(*) FROM outcomes WHERE value") == [(malignant,)]


@pytest.fixture(scope="module")
def busi(tmp_path_factory):
    source = SHARED / "busi"
    if not source.is_dir():
        pytest.skip("the real pictures of shared/data/busi are not here")
    directory = tmp_path_factory.mktemp("busi")
    pictures = sorted(path for path in source.rglob("*.png") if "_mask" not in path.name)
    write(directory / "images.csv", ("image", "Name"), [(str(path), path.stem) for path in pictures])
    classes = [(path.stem, path.parent.name) for path in pictures]
    write(directory / "clinical.csv", ("Name", "Classification"), classes)
    return project(directory, archive=source, clinical="clinical.csv", patient="Name", variables=""), pictures


def test_every_file_of_busi_is_in_exactly_one_state(busi):
    config, _ = busi
    on_disk = sum(1 for path in (SHARED / "busi").rglob("*") if path.is_file())
    assert ask(config, "SELECT count(*), count(DISTINCT file_key) FROM files") == [(on_disk, on_disk)]


def test_its_known_faults_are_told(busi):
    config, pictures = busi
    found = dict(
        ask(config, "SELECT reason, count(*) FROM quarantine WHERE resolved_at IS NULL AND kind = 'file' GROUP BY 1")
    )
    assert found["content_conflict"] == 1  # benign (433) and malignant (145) are one picture
    assert found["mask_empty"] == sum(path.parent.name == "normal" for path in pictures)
    assert ask(config, "SELECT max(label) FROM rois") == [(2,)]  # a second mask is a second lesion


def test_its_near_duplicates_are_told_and_no_others(busi):
    config, _ = busi
    installation = open_installation(config)
    ledger = Ledger.read(installation.root / installation.store.kept("ledger/R1"))
    names = {entry.image_key: entry.path.decode() for entry in ledger.where("kind", [Kind.IMAGE.value])}
    told = ask(config, "SELECT detail FROM quarantine WHERE reason = 'near_duplicate' AND resolved_at IS NULL")
    assert sorted(names[key] for (key,) in told) == ["benign/benign (233).png", "benign/benign (299).png"]
