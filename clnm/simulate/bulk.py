"""Tables without pictures: rows of any width and number whose keys join, to see how a store bears them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

_ACQUIRED_EARLIER = timedelta(days=1)
_FRACTION_POSITIVE = 0.3


def simulate_rows(
    schema: pa.Schema,
    numbers: Sequence[int],
    *,
    centers: Sequence[str],
    known_at: datetime,
    features: Sequence[str] = (),
    embedding_size: int = 512,
) -> pa.Table:
    """One row per ROI, each the only one of its case, study and patient.

    Args:
        schema: the table's fixed columns.
        numbers: of the ROIs. The same number has the same keys and the same center in every table.
        centers: the ROIs take turns in them.
        known_at: the rows' clock; all were acquired the day before.
        features: names of float columns to add. Like radiomics features they are log-normal, each on a scale of its
            own, and no two values are alike.
        embedding_size: numbers in each list.

    Raises:
        KeyError: the schema has a type that no table has.
    """
    rows, generator = np.asarray(numbers), np.random.default_rng([numbers[0], len(schema)])
    clocks = {"acquired_at": known_at - _ACQUIRED_EARLIER}
    filled: dict[pa.DataType, Callable[[], Any]] = {
        pa.string(): lambda: ["r1"] * len(rows),
        pa.int64(): lambda: generator.integers(1, 5000, len(rows)),
        pa.float64(): lambda: generator.lognormal(0.0, 1.0, len(rows)),
        pa.bool_(): lambda: generator.random(len(rows)) < _FRACTION_POSITIVE,
        pa.list_(pa.float32()): lambda: list(generator.standard_normal((len(rows), embedding_size), dtype=np.float32)),
    }
    columns = {}
    for field in schema:
        if field.name == "center":
            content = [centers[number % len(centers)] for number in rows]
        elif field.name.endswith("_key"):
            content = [f"{field.name.removesuffix('_key')}-{number:012d}" for number in rows]
        elif pa.types.is_timestamp(field.type):
            content = [clocks.get(field.name, known_at)] * len(rows)
        else:
            content = filled[field.type]()
        columns[field.name] = pa.array(content, field.type)
    scales = np.random.default_rng(len(features)).normal(0.0, 4.0, len(features))
    for name, scale in zip(features, scales, strict=True):
        columns[name] = pa.array(generator.lognormal(scale, 1.0, len(rows)))
    return pa.table(columns)
