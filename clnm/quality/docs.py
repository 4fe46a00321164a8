"""Great Expectations' Data Docs as a folder that opens without a network: a page for each suite and staged table.

The library's renderers write what stands on a page. The frame around it is ours (`docs.html`), because the library's
loads style sheets, fonts, scripts and a logo from elsewhere; its own index page is empty without those scripts.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clnm.errors import UserError
from clnm.quality.gate import judge
from clnm.quality.suites import CheckResult, Suite, build_suite, concerned, read_outcome, validate

if TYPE_CHECKING:
    import pandas as pd

_TOLD = ("element_count", "unexpected_count", "unexpected_percent", "missing_count", "observed_value")
"""What a page may tell of a result: counts and aggregates. What else the library has are samples of rows."""
_WITHOUT_COLUMN = "Table-Level Expectations"
"""The library's heading over expectations that name no column."""
_UNFOLDED = """<div class="more">{% for block in content_block["collapse"] %}
{{ block | render_content_block(content_block_id=content_block_id ~ "-" ~ loop.index) }}{% endfor %}</div>"""
"""In the place of what a script would unfold, under an id that is another one each time."""


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A center's staged table: its suite, and the summary over which the gate runs it."""

    center: str
    suite: Suite
    frame: pd.DataFrame


def make_folder(directory: Path) -> None:
    """Make a folder, or take an empty one.

    Raises:
        UserError: it is not empty, or cannot be written.
    """
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        is_empty = not any(directory.iterdir())
    if not is_empty:
        raise UserError(f"{directory} is not empty; name a new or empty folder")


def write_site(pages: Mapping[str, str], directory: Path) -> None:
    """Write each page to its place in the folder.

    Raises:
        UserError: it cannot be written.
    """
    with _writing(directory):
        for place, content in pages.items():
            path = directory / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {os.strerror(error.errno or errno.EIO)}") from None


def render_site(
    suites: Iterable[Suite], tables: Iterable[StagedTable], *, state: int, as_of: datetime
) -> dict[str, str]:
    """Path to content of every page, the index last; `state` numbers the store's commit that was read at `as_of`.

    Raises:
        ConfigurationError: an expectation cannot be computed.
    """
    from great_expectations.render.renderer.page_renderer import ExpectationSuitePageRenderer

    pages, listed, judged = {}, [], []
    view = _view()
    for suite in suites:
        place = f"expectations/{suite.name}.html"
        pages[place] = view.render(ExpectationSuitePageRenderer().render(build_suite(suite)), home="../")
        listed.append([_link(place, suite.name), str(len(suite.expectations))])
    run = {"run_name": f"store state {state}", "run_time": as_of.isoformat()}
    for table in tables:
        if table.frame.empty:
            judged.append(["-", escape(table.center), table.suite.name, "0", "0"])
            continue
        outcome = validate(table.suite, table.frame)
        results = read_outcome(table.suite, outcome, table.center)
        place = f"validations/{table.center}/{table.suite.name}.html"
        pages[place] = view.render(_result_page(table, outcome, results, run), home="../../")
        findings = str(sum(not result.is_success for result in results))
        link = _link(place, table.suite.name)
        judged.append([judge(results).value, escape(table.center), link, str(len(results)), findings])
    pages["index.html"] = view.render(_index_page(judged, listed), home="")
    return pages


def _view() -> Any:
    """The library's own, with two of its templates replaced."""
    from great_expectations.render.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader

    frame = resources.files("clnm.quality").joinpath("docs.html").read_text("utf-8")
    view = DefaultJinjaPageView()
    view.env.loader = ChoiceLoader([DictLoader({"page.j2": frame, "collapse.j2": _UNFOLDED}), view.env.loader])
    return view


def _result_page(table: StagedTable, outcome: Any, results: Sequence[CheckResult], run: Mapping[str, str]) -> Any:
    """The library's page of an outcome that tells no more than `check_results`, and severity and reason beside it."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    suite, found = table.suite, [concerned(result.result, table.suite.names) for result in outcome.results]
    for result in outcome.results:
        result.result = {name: result.result[name] for name in _TOLD if name in result.result}
    version = outcome.meta["great_expectations_version"]
    asset = {"data_asset_name": f"{suite.name} of {table.center}"}
    outcome.meta = {"great_expectations_version": version, "run_id": dict(run), "batch_spec": asset}
    page = ValidationResultsPageRenderer().render(outcome)
    overview, *sections = page.sections
    styling = overview.content_blocks[0].subheader.string_template["styling"]
    styling["params"]["expectation_suite_name"]["attributes"]["href"] = f"../../expectations/{suite.name}.html"
    columns = [expectation["kwargs"].get("column", _WITHOUT_COLUMN) for expectation in suite.expectations]
    for section in sections:
        content = section.content_blocks[1]
        content.header_row += ["Severity", "Concerned", "Reason"]
        mine = [number for number, column in enumerate(columns) if column == section.section_name]
        for row, number in zip(content.table, mine, strict=True):
            told = (results[number].severity.value, ", ".join(map(str, found[number])), results[number].reason)
            row += [escape(text) for text in told]
    return page


def _index_page(judged: Sequence[Sequence[str]], listed: Sequence[Sequence[str]]) -> Any:
    from great_expectations.render import RenderedDocumentContent, RenderedSectionContent, RenderedTableContent

    tables = {
        "Staged tables": (["Verdict", "Center", "Table", "Expectations", "Findings"], judged),
        "Expectation suites": (["Suite", "Expectations"], listed),
    }
    sections = [
        RenderedSectionContent(
            section_name=name,
            content_blocks=[
                RenderedTableContent(
                    header=name,
                    header_row=header,
                    table=[list(row) for row in rows] or [["nothing is staged"]],
                    styling={"body": {"classes": ["table"]}},
                )
            ],
        )
        for name, (header, rows) in tables.items()
    ]
    return RenderedDocumentContent(sections=sections, renderer_type="SiteIndexPageRenderer", page_title="Data Docs")


def _link(place: str, name: str) -> str:
    return f'<a href="{escape(place)}">{escape(name)}</a>'
