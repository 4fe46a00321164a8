"""Thin Prefect flows: when, how often, in what order. What is done lives in `clnm.pipeline`."""

import os

# Nothing calls home, and the server that Prefect starts for a single run gets time on a busy machine.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
