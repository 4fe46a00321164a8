"""The latest row per key of each table, and the tables as of a moment."""
