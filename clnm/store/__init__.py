"""Rows on disk: Delta tables of Parquet, committed all or nothing, asked through DuckDB."""

from clnm.store.commit import Batch, Writer
from clnm.store.store import Store

__all__ = ["Batch", "Store", "Writer"]
