"""Looking at a store while a run works in it."""

from contextlib import suppress


def files_now(directory, pattern):
    """The paths of a pattern, although folders come and go: `glob` fails on one that goes while it is listed."""
    while True:
        with suppress(FileNotFoundError):
            return list(directory.glob(pattern))
