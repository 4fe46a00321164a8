"""Structured log events on stderr: one event per unit of work, context bound once.

No identifier, path of origin, or pixel value belongs in an event.
"""

from __future__ import annotations

import logging
import sys

import structlog

Logger = structlog.stdlib.BoundLogger


def configure(*, quiet: bool = False, as_json: bool = False) -> None:
    """Send events of level INFO (WARNING when `quiet`) to stderr, for people or as JSON lines."""
    level = logging.WARNING if quiet else logging.INFO
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if not as_json else "iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(**context: str) -> Logger:
    """A logger with `context` (run_id, center, stage) bound to each of its events."""
    logger: Logger = structlog.get_logger(**context)
    return logger
