"""A file that is gone or damaged, told as the store's own error, whichever library stumbled over it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa
from deltalake.exceptions import DeltaError

from clnm.errors import StoreError

DAMAGED = (
    "a data file of the store is missing or damaged; `clnm store verify` names it, `clnm store restore` brings it back"
)
_OF_A_FILE = re.compile("parquet|read file", re.IGNORECASE)


def is_damage(error: duckdb.Error) -> bool:
    """Whether DuckDB speaks of a file, and not of the question: of senseless bytes, in no class of error."""
    return (
        isinstance(error, duckdb.IOException)
        or type(error) is duckdb.Error
        or (isinstance(error, duckdb.InvalidInputException) and bool(_OF_A_FILE.search(str(error))))
    )


@contextmanager
def reading() -> Iterator[None]:
    """DuckDB reads data files.

    Raises:
        StoreError: one is missing or damaged.
    """
    try:
        yield
    except duckdb.Error as error:
        if is_damage(error):
            raise StoreError(DAMAGED) from error
        raise


@contextmanager
def working_on(relation: str) -> Iterator[None]:
    """A table is read and written.

    Raises:
        StoreError: one of its files, or its log, is missing, damaged or cannot be written.
    """
    try:
        yield
    except (DeltaError, OSError, pa.ArrowException) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise StoreError(
            f"table {relation} cannot be read or written ({why}); the last state is as it was: "
            "`clnm store verify` names a damaged file, `clnm store restore` brings it back"
        ) from error
