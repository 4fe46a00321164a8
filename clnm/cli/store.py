"""The store's upkeep: history, verify, catalog, compact, vacuum, export, backup, restore; link and forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clnm.cli.app import app, options, show, table
from clnm.errors import StoreError

store = typer.Typer(help="The tables on disk.", no_args_is_help=True)
app.add_typer(store, name="store")


@store.command("history")
def show_history() -> None:
    """The published commits, newest first.

    Example: clnm store history
    """
    from clnm.pipeline.maintain import history

    rows = history(options.config)
    header = ("seq", "run_id", "committed_at", "relations")
    show({"history": rows}, lambda: table(header, [[row[name] for name in header] for row in rows]))


@store.command("verify")
def verify_store() -> None:
    """Look for damage: every file the manifest names is there, whole, and has the rows it should.

    Example: clnm store verify
    """
    from clnm.pipeline.maintain import verify

    result = verify(options.config)
    show(
        result,
        lambda: [
            f"{result['tables']} tables, {result['files']} files, {result['rows']} rows",
            f"{result['unused']} unused files; `clnm store vacuum` deletes what is old of them",
            *(f"DAMAGED  {line}" for line in result["findings"]),
        ],
    )
    if result["findings"]:
        raise StoreError(f"{len(result['findings'])} finding(s); restore from a backup or re-extract")


@store.command("catalog")
def rebuild_catalog() -> None:
    """Build catalog.duckdb anew, after the store was moved or a file of sql/ changed.

    Example: clnm store catalog
    """
    from clnm.pipeline.maintain import rebuild_catalog

    result = rebuild_catalog(options.config)
    show(result, lambda: [f"{result['catalog']} holds {result['relations']} relations"])


@store.command("compact")
def compact_store() -> None:
    """Merge the small files that nightly commits leave.

    Example: clnm store compact
    """
    from clnm.pipeline.maintain import compact

    result = compact(options.config)
    show(result, lambda: [f"{result['files_before']} files became {result['files_after']}"])


@store.command("vacuum")
def vacuum_store(days: Annotated[int, typer.Option(min=7, help="Keep files younger than this.")] = 7) -> None:
    """Delete files that no published table has used for some days.

    Example: clnm store vacuum --days 30
    """
    from clnm.pipeline.maintain import vacuum

    result = vacuum(options.config, days)
    show(result, lambda: [f"{result['deleted']} files deleted"])


@store.command("export")
def export_store(
    directory: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    csv: Annotated[bool, typer.Option("--csv", help="CSV instead of Parquet.")] = False,
) -> None:
    """One file per relation, with the data dictionary.

    Example: clnm store export handover --csv
    """
    from clnm.pipeline.maintain import export

    result = export(options.config, directory, "csv" if csv else "parquet")
    show(result, lambda: [f"{result['relations']} relations written to {directory}"])


@store.command("backup")
def backup_store(directory: Annotated[Path, typer.Argument(help="A new or empty folder.")]) -> None:
    """Copy the store, its private part included, as the last commit left it.

    Example: clnm store backup /mnt/backup/clnm
    """
    from clnm.pipeline.maintain import backup

    result = backup(options.config, directory)
    show(result, lambda: [f"{result['files']} files copied, all checksums equal"])


@store.command("restore")
def restore_store(directory: Annotated[Path, typer.Argument(help="A folder that `clnm store backup` wrote.")]) -> None:
    """Put a backup in the place of a store that is not there.

    Example: clnm store restore /mnt/backup/clnm
    """
    from clnm.pipeline.maintain import restore

    result = restore(options.config, directory)
    show(result, lambda: [f"{result['files']} files restored, all checksums equal"])


@app.command()
def link(
    patient_key: Annotated[str, typer.Argument(help="A patient_key of the store.")],
    key_file: Annotated[Path | None, typer.Option(help="The link key; default: beside the file of its half.")] = None,
) -> None:
    """Who this patient is (with the link key), and which files at the source their images come from: for the operator.

    Example: clnm link k1-0123456789abcdef0123 --key-file /media/usb/link.key
    """
    from clnm.pipeline.linking import link

    found = link(options.config, patient_key, key_file=key_file)
    header = ("center", "image_key", "path")
    who = found["patient"] or ("sealed; name the link key with --key-file" if found["is_sealed"] else "not kept")
    show(found, lambda: [f"patient: {who}", *table(header, [[row[name] for name in header] for row in found["files"]])])


@app.command()
def forget(patient_key: Annotated[str, typer.Argument(help="A patient_key of the store.")]) -> None:
    """Remove a patient: rows, older versions, cached pixels; lists the model versions trained on the patient.

    Example: clnm forget k1-0123456789abcdef0123
    """
    from clnm.pipeline.maintain import forget

    result = forget(options.config, patient_key)
    show(
        result,
        lambda: [
            f"{result['rows']} rows and {result['files']} cached files removed",
            *(f"trained on this patient: {version}" for version in result["model_versions"]),
        ],
    )
