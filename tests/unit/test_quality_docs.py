"""Data Docs: a page for each suite and staged table, which need no network and tell no more than check_results."""

import hashlib
import io
from contextlib import redirect_stdout
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from clnm.cli import asking
from clnm.cli.app import options
from clnm.errors import UserError
from clnm.pipeline.check import write_docs
from clnm.quality.suites import read_suites
from tests.store_rows import FEATURES, GATED, LINEAGE, case_tables, day, open_store, open_writer, write_night

pytestmark = pytest.mark.long
SPACING_MM = 7.4312345
"""Beyond the bound, and nowhere else."""
CONFIG = """
[[center]]
name = "C1"
role = "train"
archive = ["archive"]
[[center]]
name = "C2"
role = "train"
archive = ["archive"]
[clinical]
age = { type = "number", unit = "years" }
edge = { type = "category", levels = ["clear", "unclear"] }
"""


class Page(HTMLParser):
    """The attributes of a page, and the text of its table rows with the classes of what is in them."""

    def __init__(self, path):
        super().__init__()
        self.attributes, self.tags, self.rows = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        if tag == "tr":
            self.rows.append("")
        if self.rows and tag == "i":
            self.rows[-1] += f" <{dict(attributes).get('class')}>"

    def handle_data(self, text):
        if self.rows:
            self.rows[-1] += f" {' '.join(text.split())}"

    def links(self):
        return [value for name, value in self.attributes if name == "href" and not value.startswith("#")]

    def failed(self):
        return [row for row in self.rows if "fa-times" in row]


def altered(table, **values):
    first = {**table.slice(0, 1).to_pylist()[0], **values}
    return pa.concat_tables([pa.Table.from_pylist([first], schema=table.schema), table.slice(1)])


def stage(store, center, tables):
    with open_writer(store, "run-2") as writer, writer.commit(LINEAGE) as batch:
        for relation in GATED:
            batch.stage(relation, center, pa.concat_tables([case[relation] for case in tables]))


def state_of(root):
    return {
        path.relative_to(root): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """C1 has a spacing that is a slip of the unit, and features that are no numbers; C2 is clean."""
    home = tmp_path_factory.mktemp("home")
    (home / "clnm.toml").write_text(CONFIG, encoding="utf-8")
    store = open_store(home / "store")
    write_night(store, range(2))
    faulty = [case_tables("C1", number, day(1), value=float("nan")) for number in range(10, 20)]
    faulty[0]["images"] = altered(faulty[0]["images"], spacing_x_mm=SPACING_MM)
    stage(store, "C1", faulty)
    stage(store, "C2", [case_tables("C2", number, day(1), value=float(number)) for number in range(3)])
    store.close()
    return home


@pytest.fixture(scope="module")
def before(home):
    return state_of(home / "store")


@pytest.fixture(scope="module")
def docs(home, before, tmp_path_factory):
    """The folder, written by the command."""
    folder = tmp_path_factory.mktemp("docs") / "new"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as told:
        patch.setattr(options, "config", home / "clnm.toml")
        asking.write_docs(folder)
    assert told.getvalue() == f"{folder / 'index.html'}: 19 pages, 12 staged tables\n"
    return folder


def test_every_suite_and_staged_table_has_its_page_and_every_link_leads_to_one(docs):
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*") if path.is_file()}
    results = {f"validations/{center}/{relation}.html" for center in ("C1", "C2") for relation in GATED}
    suites = {f"expectations/{relation}.html" for relation in GATED}
    assert pages == {"index.html"} | results | suites
    assert set(Page(docs / "index.html").links()) == pages
    for page in pages:
        for link in Page(docs / page).links():
            assert ((docs / page).parent / link).is_file(), (page, link)


def test_a_planted_fault_is_on_its_page_with_its_reason(docs):
    [reason] = [
        expectation["meta"]["reason"]
        for suite in read_suites()
        if suite.name == "images"
        for expectation in suite.expectations
        if expectation["kwargs"]["column"] == "spacing_x_mm"
    ]
    page = Page(docs / "validations" / "C1" / "images.html")
    [row] = [row for row in page.failed() if reason in row]
    assert "critical" in row
    assert "1 unexpected values found. 10% of 10 total rows." in row
    assert any("hold C1 images" in " ".join(row.split()) for row in Page(docs / "index.html").rows)


def test_a_finding_names_the_features_concerned(docs):
    rows = Page(docs / "validations" / "C1" / "radiomics.html").failed()
    assert any(", ".join(FEATURES) in row for row in rows)


def test_what_holds_is_marked_so(docs):
    for relation in GATED:
        page = Page(docs / "validations" / "C2" / f"{relation}.html")
        assert page.failed() == []
        assert any("fa-check-circle" in row for row in page.rows)


def test_a_suite_gives_each_bound_its_reason(docs):
    for suite in read_suites():
        text = " ".join((docs / "expectations" / f"{suite.name}.html").read_text(encoding="utf-8").split())
        for expectation in suite.expectations:
            assert f"{expectation['severity']}: {expectation['meta']['reason'][:20]}" in text


def test_the_pages_need_no_network(docs):
    for path in docs.rglob("*.html"):
        page, text = Page(path), path.read_text(encoding="utf-8")
        assert page.tags.isdisjoint({"script", "link", "img", "iframe"}), path.name
        assert [value for _, value in page.attributes if value and "://" in value] == [], path.name
        assert "url(" not in text
        assert "@import" not in text


def test_the_pages_tell_no_key_no_value_of_a_row_and_no_path(docs, home):
    secrets = [str(home), home.name, str(docs), "great_expectations/", str(SPACING_MM), "7.43"]
    secrets += [f"{kind}-C{center}-00" for kind in ("patient", "study", "image", "roi", "case") for center in (1, 2)]
    secrets += ["sha-C", "mask-C", "fingerprint"]
    for path in docs.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [secret for secret in secrets if secret.encode() in content] == [], path.name


def test_the_store_is_left_as_it_is(docs, home, before):
    assert state_of(home / "store") == before
    assert {path.name for path in home.iterdir()} == {"clnm.toml", "store"}


def test_the_same_folder_again_is_refused(docs, home):
    then = state_of(docs)
    with pytest.raises(UserError, match=r"new is not empty; name a new or empty folder$") as error:
        write_docs(home / "clnm.toml", docs)
    assert error.value.exit_code == 2
    assert state_of(docs) == then


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("store/docs", "the store keeps its folder to itself; name a folder outside of it"),
        ("clnm.toml", "cannot be written: File exists"),
        ("clnm.toml/docs", "cannot be written: Not a directory"),
    ],
)
def test_a_folder_that_cannot_take_the_pages_is_a_sentence(home, before, place, sentence):
    with pytest.raises(UserError, match=sentence):
        write_docs(home / "clnm.toml", home / place)
    assert state_of(home / "store") == before


def test_where_nothing_is_staged_there_are_the_suites_alone(tmp_path):
    (tmp_path / "clnm.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "docs").mkdir()
    assert write_docs(tmp_path / "clnm.toml", tmp_path / "docs")["tables"] == 0
    pages = {path.relative_to(tmp_path / "docs").parts[0] for path in (tmp_path / "docs").rglob("*.html")}
    assert pages == {"index.html", "expectations"}
    assert "nothing is staged" in (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    assert not (tmp_path / "store").exists()
