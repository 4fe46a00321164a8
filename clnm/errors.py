"""The one error tree: what the user can mend (a sentence and an exit code) against a bug (a traceback).

A message says what is wrong, which thing it is, and what to do; never a path of origin, a name or an identifier.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class UserError(Exception):
    """Something the user can mend. Shown without a traceback; ends the command with `exit_code`."""

    exit_code = 2
    done: Mapping[str, Any] | None = None
    """The summary of a run that did the rest all the same."""


class ConfigurationError(UserError):
    """`clnm.toml`, the environment, or a file they name is missing, unreadable or contradicts itself."""

    exit_code = 10


class NothingToDoError(UserError):
    """What should be there is not: an empty archive, a mount that is gone."""

    exit_code = 11


class TooFewCasesError(UserError):
    """There is not enough to learn from yet; a nightly waits for more, `clnm train` says so."""


class BatchHeldError(UserError):
    """The quality gate held a center's batch; the other centers were published."""

    exit_code = 12


class LockedError(UserError):
    """Another run holds the store's lock."""

    exit_code = 13


class StoreError(UserError):
    """The store is damaged or cannot be written."""

    exit_code = 14


class QuarantineLimitError(UserError):
    """More files were quarantined than `quality.max_quarantined_fraction` allows."""

    exit_code = 15


class DriftAlertError(UserError):
    """A drift alert was raised and the caller asked for `--fail-on alert`."""

    exit_code = 16


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint for a mistyped name: the nearest known one, or all of them.

    Example: `nearest("wokers", ["workers", "scheduler"])` is `"did you mean 'workers'?"`.
    """
    candidates = sorted(known)
    close = difflib.get_close_matches(name, candidates, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + (", ".join(candidates) or "none")


@contextmanager
def writing(what: str) -> Iterator[None]:
    """A block that writes a file of ours.

    Raises:
        StoreError: the disk is full or cannot be written; `what` is in the sentence.
    """
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        raise StoreError(f"{what} cannot be written ({why}); mend the disk and run again: nothing is lost") from error
