"""A night that is run again as of an earlier moment sees what was known then, and leaves the present as it is."""

import re
from datetime import UTC, datetime, time
from pathlib import Path

import pytest

from clnm import pipeline
from clnm.errors import UserError
from clnm.pipeline.asking import ask
from clnm.pipeline.run import open_run
from clnm.pipeline.stages import CHECK, EXTRACT, INGEST, REPORT, SCORE, WATCH, perform_all
from clnm.simulate import simulate_archive
from clnm.simulate.arrivals import deliver, read_arrivals
from tests.flows.growing import FEW_FEATURES, begin, one_worker, take_in

NOW = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
EARLIER, LATER = 12, 20
NIGHT = (INGEST, EXTRACT, CHECK, SCORE, WATCH, REPORT)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A night over the earlier patients, a moment, and a night over all of them."""
    folder = tmp_path_factory.mktemp("grown")
    simulate_archive(folder / "simulated", patients=LATER, seed=3, until=NOW, workers=2)
    arrivals = read_arrivals(folder / "simulated")
    with one_worker() as scheduler:
        config = begin(folder / "simulated", folder / "here", arrivals[:EARLIER], now=NOW, scheduler=scheduler)
        take_in(config, NIGHT)
        then = datetime.now(UTC)
        deliver(folder / "simulated", folder / "here", arrivals, now=NOW)
        take_in(config, NIGHT)
        yield config, then, arrivals


def asked(config, question, **as_of):
    return [tuple(row.values()) for row in ask(config, question, **as_of).to_pylist()]


def cases(config, **as_of):
    return asked(config, "SELECT count(*) FROM cases", **as_of)[0][0]


def test_a_night_of_the_past_takes_nothing_in_and_reports_what_was_known_then(grown):
    config, then, _ = grown
    assert (cases(config, as_of=then), cases(config)) == (EARLIER, LATER)
    morning = (config.parent / "store" / "report" / "morning.txt").read_bytes()
    page = (config.parent / "store" / "report" / "index.html").read_bytes()
    now = asked(config, "SELECT center, n_new_cases FROM center_health WHERE is_latest ORDER BY ALL")

    with open_run(config, command="nightly", as_of=then) as run:
        perform_all(run, NIGHT)
    summary = pipeline.summarize(run)

    assert sum(row["cases"] for row in summary["scores"]) == EARLIER
    assert not any(summary["stages"]["ingest"].values())
    assert sum(count["extracted"] for count in summary["stages"]["extract"].values()) == 0
    then_told = [(row["center"], row["n_new_cases"]) for row in summary["health"]]
    assert sum(count for _, count in then_told) <= sum(count for _, count in now)
    assert asked(config, "SELECT center, n_new_cases FROM center_health WHERE is_latest ORDER BY ALL") == now
    assert (config.parent / "store" / "report" / "morning.txt").read_bytes() == morning
    assert (config.parent / "store" / "report" / "index.html").read_bytes() == page
    assert asked(config, "SELECT as_of FROM runs ORDER BY started_at DESC LIMIT 1") == [(then,)]


def test_a_night_of_the_past_writes_a_page_of_its_own(grown):
    config, then, _ = grown
    summary = pipeline.run_stage(config, "report", as_of=then)
    assert summary["run_id"] in summary["report"]
    assert f"{then:%Y-%m-%d}" in Path(summary["report"]).read_text(encoding="utf-8")


def test_extraction_of_the_past_computes_what_was_known_then(grown):
    config, then, _ = grown
    known = asked(config, "SELECT count(*) FROM rois", as_of=then)[0][0]
    summary = pipeline.run_stage(config, "extract", as_of=then, backfill=pipeline.Backfill())
    assert sum(count["extracted"] for count in summary["stages"]["extract"].values()) == known


def test_the_gate_of_the_past_leaves_a_batch_alone_that_has_rows_of_later(grown):
    config, then, _ = grown
    (config.parent / "radiomics.yaml").write_text(FEW_FEATURES.replace("32", "16"), encoding="utf-8")
    pipeline.run_stage(config, "extract")
    summary = pipeline.run_stage(config, "check", as_of=then)
    assert {"known later"} in [set(count) for count in summary["stages"]["check"].values()]
    assert asked(config, "SELECT count(*) FROM check_results WHERE run_id = '" + summary["run_id"] + "'") == [(0,)]


def test_a_moment_that_lies_ahead_is_now(grown):
    config, _, _ = grown
    summary = pipeline.run_stage(config, "monitor", as_of=datetime(2999, 1, 1, tzinfo=UTC))
    assert datetime.fromisoformat(summary["as_of"]) <= datetime.now(UTC)


def test_a_night_with_too_few_outcomes_to_learn_from_waits_for_more_and_complains_of_nothing(grown):
    config, _, _ = grown
    summary = pipeline.nightly(config)
    assert re.match("training frame has . positive outcomes, needs 10", summary["stages"]["train"]["all"]["waiting"])
    assert [(row["status"], row["reason"]) for row in summary["scores"]] == [("unscored", "no_champion")]
    with pytest.raises(UserError, match="needs 10"):
        pipeline.run_stage(config, "train")
