"""The app, its global options, and how a result is shown: for people, or as one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from clnm import log
from clnm.entities import CODE_VERSION
from clnm.errors import UserError

app = typer.Typer(
    name="clnm",
    help="Ultrasound archives in; checked features, scores and drift per center out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@dataclass(slots=True)
class Options:
    """The global options of this call."""

    config: Path = Path("clnm.toml")
    as_json: bool = False
    quiet: bool = False


options = Options()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clnm {CODE_VERSION}")
        raise typer.Exit


@app.callback()
def read_options(
    config: Annotated[Path, typer.Option(help="The installation's file.")] = Path("clnm.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No talk on stderr but problems.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    """Batch data platform with a feature store for hospital ultrasound."""
    del version
    options.config, options.as_json, options.quiet = config, as_json, quiet
    log.configure(quiet=quiet, as_json=as_json)


def show(result: Mapping[str, Any], people: Callable[[], Iterable[str]]) -> None:
    """The result on stdout: JSON when asked for, else the lines of `people`."""
    if options.as_json:
        typer.echo(json.dumps(result, default=str, sort_keys=True))
        return
    for line in people():
        typer.echo(line)


def show_error(error: UserError) -> None:
    """What was done all the same on stdout, the sentence on stderr; with `--json` all of it as one object on stdout."""
    if options.as_json:
        result = {**(error.done or {}), "error": str(error), "exit_code": error.exit_code}
        typer.echo(json.dumps(result, default=str, sort_keys=True))
    else:
        if error.done:
            from clnm.pipeline import describe

            typer.echo("\n".join(describe(error.done)))
        sys.stderr.write(f"clnm: {error}\n")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of an aligned plain-text table."""
    cells = [[str(name) for name in header], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    numeric = [len(cells) > 1 and all(_is_number(row[column]) for row in cells[1:]) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    ]


def parse_moment(text: str | None) -> datetime | None:
    """An ISO moment; without a zone it means UTC.

    Raises:
        UserError: the text is no ISO date or time.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--as-of {text!r} is no moment; write 2026-01-31 or 2026-01-31T02:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"  # noqa: PLR0124 - the test for NaN
    return str(value)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(".", "", 1).replace("-", "", 1).replace("e", "", 1).isdigit()
