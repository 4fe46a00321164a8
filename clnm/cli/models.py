"""The model registry: list, show, compare, promote, rollback."""

from __future__ import annotations

from typing import Annotated

import typer

from clnm.cli.app import app, options, show, table

models = typer.Typer(help="The registry of model versions.", no_args_is_help=True)
app.add_typer(models, name="models")

Version = Annotated[str, typer.Argument(help="A model_version of `clnm models list`.")]


@models.command("list")
def list_models() -> None:
    """Every model version with its cross-validated and external AUC.

    Example: clnm models list
    """
    from clnm.pipeline.models import list_versions

    rows = list_versions(options.config)
    header = ("model_version", "algorithm", "status", "n_train", "n_events", "auc_cv", "auc_external", "threshold")
    show({"models": rows}, lambda: table(header, [[row[name] for name in header] for row in rows]))


@models.command("show")
def show_model(version: Version) -> None:
    """One version: its predictors with coefficients, and its evaluations with intervals.

    Example: clnm models show 20260131-lr-0123abcd
    """
    from clnm.pipeline.models import show_version

    result = show_version(options.config, version)
    header = ("cohort", "center", "metric", "value", "ci_low", "ci_high", "n", "n_events")
    show(
        result,
        lambda: [
            *(f"{name}: {value}" for name, value in result["version"].items()),
            "",
            *table(header, [[row[name] for name in header] for row in result["evaluations"]]),
        ],
    )


@models.command("compare")
def compare_models() -> None:
    """All versions side by side: AUC with its interval, cross-validated and external.

    Example: clnm models compare
    """
    from clnm.pipeline.models import compare_versions

    rows = compare_versions(options.config)
    header = ("model_version", "algorithm", "status", "cohort", "value", "ci_low", "ci_high", "n", "n_events")
    show({"models": rows}, lambda: table(header, [[row[name] for name in header] for row in rows]))


@models.command("promote")
def promote_model(version: Version) -> None:
    """Make a version champion; the champion of before is retired.

    Example: clnm models promote 20260131-lr-0123abcd
    """
    from clnm.pipeline.models import promote

    result = promote(options.config, version)
    show(result, lambda: [f"champion: {result['champion']} (before: {result['retired'] or 'none'})"])


@models.command("rollback")
def roll_back() -> None:
    """Make the champion of before champion again.

    Example: clnm models rollback
    """
    from clnm.pipeline.models import rollback

    result = rollback(options.config)
    show(result, lambda: [f"champion: {result['champion']} (before: {result['retired'] or 'none'})"])
