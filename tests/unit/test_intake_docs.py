"""docs/intake.md is true of the code."""

import re
from pathlib import Path

from clnm.archive.difference import REHASHED
from clnm.archive.matching import MASK_WORDS
from clnm.archive.tables import MISSING
from clnm.entities import FileStatus, Reason
from clnm.imaging.masks import VOLUMES
from clnm.imaging.pictures import SUFFIXES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "intake.md").read_text(encoding="utf-8")


def test_every_reason_is_in_the_document_once_with_a_meaning_and_a_cure():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", TEXT, re.MULTILINE)
    named = [reason for reason, meaning, cure in rows if meaning.strip() and cure.strip()]
    assert sorted(named) == sorted(reason.value for reason in Reason)


def test_every_state_is_in_the_document():
    named = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", TEXT, re.MULTILINE)
    assert sorted(named) == sorted(status.value for status in FileStatus)


def test_the_words_of_the_document_are_the_words_of_the_code():
    flat = " ".join(TEXT.split())
    assert REHASHED == 50
    assert "Fifty images of a center" in flat
    assert {word for word in MISSING if word} == set(
        re.findall(r"`([^`]+)`", re.search("an empty cell, (.+?)\\. A", flat)[1])
    )
    assert {f"_{word}" for word in MASK_WORDS} == set(
        re.findall(r"`(_\w+)`", re.search("its name ends in (.+?)\\.", flat)[1])
    )
    assert [suffix for suffix in (*VOLUMES, *SUFFIXES) if f"`{suffix}`" not in flat] == []


def test_reasons_that_are_said_not_to_be_given_are_given_nowhere():
    sources = [
        path for path in (Path(__file__).resolve().parents[2] / "clnm").rglob("*.py") if path.name != "entities.py"
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    silent = {reason.value for reason in Reason if f"Reason.{reason.name}" not in code}
    assert silent == {"table_unreadable"}
    assert TEXT.count("not given by this version") == 1
