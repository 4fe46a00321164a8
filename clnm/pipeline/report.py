"""Report."""

from clnm.pipeline.run import Run


def report(run: Run) -> None: ...
