"""Runs Great Expectations suites over small frames that SQL made: one suite per table, one JSON file each.

Great Expectations drops an expectation of an unknown type with no more than a log line; here that is refused.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from clnm.entities import Severity
from clnm.errors import ConfigurationError
from clnm.quality.chance import add_chances

if TYPE_CHECKING:
    import pandas as pd

_AT_MOST_NAMED = 5
_ROW_BY_ROW = "expect_column_values_"
"""How the library's expectations begin that judge each row by itself."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One row of `check_results`."""

    relation: str
    center: str
    expectation: str
    severity: Severity
    is_success: bool
    observed: str
    reason: str


@dataclass(frozen=True, slots=True)
class Suite:
    """One file of `expectations/`: the table it speaks of, the query that summarises it, and its expectations."""

    name: str
    query: str
    expectations: tuple[Mapping[str, Any], ...]
    names: str | None = None
    """The column that says what a row of the summary speaks of, where that may be told: a feature, a variable."""


@cache
def read_suites() -> tuple[Suite, ...]:
    """Every packaged suite, by name; what its library knows of expectations is asked by `build_suite`.

    Raises:
        ConfigurationError: a file is no suite, names an unknown severity, or gives no reason.
    """
    folder = resources.files("expectations")
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(".json"))
    return tuple(
        parse_suite(name.removesuffix(".json"), folder.joinpath(name).read_text(encoding="utf-8")) for name in names
    )


def parse_suite(name: str, text: str) -> Suite:
    """One suite from its JSON text; see `read_suites`."""
    try:
        content = json.loads(text)
        suite = Suite(name, content["meta"]["query"], tuple(content["expectations"]), content["meta"].get("names"))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"expectations/{name}.json is no suite ({type(error).__name__})") from None
    if not suite.expectations:
        raise ConfigurationError(f"expectations/{name}.json has no expectation: it would let everything through")
    for expectation in suite.expectations:
        if not isinstance(expectation, dict) or not isinstance(expectation.get("kwargs"), dict):
            raise ConfigurationError(
                f"expectations/{name}.json is no suite: an expectation has type, kwargs, severity, meta"
            )
        kind = expectation.get("type")
        if expectation.get("severity") not in set(Severity):
            raise ConfigurationError(f"expectations/{name}.json: {kind} needs a severity: {', '.join(Severity)}")
        if not expectation.get("meta", {}).get("reason"):
            raise ConfigurationError(
                f"expectations/{name}.json: {kind} needs meta.reason: why the bound is where it is"
            )
    return suite


def run_suite(suite: Suite, frames: Mapping[str, pd.DataFrame]) -> dict[str, list[CheckResult]]:
    """The suite's results over the summaries of some centers. An empty summary holds nothing against anyone.

    Great Expectations takes as long for one summary as for many at once. Where every expectation looks at row after row
    and all rows of all centers hold, the rows of each center do; else each summary is looked at by itself.

    Raises:
        ConfigurationError: see `build_suite` and `validate`.
    """
    import pandas as pd

    build_suite(suite)  # a mistake in it is told though there is nothing to look at
    filled = {center: frame for center, frame in frames.items() if not frame.empty}
    if len(filled) > 1 and all(map(_looks_at_each_row, suite.expectations)):
        together = validate(suite, pd.concat(list(filled.values()), ignore_index=True))
        if all(result.success for result in together.results):
            return {
                center: [
                    _result(suite, center, expectation, is_success=True, told=_all_of(frame))
                    for expectation in suite.expectations
                ]
                for center, frame in filled.items()
            }
    return {center: read_outcome(suite, validate(suite, frame), center) for center, frame in filled.items()}


def _all_of(frame: pd.DataFrame) -> dict[str, int]:
    """What the library says of a summary whose rows all hold."""
    return {"element_count": len(frame), "unexpected_count": 0}


def _looks_at_each_row(expectation: Mapping[str, Any]) -> bool:
    return expectation["type"].startswith(_ROW_BY_ROW) and "mostly" not in expectation["kwargs"]


def validate(suite: Suite, frame: pd.DataFrame) -> Any:
    """Great Expectations' own outcome over a summary with rows: a result for each expectation, in the suite's order.

    Raises:
        ConfigurationError: an expectation was not taken, or cannot be computed over the summary.
    """
    batch = _batches(suite.name).get_batch(batch_parameters={"dataframe": add_chances(frame)})
    result_format = {"result_format": "SUMMARY", "partial_unexpected_count": _AT_MOST_NAMED}
    if suite.names:
        result_format["unexpected_index_column_names"] = [suite.names]
    outcome = batch.validate(build_suite(suite), result_format=result_format)
    for expectation, result in zip(suite.expectations, outcome.results, strict=True):
        if "raised_exception': True" in str(result.exception_info):  # flat, or once for each metric
            raise ConfigurationError(
                f"expectations/{suite.name}.json: {_title(expectation)} cannot be computed over {suite.query}"
            )
    return outcome


def build_suite(suite: Suite) -> Any:
    """The suite as Great Expectations' own.

    Raises:
        ConfigurationError: it does not know an expectation, or did not take every one.
    """
    for expectation in suite.expectations:
        if (kind := expectation.get("type")) not in _known_types():
            raise ConfigurationError(f"expectations/{suite.name}.json: unknown expectation type {kind!r}")
    return _built(suite.name, json.dumps(suite.expectations))


@cache
def _built(name: str, expectations: str) -> Any:
    """Each expectation is a model of its own to the library, which takes longer to make than to validate."""
    import great_expectations as gx

    suite = Suite(name, "", tuple(json.loads(expectations)))
    built = gx.ExpectationSuite(name=suite.name, expectations=[_for_library(e) for e in suite.expectations])
    if len(built.expectations) != len(suite.expectations):
        raise ConfigurationError(f"expectations/{suite.name}.json: Great Expectations did not take every expectation")
    return built


def concerned(result: Mapping[str, Any], names: str | None) -> list[str]:
    """The first of the features or variables that a result found fault with; of rows that have no such name, none."""
    return [row[names] for row in result.get("partial_unexpected_index_list") or ()] if names else []


def read_outcome(suite: Suite, outcome: Any, center: str) -> list[CheckResult]:
    """What `validate` gave, as rows of `check_results`."""
    return [
        _result(suite, center, expectation, is_success=bool(result.success), told=result.result)
        for expectation, result in zip(suite.expectations, outcome.results, strict=True)
    ]


def _result(
    suite: Suite, center: str, expectation: Mapping[str, Any], *, is_success: bool, told: Mapping[str, Any]
) -> CheckResult:
    return CheckResult(
        relation=suite.name,
        center=center,
        expectation=_title(expectation),
        severity=Severity(expectation["severity"]),
        is_success=is_success,
        observed=_observed(told, suite.names),
        reason=expectation["meta"]["reason"],
    )


def _title(expectation: Mapping[str, Any]) -> str:
    return f"{expectation['type']}({expectation['kwargs'].get('column', '')})"


def _observed(result: Mapping[str, Any], names: str | None) -> str:
    """Counts and aggregates, and the first of the features or variables concerned: never a value of a row."""
    told = {name: result[name] for name in ("element_count", "unexpected_count", "observed_value") if name in result}
    if names and (found := concerned(result, names)):
        told[names] = found
    return json.dumps(told, default=str)


def _for_library(expectation: Mapping[str, Any]) -> Any:
    from great_expectations.expectations.registry import get_expectation_impl

    severity, reason = expectation["severity"], expectation["meta"]["reason"]
    return get_expectation_impl(expectation["type"])(
        **expectation["kwargs"], severity=severity, notes=[f"{severity}: {reason}"]
    )


@cache
def _known_types() -> frozenset[str]:
    _silence()
    import great_expectations.expectations as gxe  # registers the types
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    del gxe
    return frozenset(list_registered_expectation_implementations())


@cache
def _context() -> Any:
    _silence()
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


@cache
def _batches(name: str) -> Any:
    """What makes a batch of a frame; kept, because the library writes its whole configuration anew for each."""
    source = _context().data_sources.add_or_update_pandas(name=name)
    return source.add_dataframe_asset(name=name).add_batch_definition_whole_dataframe(name)


def _silence() -> None:
    """Before the import: no telemetry. After it: its loggers have levels of their own."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    del gx
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("great_expectations")]:
        logging.getLogger(name).setLevel(logging.ERROR)
