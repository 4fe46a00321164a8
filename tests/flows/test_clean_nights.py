"""Thirty nights with nothing wrong, judged one by one by the shipped suites: none of them is held.

The rows are those of a whole run over a simulated archive; they are staged again night by night, as they were known.
"""

from datetime import UTC, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from clnm.features.networks import build, save_weights
from clnm.pipeline.run import open_run
from clnm.pipeline.stages import CHECK, EXTRACT, INGEST, perform_all
from clnm.simulate import simulate_archive
from clnm.simulate.arrivals import deliver, read_arrivals
from clnm.store.tables import LINEAGE
from tests.flows.growing import begin, one_worker, take_in

pytestmark = pytest.mark.long

NOW = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
NIGHTS, PATIENTS = 30, 80
RELATIONS = ("images", "rois", "clinical", "outcomes", "radiomics", "deep")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Every row of a whole run, and an installation whose store is empty."""
    folder = tmp_path_factory.mktemp("clean")
    simulate_archive(folder / "simulated", patients=PATIENTS, seed=3, until=NOW, workers=2)
    arrivals = read_arrivals(folder / "simulated")
    with one_worker() as scheduler:
        whole = begin(folder / "simulated", folder / "whole", arrivals, now=NOW, scheduler=scheduler)
        torch.manual_seed(3)
        save_weights(build("resnet18").state_dict(), whole.parent / "weights.safetensors")
        with_embeddings = whole.read_text(encoding="utf-8").replace(
            "enabled = false", 'weights = "weights.safetensors"'
        )
        whole.write_text(with_embeddings, encoding="utf-8")
        take_in(whole, (INGEST, EXTRACT))
        with open_run(whole, command="check") as run:
            perform_all(run, (CHECK,))
            tables = {name: published(run.installation.store, name) for name in RELATIONS}
        deliver(folder / "simulated", folder / "replayed", [], now=NOW)
        yield tables, begin(folder / "simulated", folder / "replayed", [], now=NOW, scheduler=scheduler)


def published(store, relation):
    return store.relation(relation).drop_columns([column.name for column in LINEAGE])


def known_by(relation, table, now):
    """The rows that had come by then: an examination's with its day, an answer when it was given."""
    clock = "known_at" if relation == "outcomes" else "acquired_at"
    return table.filter(pc.less(table.column(clock), pa.scalar(now, table.schema.field(clock).type)))


def test_thirty_clean_nights_are_published(rows):
    tables, config = rows
    verdicts = []
    told = dict.fromkeys(tables, 0)
    ordered = {
        name: table.sort_by("known_at" if name == "outcomes" else "acquired_at") for name, table in tables.items()
    }
    with open_run(config, command="check") as run:
        for number in range(NIGHTS + 1):
            now = NOW - timedelta(days=NIGHTS - number)
            with run.commit() as batch:
                for relation, table in ordered.items():
                    there = known_by(relation, table, now)
                    new = there.slice(told[relation])
                    told[relation] = there.num_rows
                    for center in new.column("center").unique().to_pylist():
                        batch.stage(relation, center, arriving(new.filter(pc.equal(new.column("center"), center)), now))
            perform_all(run, (CHECK,))
            verdicts += [count["verdict"] for count in run.counts["check"].values() if "verdict" in count]
        assert run.complaints == []
        assert run.installation.store.manifest().staged == {}
    assert told["images"] == tables["images"].num_rows
    assert len(verdicts) > NIGHTS
    assert set(verdicts) <= {"publish", "warn"}


def arriving(table, now):
    """The same rows, known since `now`; an answer keeps its day."""
    if "value" in table.column_names:
        return table
    place = table.column_names.index("known_at")
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array([now] * table.num_rows, field.type))
