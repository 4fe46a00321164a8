"""The gate: shipped suites hold what is wrong, let clean rows through, and refuse to be a suite that says nothing."""

import json
import shutil
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from clnm.entities import ClinicalVariable, Severity, VariableKind
from clnm.errors import ConfigurationError
from clnm.pipeline.check import look_at
from clnm.quality.gate import GateVerdict, judge
from clnm.quality.suites import CheckResult, parse_suite, read_suites, run_suite
from tests.store_rows import (
    FEATURES,
    GATED,
    LINEAGE,
    VARIABLES,
    answers,
    case_tables,
    day,
    open_store,
    open_writer,
    stage_cases,
    table_of,
    write_night,
)

pytestmark = pytest.mark.long


def _below(column, most):
    kwargs = {"column": column, "max_value": most}
    return {
        "type": "expect_column_values_to_be_between",
        "kwargs": kwargs,
        "severity": "critical",
        "meta": {"reason": "a bound"},
    }


BELOW_TEN, BELOW_ONE = _below("y", 10.0), _below("z", 1.0)
CENTER = "C1"


def check(store, center=CENTER):
    """What the pipeline's check does, up to its verdict."""
    results = look_at(store, [center])[center]
    return judge(results), [result for result in results if not result.is_success]


def altered(table, **values):
    """The first row says something else."""
    first = {name: values.get(name, value) for name, value in table.slice(0, 1).to_pylist()[0].items()}
    return pa.concat_tables([pa.Table.from_pylist([first], schema=table.schema), table.slice(1)])


def stage(store, tables):
    with open_writer(store, "run-2") as writer, writer.commit(LINEAGE) as batch:
        for relation in GATED:
            batch.stage(relation, CENTER, pa.concat_tables([case[relation] for case in tables]))


def with_fault(relation, **values):
    """Five cases of which the first has a fault."""
    tables = [case_tables(CENTER, number, day(1)) for number in range(10, 15)]
    tables[0] = tables[0] | {relation: altered(tables[0][relation], **values)}
    return tables


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two published cases: what is staged is judged beside them."""
    store = open_store(tmp_path_factory.mktemp("prepared") / "store")
    write_night(store, range(2))
    store.close()
    return store.root


@pytest.fixture
def store(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "store")
    return open_store(tmp_path / "store")


FAR = day(1) + timedelta(days=40_000)
HELD = {
    "centimetres read as millimetres": (
        "images",
        {"spacing_x_mm": 10.0},
        "expect_column_values_to_be_between(spacing_x_mm)",
    ),
    "millimetres read as metres": (
        "images",
        {"spacing_y_mm": 0.0001},
        "expect_column_values_to_be_between(spacing_y_mm)",
    ),
    "an examination in the future": ("images", {"acquired_at": FAR}, "expect_column_values_to_be_between(days_ahead)"),
    "one picture for two patients": (
        "images",
        {"sha256": "sha-C1-0000"},
        "expect_column_values_to_be_between(other_patients)",
    ),
    "an area of a field": ("rois", {"area_mm2": 5e5}, "expect_column_values_to_be_between(area_mm2)"),
    "an area of a hair": ("rois", {"area_mm2": 0.01}, "expect_column_values_to_be_between(area_mm2)"),
    "a mask over the whole picture": (
        "rois",
        {"area_px": 19_900},
        "expect_column_values_to_be_between(image_fraction)",
    ),
    "a mask larger than its picture": (
        "rois",
        {"area_px": 40_000},
        "expect_column_values_to_be_between(image_fraction)",
    ),
    "a mask without its picture": ("rois", {"image_key": "nowhere"}, "expect_column_values_to_be_between(images)"),
    "clinical values from the future": (
        "clinical",
        {"known_at": FAR},
        "expect_column_values_to_be_between(days_ahead)",
    ),
    "pathology from the future": ("outcomes", {"known_at": FAR}, "expect_column_values_to_be_between(days_ahead)"),
    "an embedding of nothing": ("deep", {"embedding": [0.0, 0.0]}, "expect_column_values_to_be_between(norm)"),
    "an embedding that is not a number": (
        "deep",
        {"embedding": [float("nan"), 1.0]},
        "expect_column_values_to_be_between(norm)",
    ),
    "an embedding that is empty": ("deep", {"embedding": []}, "expect_column_values_to_be_between(norm)"),
    "a spacing that is not a number": (
        "images",
        {"spacing_x_mm": float("nan")},
        "expect_column_values_to_be_between(spacing_x_mm)",
    ),
    "an area that is not a number": (
        "rois",
        {"area_mm2": float("nan")},
        "expect_column_values_to_be_between(area_mm2)",
    ),
    "an embedding of another network": (
        "deep",
        {"embedding": [1.0, 1.0, 1.0]},
        "expect_column_values_to_be_between(lengths)",
    ),
}


@pytest.mark.parametrize("fault", HELD, ids=str)
def test_a_planted_fault_is_held_by_its_expectation(store, fault):
    relation, values, expectation = HELD[fault]
    stage(store, with_fault(relation, **values))
    verdict, failed = check(store)
    assert verdict is GateVerdict.HOLD
    critical = [(result.relation, result.expectation) for result in failed if result.severity is Severity.CRITICAL]
    assert (relation, expectation) in critical
    assert {name for name, _ in critical} == {relation}


def test_a_feature_that_is_mostly_not_a_number_is_held(store):
    stage(store, [case_tables(CENTER, number, day(1), value=float("nan")) for number in range(10, 20)])
    verdict, failed = check(store)
    assert verdict is GateVerdict.HOLD
    finding = next(r for r in failed if r.severity is Severity.CRITICAL)
    assert "bad_chance" in finding.expectation
    assert json.loads(finding.observed)["feature"] == list(FEATURES)


def nights_of(store, sizes, **image):
    """Published nights of so many images each, a day apart; returns the number of the next image."""
    number = 100
    with open_writer(store) as writer:
        for night, size in enumerate(sizes):
            cases = [case_tables(CENTER, number + k, day(night + 2)) for k in range(size)]
            with writer.commit(LINEAGE) as batch:
                batch.stage("images", CENTER, pa.concat_tables([altered(case["images"], **image) for case in cases]))
            with writer.commit(LINEAGE) as batch:
                batch.publish(CENTER)
            number += size
    return number


def stage_images(store, first, count, known_at, **image):
    images = [altered(case_tables(CENTER, first + k, known_at)["images"], **image) for k in range(count)]
    with open_writer(store, "run-2") as writer, writer.commit(LINEAGE) as batch:
        batch.stage("images", CENTER, pa.concat_tables(images))


def critical(failed):
    return {result.expectation.split("(")[1].rstrip(")") for result in failed if result.severity is Severity.CRITICAL}


@pytest.mark.parametrize(
    ("count", "days_later", "held"),
    [
        (29, 1, {"night_chance"}),  # ten times the largest night
        (20, 1, set()),  # a busy one
        (29, 10, set()),  # ten nights that brought nothing, and all of them now
    ],
)
def test_a_night_far_beyond_all_nights_is_held_and_a_backlog_is_not(store, count, days_later, held):
    first = nights_of(store, [3, 1, 2, 3, 1, 2, 3])
    stage_images(store, first, count, day(8 + days_later))
    assert critical(check(store)[1]) == held


def test_of_a_center_with_few_nights_no_number_is_too_large(store):
    first = nights_of(store, [2, 3, 1, 2])
    stage_images(store, first, 300, day(7))
    assert check(store)[0] is GateVerdict.PUBLISH


@pytest.mark.parametrize(("spacing_mm", "held"), [(0.02, {"spacing_step"}), (0.08, set()), (0.4, set())])
def test_a_machine_whose_pixels_shrink_tenfold_is_held_and_another_probe_is_not(store, spacing_mm, held):
    """A tenth of 0.2 mm is a plausible pixel of some machine, but not of this one."""
    first = nights_of(store, [20], spacing_x_mm=0.2, spacing_y_mm=0.2)
    stage_images(store, first, 1, day(3), spacing_x_mm=spacing_mm, spacing_y_mm=spacing_mm)
    assert critical(check(store)[1]) == held


def test_a_single_value_that_is_no_number_is_published_and_recorded(store):
    tables = [case_tables(CENTER, number, day(1), value=float(number)) for number in range(10, 15)]
    tables[0]["radiomics"] = altered(tables[0]["radiomics"], original_glcm_Contrast=float("nan"))
    stage(store, tables)
    verdict, failed = check(store)
    assert verdict is GateVerdict.PUBLISH
    assert {result.severity for result in failed} == {Severity.INFO}


@pytest.mark.parametrize(("area_mm2", "held"), [(4.0, {"bad_chance"}), (None, set())])
def test_a_lost_feature_is_held_where_it_is_not_for_want_of_a_spacing(store, area_mm2, held):
    tables = [case_tables(CENTER, number, day(1)) for number in range(10, 20)]
    for case in tables:
        case["radiomics"] = altered(case["radiomics"], original_glcm_Contrast=None)
        case["rois"] = altered(case["rois"], area_mm2=area_mm2)
    stage(store, tables)
    assert critical(check(store)[1]) == held


WARNED = {
    "a thumbnail": ("images", {"rows_px": 30, "columns_px": 100}),
    "pixels six times as wide as high": ("images", {"spacing_x_mm": 0.6}),
    "a stray click": ("rois", {"area_px": 9}),
}


@pytest.mark.parametrize("fault", WARNED, ids=str)
def test_what_a_person_should_look_at_is_published_and_said(store, fault):
    relation, values = WARNED[fault]
    stage(store, with_fault(relation, **values))
    verdict, failed = check(store)
    assert verdict is GateVerdict.WARN
    assert {(result.relation, result.severity) for result in failed} == {(relation, Severity.WARNING)}


def test_two_answers_for_one_patient_are_published_and_said(store):
    case = case_tables(CENTER, 10, day(1))
    other = altered(case["outcomes"], value=False, known_at=day(2))
    stage(store, [case | {"outcomes": pa.concat_tables([case["outcomes"], other])}])
    assert check(store)[0] is GateVerdict.WARN


def test_clean_rows_of_many_kinds_pass(store):
    """Three hundred cases drawn from the plausible: no false hold."""
    generator = np.random.default_rng(5)
    suites = [suite for suite in read_suites() if suite.name in ("images", "rois")]
    tables = {"images": [], "rois": []}
    for number in range(300):
        rows, columns = generator.integers(64, 1200, 2).tolist()
        spacing = min(float(generator.uniform(0.02, 0.5)), 300 / rows)  # a probe looks no deeper than 30 cm
        fraction = float(generator.uniform(0.002, 0.6))
        area = max(int(rows * columns * fraction), 16, int(1.1 / spacing**2))
        area = min(area, int(19_000 / spacing**2), int(rows * columns * 0.9))
        case = case_tables(CENTER, 100 + number, day(1))
        size = {"rows_px": rows, "columns_px": columns, "spacing_x_mm": spacing, "spacing_y_mm": spacing}
        tables["images"].append(altered(case["images"], **size))
        tables["rois"].append(altered(case["rois"], area_px=area, area_mm2=area * spacing**2))
    with open_writer(store) as writer, writer.commit(LINEAGE) as batch:
        for relation, parts in tables.items():
            batch.stage(relation, CENTER, pa.concat_tables(parts))
    found = look_at(store, [CENTER])[CENTER]
    assert len(found) == sum(len(suite.expectations) for suite in suites)
    assert [result for result in found if not result.is_success] == []


def judged(store):
    return judge(look_at(store, [CENTER])[CENTER])


def test_a_feature_that_is_no_longer_asked_for_is_not_missed(tmp_path):
    store = open_store(tmp_path / "store")
    write_night(store, range(30))
    tables = [case_tables(CENTER, number, day(1), features=FEATURES[:1]) for number in range(30, 60)]
    for case in tables:
        place = case["radiomics"].column_names.index("feature_set_version")
        case["radiomics"] = case["radiomics"].set_column(place, "feature_set_version", pa.array(["v2"]))
    stage(store, tables)
    assert judged(store) is GateVerdict.PUBLISH


def test_a_feature_without_any_value_is_held_on_the_first_night_of_its_version_too(tmp_path):
    store = open_store(tmp_path / "store")
    tables = [case_tables(CENTER, number, day(1)) for number in range(30)]
    for case in tables:
        case["radiomics"] = altered(case["radiomics"], original_glcm_Contrast=None)
    stage(store, tables)
    verdict, failed = check(store)
    assert verdict is GateVerdict.HOLD
    [finding] = [result for result in failed if result.severity is Severity.CRITICAL]
    assert json.loads(finding.observed)["feature"] == ["original_glcm_Contrast"]


def test_a_variable_that_is_no_longer_asked_for_is_not_missed_and_one_that_is_empty_is(tmp_path):
    write_night(open_store(tmp_path / "store"), range(30))
    tables = [case_tables(CENTER, number, day(1), age=None) for number in range(30, 60)]
    fewer = open_store(tmp_path / "store", VARIABLES[1:])
    with open_writer(fewer, "run-2") as writer, writer.commit(LINEAGE) as batch:
        for relation in GATED:
            table = pa.concat_tables([case[relation] for case in tables])
            batch.stage(relation, CENTER, table.drop_columns(["age"]) if relation == "clinical" else table)
    assert judged(fewer) is GateVerdict.PUBLISH
    assert judged(open_store(tmp_path / "store")) is GateVerdict.HOLD


def test_a_new_variable_may_begin_with_one_value_and_go_on_with_it(tmp_path):
    write_night(open_store(tmp_path / "store"), range(30))
    grown = open_store(tmp_path / "store", (*VARIABLES, ClinicalVariable("smoker", VariableKind.FLAG)))
    for night in (1, 2):
        tables = [case_tables(CENTER, 30 * night + number, day(night)) for number in range(30)]
        for case in tables:
            case["clinical"] = case["clinical"].append_column("smoker", pa.array([False]))
        stage(grown, tables)
        assert judged(grown) is GateVerdict.PUBLISH
        with open_writer(grown, f"run-{2 + night}") as writer, writer.commit(LINEAGE) as batch:
            batch.publish(CENTER)


def test_a_feature_that_is_suddenly_the_same_for_every_roi_is_held(tmp_path):
    store = open_store(tmp_path / "store")
    with open_writer(store) as writer, writer.commit(LINEAGE) as batch:
        for number in range(30):
            stage_cases(batch, CENTER, [number], day(0), value=float(number))
    with open_writer(store) as writer, writer.commit(LINEAGE) as batch:
        batch.publish(CENTER)
    stage(store, [case_tables(CENTER, number, day(1), value=7.0) for number in range(30, 60)])
    verdict, failed = check(store)
    assert verdict is GateVerdict.HOLD
    told = {(result.relation, result.expectation, result.severity) for result in failed}
    assert told == {("radiomics", "expect_column_values_to_be_between(same_chance)", Severity.CRITICAL)}
    assert all(name in failed[0].observed for name in FEATURES)


@pytest.mark.parametrize(("same", "held"), [(5, False), (6, True)])
def test_a_first_night_whose_features_are_mostly_the_same_for_every_roi_is_held(tmp_path, same, held):
    """Of ten features some say one value, and nothing of before tells whether they always did."""
    store = open_store(tmp_path / "store")
    names = [f"original_firstorder_{number}" for number in range(10)]
    tables = [case_tables(CENTER, number, day(1), features=names, value=float(number)) for number in range(12)]
    for case in tables:
        case["radiomics"] = altered(case["radiomics"], **dict.fromkeys(names[:same], 3.0))
    stage(store, tables)
    assert (check(store)[0] is GateVerdict.HOLD) == held


def test_another_picture_with_the_same_embedding_is_said_and_half_of_them_are_held(store):
    tables = [case_tables(CENTER, number, day(1)) for number in range(10, 22)]
    for count, verdict in ((1, GateVerdict.WARN), (7, GateVerdict.HOLD)):
        for case in tables[1 : count + 1]:
            case["deep"] = altered(case["deep"], embedding=tables[0]["deep"].to_pylist()[0]["embedding"])
        stage(store, tables)
        found, failed = check(store)
        assert (found, {result.relation for result in failed}) == (verdict, {"deep"})
        with open_writer(store, "run-3") as writer, writer.commit(LINEAGE) as batch:
            batch.drop(CENTER)


def test_a_whole_clean_batch_is_published(store):
    stage(store, [case_tables(CENTER, number, day(1), value=float(number)) for number in range(10, 15)])
    verdict, failed = check(store)
    assert failed == []
    assert verdict is GateVerdict.PUBLISH


def test_without_a_known_spacing_nothing_is_held(store):
    case = case_tables(CENTER, 10, day(1))
    unknown = altered(case["images"], spacing_x_mm=None, spacing_y_mm=None, spacing_source="none")
    stage(store, [case | {"images": unknown, "rois": altered(case["rois"], area_mm2=None)}])
    assert check(store)[0] is GateVerdict.PUBLISH


def test_a_fault_of_another_center_holds_nobody_else(store):
    stage(store, with_fault("images", spacing_x_mm=10.0))
    with open_writer(store, "run-3") as writer, writer.commit(LINEAGE) as batch:
        stage_cases(batch, "C2", range(3), day(1))
    assert check(store, "C2")[0] is GateVerdict.PUBLISH
    assert check(store, CENTER)[0] is GateVerdict.HOLD


def test_held_rows_are_in_no_published_relation_and_come_out_with_a_release_alone(store):
    stage(store, with_fault("images", spacing_x_mm=10.0))
    names = [name for name in store.relations() if name != "data_dictionary"]
    before = {name: store.relation(name).num_rows for name in names}
    write_night(store, range(3), center="C2", known_at=day(2), run_id="run-3")  # another center publishes meanwhile
    for name in ("images", "rois", "cases", "radiomics", "deep", "clinical", "outcomes", "features_long", "worklist"):
        assert answers(store, f"SELECT count(*) FROM {name} WHERE center = '{CENTER}'") == [(before[name],)], name
    with open_writer(store, "run-4") as writer, writer.commit(LINEAGE) as batch:
        batch.publish(CENTER)
    assert answers(store, f"SELECT count(*) FROM cases WHERE center = '{CENTER}'") == [(2 + 5,)]


def test_dropped_rows_are_gone(store):
    stage(store, with_fault("images", spacing_x_mm=10.0))
    with open_writer(store, "run-4") as writer, writer.commit(LINEAGE) as batch:
        batch.drop(CENTER)
    assert store.manifest().staged == {}
    assert answers(store, "SELECT count(*) FROM cases") == [(2,)]
    assert list(store.root.glob("staging/**/*.parquet")) == []


def test_a_later_check_takes_the_findings_of_an_earlier_one_back(store):
    def record(run_id, is_success):
        finding = {"center": CENTER, "relation": "rois", "severity": "critical", "is_success": is_success}
        with open_writer(store, run_id) as writer, writer.commit(LINEAGE) as batch:
            batch.append("check_results", table_of("check_results", [finding]))
        return [row["relation"] for row in store.run_query("latest_critical_findings")]

    assert record("run-2", is_success=False) == ["rois"]
    assert record("run-3", is_success=True) == []


def test_a_finding_tells_counts_and_no_key(store):
    stage(store, with_fault("images", sha256="sha-C1-0000"))
    _, failed = check(store)
    told = " ".join(result.observed + result.reason + result.expectation for result in failed)
    assert json.loads(failed[0].observed) == {"element_count": 5, "unexpected_count": 1}
    assert "C1-0" not in told
    rows = table_of(
        "check_results", [{"relation": r.relation, "center": r.center, "observed": r.observed} for r in failed]
    )
    assert rows.num_rows == len(failed)


def test_every_gated_table_has_a_suite_and_every_bound_its_reason():
    suites = read_suites()
    assert {suite.name for suite in suites} == set(GATED)
    for suite in suites:
        for expectation in suite.expectations:
            assert len(expectation["meta"]["reason"]) > 20


def suite_text(**changes):
    expectation = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "x", "min_value": 0},
        "severity": "critical",
        "meta": {"reason": "because"},
    } | changes
    return json.dumps({"name": "s", "meta": {"query": "q"}, "expectations": [expectation]})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (suite_text(meta={}), "needs meta.reason"),
        (suite_text(meta={"reason": ""}), "needs meta.reason"),
        (suite_text(severity="grave"), "needs a severity: critical, warning, info"),
        ("{", "is no suite"),
        ("[]", "is no suite"),
        (json.dumps({"expectations": []}), "is no suite"),
        (json.dumps({"meta": {"query": "q"}, "expectations": ["text"]}), "is no suite"),
        (json.dumps({"meta": {"query": "q"}, "expectations": []}), "no expectation"),
    ],
)
def test_a_file_that_would_check_nothing_is_refused_by_name(text, sentence):
    with pytest.raises(ConfigurationError, match=r"expectations/mine\.json") as error:
        parse_suite("mine", text)
    assert sentence in str(error.value)
    assert error.value.exit_code == 10


@pytest.mark.parametrize("kind", ["expect_column_values_to_be_betwen", None])
@pytest.mark.parametrize("frames", [{}, {CENTER: pd.DataFrame({"x": [1.0]})}])
def test_an_expectation_that_the_library_does_not_know_is_refused_also_where_no_row_is_looked_at(kind, frames):
    with pytest.raises(ConfigurationError, match=rf"expectations/mine\.json: unknown expectation type {kind!r}"):
        run_suite(parse_suite("mine", suite_text(type=kind)), frames)


def test_an_expectation_on_a_column_that_is_not_there_is_refused_and_not_passed():

    suite = parse_suite("mine", suite_text())
    with pytest.raises(ConfigurationError, match="cannot be computed"):
        run_suite(suite, {CENTER: pd.DataFrame({"y": [1.0]})})


@pytest.mark.parametrize(
    ("failed", "verdict"),
    [
        ((), GateVerdict.PUBLISH),
        ((Severity.INFO,), GateVerdict.PUBLISH),
        ((Severity.INFO, Severity.WARNING), GateVerdict.WARN),
        ((Severity.WARNING, Severity.CRITICAL), GateVerdict.HOLD),
    ],
)
def test_the_gravest_finding_decides(failed, verdict):
    results = [
        CheckResult("rois", CENTER, "e", severity, is_success=False, observed="", reason="r") for severity in failed
    ]
    fine = CheckResult("rois", CENTER, "e", Severity.CRITICAL, is_success=True, observed="", reason="r")
    assert judge([*results, fine]) is verdict


@pytest.mark.parametrize(("worst", "held"), [(10.0, []), (11.0, ["C2"]), (None, [])])
def test_centers_judged_together_get_what_each_gets_alone(worst, held):
    suite = parse_suite("rois", json.dumps({"meta": {"query": "check_rois"}, "expectations": [BELOW_TEN, BELOW_ONE]}))
    frames = {
        "C1": pd.DataFrame({"y": [1.0, 2.0, 3.0], "z": [0.0, None, 1.0]}),
        "C2": pd.DataFrame({"y": [1.0, worst], "z": [None, None]}, dtype=float),
        "C3": pd.DataFrame({"y": [], "z": []}, dtype=float),
    }
    together = run_suite(suite, frames)
    assert together == {center: run_suite(suite, {center: frames[center]})[center] for center in ("C1", "C2")}
    assert [center for center, results in together.items() if not all(r.is_success for r in results)] == held
