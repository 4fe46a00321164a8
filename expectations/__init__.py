"""One Great Expectations suite per table, as JSON."""
