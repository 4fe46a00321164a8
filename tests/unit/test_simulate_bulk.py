"""Rows without pictures: keys that join, centers in turn, the same bytes from the same numbers."""

import pyarrow as pa
import pytest

from clnm.simulate.bulk import simulate_rows
from clnm.store.tables import TABLES
from tests.store_rows import DAY_0

CENTERS = ("C1", "C2", "C3")


def rows_of(relation, numbers, **options):
    schema = pa.schema([pa.field(column.name, column.type) for column in TABLES[relation].columns])
    return simulate_rows(schema, numbers, centers=CENTERS, known_at=DAY_0, **options)


@pytest.mark.parametrize("relation", sorted(name for name, table in TABLES.items() if table.has_center))
def test_every_table_of_centers_can_be_filled(relation):
    table = rows_of(relation, range(5, 12))
    assert table.column_names == [column.name for column in TABLES[relation].columns]
    assert table.column("center").to_pylist() == [CENTERS[number % 3] for number in range(5, 12)]
    assert all(table.column(name).null_count == 0 for name in table.column_names)


def test_keys_join_from_table_to_table():
    tables = [rows_of(name, range(3, 6), features=["a"] * (name == "radiomics")) for name in ("rois", "radiomics")]
    assert tables[0].column("roi_key").equals(tables[1].column("roi_key"))


def test_the_same_numbers_give_the_same_rows_and_no_two_values_are_alike():
    first, again = (rows_of("radiomics", range(1000), features=["a", "b"]) for _ in range(2))
    assert first.equals(again)
    assert len(set(first.column("a").to_pylist())) == 1000
