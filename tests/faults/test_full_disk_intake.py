"""Intake onto a disk that takes no byte more: a sentence and exit 14, and with room again nothing is missing."""

import pytest

from clnm import pipeline
from clnm.errors import StoreError
from tests.flows.test_nightly import answers, make_installation
from tests.full_disk import files_no_larger_than

pytestmark = pytest.mark.long


@pytest.mark.parametrize("size", [5_000, 50_000])
def test_pixels_or_a_ledger_that_find_no_room_are_exit_14_and_the_next_run_takes_everything_in(tmp_path, size):
    """The larger size lets the small masks pass, and no image."""
    config = make_installation(tmp_path, patients=16)
    with pytest.raises(StoreError) as error, files_no_larger_than(size):
        pipeline.run_stage(config, "ingest")
    assert error.value.exit_code == 14
    assert "cannot be written" in str(error.value)
    assert str(tmp_path) not in str(error.value)
    pipeline.run_stage(config, "ingest")
    assert answers(config, "SELECT status, count(*) > 30 FROM files GROUP BY 1") == [("ingested", True)]
