"""Asking: status, sql, quarantine, check, link."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clnm.cli.app import app, options, parse_moment, show, table
from clnm.errors import UserError

quarantine = typer.Typer(help="What was set aside, why, and another try.", no_args_is_help=True)
check = typer.Typer(help="The quality gate: judge staged batches; list, release or drop held ones.")
app.add_typer(quarantine, name="quarantine")
app.add_typer(check, name="check")


class Format(StrEnum):
    """How `clnm sql` writes an answer."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@app.command()
def status() -> None:
    """Per center: the files and their states (which add up), cases, scores, verdicts, the last run.

    Example: clnm status
    """
    from clnm.pipeline.status import status as read_status

    result = read_status(options.config)
    header = (
        "center",
        "files",
        "ingested",
        "duplicate",
        "ignored",
        "quarantined",
        "pending",
        "gone",
        "cases",
        "scored",
        "verdict",
    )
    show(
        result,
        lambda: [
            *table(header, [[line[name] for name in header] for line in result["centers"]]),
            f"last run: {result['last_run'] or 'none'}",
        ],
    )


def _complete(incomplete: str) -> list[str]:
    from clnm.pipeline.asking import complete_question

    return complete_question(incomplete)


@app.command()
def sql(
    question: Annotated[
        str | None, typer.Argument(help="One SELECT, DESCRIBE or EXPLAIN.", autocompletion=_complete)
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read the question from a file.")] = None,
    fmt: Annotated[Format, typer.Option("--format", help="How to write the answer.")] = Format.TABLE,
    as_of: Annotated[str | None, typer.Option("--as-of", help="What was known at this moment (UTC).")] = None,
    output: Annotated[Path | None, typer.Option("-o", help="Write the answer to a file.")] = None,
) -> None:
    """Ask the store, read-only.

    Example: clnm sql "SELECT center, count(*) AS cases FROM cases GROUP BY center ORDER BY center"
    """
    from clnm.pipeline.asking import ask, write_answer

    if (question is None) == (file is None):
        raise UserError('give one question: clnm sql "SELECT …" or clnm sql --file question.sql')
    if file is not None:
        try:
            question = file.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"--file cannot be read: {error.strerror}") from None
    assert question is not None
    answer = ask(options.config, question, as_of=parse_moment(as_of))
    chosen = Format.JSON if options.as_json else fmt
    write_answer(answer, str(chosen), output, sys.stdout)


@quarantine.command("list")
def list_quarantine() -> None:
    """What is set aside now, by center and reason.

    Example: clnm quarantine list
    """
    from clnm.pipeline.asking import list_set_aside

    rows = list_set_aside(options.config)
    header = ("item_key", "kind", "center", "reason", "detail", "attempts", "first_seen_at")
    show({"quarantine": rows}, lambda: table(header, [[row[name] for name in header] for row in rows]))


@quarantine.command("show")
def show_quarantine(key: Annotated[str, typer.Argument(help="An item_key of `clnm quarantine list`.")]) -> None:
    """One item, with the path an operator needs to find the file (from the private part of the store).

    Example: clnm quarantine show k1-0123456789abcdef0123
    """
    from clnm.pipeline.asking import show_set_aside

    row = show_set_aside(options.config, key)
    show(row, lambda: [f"{name}: {value}" for name, value in row.items()])


@quarantine.command("retry")
def retry_quarantine(
    reason: Annotated[str | None, typer.Option(help="Only items with this reason.")] = None,
) -> None:
    """Try set-aside items again at the next ingest or extract.

    Example: clnm quarantine retry --reason mask_unreadable
    """
    from clnm.pipeline.asking import retry_set_aside

    result = retry_set_aside(options.config, reason)
    show(result, lambda: [f"{result['retried']} item(s) will be tried again by the next `clnm nightly`"])


@check.callback(invoke_without_command=True)
def run_check(
    context: typer.Context,
    as_of: Annotated[str | None, typer.Option("--as-of", help="Only what was known at this moment (UTC).")] = None,
) -> None:
    """Judge every center's staged batch: publish it, or hold it.

    Example: clnm check
    """
    if context.invoked_subcommand is None:
        from clnm import pipeline

        summary = pipeline.run_stage(options.config, "check", as_of=parse_moment(as_of))
        show(summary, lambda: pipeline.describe(summary))


@check.command("show")
def show_held() -> None:
    """The batches the gate holds, and the findings that hold them.

    Example: clnm check show
    """
    from clnm.pipeline.check import held_batches

    rows = held_batches(options.config)
    header = ("center", "relation", "rows", "expectation", "observed", "reason")
    show(
        {"held": rows},
        lambda: table(header, [[row[name] for name in header] for row in rows]) if rows else ["nothing is held"],
    )


@check.command("docs")
def write_docs(directory: Annotated[Path, typer.Argument(help="A new or empty folder outside the store.")]) -> None:
    """Great Expectations' Data Docs of every suite and of what is staged now, as pages that need no network.

    A folder that is not empty, or cannot be written, ends it with exit 2. What the gate would hold does not: exit 0.

    Example: clnm check docs data-docs
    """
    from clnm.pipeline.check import write_docs as write

    result = write(options.config, directory)
    show(result, lambda: [f"{result['index']}: {result['pages']} pages, {result['tables']} staged tables"])


@check.command("release")
def release_held(
    center: Annotated[str, typer.Argument(help="The center whose batch to publish in spite of its findings.")],
    why: Annotated[str, typer.Option(help="Recorded with the release.")],
    who: Annotated[str, typer.Option(help="Your role or initials; recorded.")],
) -> None:
    """Publish a held batch.

    Example: clnm check release C3 --who dm --why "new scanner, spacing confirmed"
    """
    from clnm.pipeline.check import decide

    result = decide(options.config, center, release=True, who=who, why=why)
    show(result, lambda: [f"{center}: {result['rows']} staged rows published"])


@check.command("drop")
def drop_held(
    center: Annotated[str, typer.Argument(help="The center whose batch to drop.")],
    why: Annotated[str, typer.Option(help="Recorded with the drop.")],
    who: Annotated[str, typer.Option(help="Your role or initials; recorded.")],
) -> None:
    """Drop a held batch; the next ingest takes its files in again: mended by then, or held again.

    Example: clnm check drop C3 --who dm --why "test exports"
    """
    from clnm.pipeline.check import decide

    result = decide(options.config, center, release=False, who=who, why=why)
    again = result["files_looked_at_again"]
    show(result, lambda: [f"{center}: {result['rows']} staged rows dropped; {again} files wait for the next ingest"])
