"""Rows on disk: Delta tables of Parquet, committed all or nothing, asked through DuckDB."""

from clnm.store.bucket import Bucket
from clnm.store.commit import Batch, Writer
from clnm.store.mirror import Mirror
from clnm.store.store import Store

__all__ = ["Batch", "Bucket", "Mirror", "Store", "Writer"]
