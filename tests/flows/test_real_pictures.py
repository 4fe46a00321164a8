"""The nightly over real pictures: BUS-BRA, one center per scanner, malignant as the outcome."""

import duckdb
import pytest

from clnm import pipeline
from tests.flows.archives import SHARED, busbra

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    config = busbra(tmp_path_factory.mktemp("busbra"))
    return config, pipeline.nightly(config)


def answers(config, question):
    with duckdb.connect(str(config.parent / "store" / "catalog.duckdb"), read_only=True) as connection:
        return connection.execute(question).fetchall()


def test_every_picture_is_accounted_for(night):
    config, _ = night
    pictures = len(list((SHARED / "busbra").rglob("bus_*.png")))
    assert pictures > 150
    assert answers(config, "SELECT count(*) FROM images") == [(pictures,)]
    on_disk = sum(1 for path in config.parent.glob("B*/pictures/*") if path.is_file())
    assert answers(config, "SELECT status, count(*) FROM files GROUP BY status") == [("ingested", on_disk)]


def test_every_case_is_scored(night):
    config, _ = night
    [(status, count)] = answers(config, "SELECT status, count(*) FROM worklist GROUP BY status")
    assert (status, count) == ("scored", answers(config, "SELECT count(*) FROM cases")[0][0])


def test_without_a_known_spacing_no_feature_in_millimetres_is_told(night):
    config, _ = night
    assert answers(config, "SELECT DISTINCT spacing_source FROM images") == [("none",)]
    assert answers(config, "SELECT count(original_shape2D_MeshSurface), count(original_glcm_Contrast) FROM radiomics")[
        0
    ] == (0, answers(config, "SELECT count(*) FROM rois")[0][0])


def test_the_radiomics_score_tells_malignant_from_benign(night):
    """Cross-validated AUC on the train centers; a plain L1 logistic regression reaches 0.92 on the full set."""
    config, _ = night
    question = """
        SELECT DISTINCT value, ci_low, n FROM evaluations
        WHERE algorithm = 'radiomics_score' AND cohort = 'cv' AND center = 'all' AND metric = 'auc'
    """
    [(auc, low, n)] = answers(config, question)
    assert n > 50
    assert auc > 0.80
    assert low > 0.5
