"""A scanner's gain goes up at one center: the morning after, that center is named, and no other."""

import pytest

from clnm import pipeline
from tests.flows.test_nightly import answers, make_installation

pytestmark = pytest.mark.long


def test_a_center_whose_gain_moved_is_named_alone(tmp_path):
    config = make_installation(tmp_path, patients=214, drift=["C3:gain"])
    for stage in ("ingest", "extract", "check", "monitor"):
        pipeline.run_stage(config, stage)
    verdicts = dict(answers(config, "SELECT center, verdict FROM center_health"))
    assert verdicts == {"C1": "stable", "C2": "stable", "C3": "drift", "C4": "stable"}
    assert answers(config, "SELECT center, kind FROM alerts WHERE severity <> 'info'") == [("C3", "drift")]
