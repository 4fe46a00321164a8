"""An encoder learned without outcomes: from the images of the train centers, and from no others."""

import hashlib
import shutil

import numpy as np
import pytest

from clnm import pipeline
from clnm.pipeline.encoder import MIN_IMAGES, encoder_for
from clnm.pipeline.run import open_run
from clnm.settings import default_radiomics, make_pseudonym_key
from tests.flows.archives import OF_PICTURES, draw

pytestmark = pytest.mark.long

CENTERS = {"C1": "train", "C2": "external"}
SETTINGS = f"""{OF_PICTURES}[compute]
workers = 1
"""


def fill(folder, *, seed):
    """Pictures of one center, as many as an encoder needs."""
    (folder / "pictures").mkdir(parents=True)
    generator = np.random.default_rng(seed)
    lines = [
        draw(folder / "pictures", f"{folder.name}{n}", (120, 140), generator.uniform(20, 40), generator, day=1 + n)
        for n in range(MIN_IMAGES)
    ]
    (folder / "images.csv").write_text("\n".join(["image,mask,patient,acquired_on", *lines]), encoding="utf-8")


def learn(config):
    """The encoder of an installation after its first intake, and the ROIs that stand for the cases of some centers."""
    pipeline.run_stage(config, "ingest")
    with open_run(config, command="extract") as run:
        asked = (list(run.installation.train_centers), list(CENTERS))
        rows = [run.installation.store.run_query("encoder_rois", centers=centers) for centers in asked]
        return encoder_for(run), *({row["roi_key"] for row in found} for found in rows)


@pytest.fixture(scope="module")
def installations(tmp_path_factory):
    """Two that differ in the pictures of the external center alone."""
    first = tmp_path_factory.mktemp("encoder") / "first"
    fill(first / "C1", seed=1)
    make_pseudonym_key(first / "secrets" / "pseudonym.key")
    (first / "radiomics.yaml").write_text(default_radiomics(), encoding="utf-8")
    centers = "".join(
        f'[[center]]\nname = "{name}"\nrole = "{role}"\narchive = ["{name}/pictures"]\nindex = "{name}/images.csv"\n'
        for name, role in CENTERS.items()
    )
    (first / "clnm.toml").write_text(SETTINGS + centers, encoding="utf-8")
    second = first.with_name("second")
    shutil.copytree(first, second)
    for directory, seed in ((first, 2), (second, 3)):
        fill(directory / "C2", seed=seed)
    return first / "clnm.toml", second / "clnm.toml"


@pytest.fixture(scope="module")
def learned(installations):
    return learn(installations[0])


def test_an_encoder_is_taught_by_the_rois_of_the_train_center_alone(learned):
    _, taught_by, of_both_centers = learned
    assert len(taught_by) == MIN_IMAGES
    assert len(of_both_centers - taught_by) == MIN_IMAGES


def test_other_pictures_of_an_external_center_give_the_same_encoder_to_the_bit(installations, learned):
    other, taught_by, of_both_centers = learn(installations[1])
    assert taught_by == learned[1]
    assert not (of_both_centers & learned[2]) - taught_by
    assert other.sha256 == learned[0].sha256


def test_an_encoder_is_named_by_the_checksum_of_its_file(learned):
    encoder, *_ = learned
    assert encoder.sha256 == hashlib.sha256(encoder.path.read_bytes()).hexdigest()
