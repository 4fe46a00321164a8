"""Decoders that end, hang or fill their process: the file is set aside, and its neighbours are taken in."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from clnm.archive.lookers import Lookers
from clnm.errors import ConfigurationError
from tests.unit.intake_archives import hospital, pixels, png

SPOILED = '''
import ctypes, os, signal, time
from PIL import Image

opened = Image.open
ENDS = {
    b"crash-now": lambda: ctypes.string_at(0),
    b"abort-now": os.abort,
    b"hang-now!": lambda: time.sleep(60),
    b"fill-now!": lambda: bytearray(64 << 30),
    b"oom-now!!": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def open_or_end(file, *more, **named):
    """Stands for a library that bytes can bring down."""
    content = file.getvalue() if hasattr(file, "getvalue") else b""
    for mark, end in ENDS.items():
        if mark in content:
            end()
    return opened(file, *more, **named)


Image.open = open_or_end
'''
MARKS = {
    "crash": b"crash-now",
    "abort": b"abort-now",
    "hang": b"hang-now!",
    "fill": b"fill-now!",
    "oom": b"oom-now!!",
}


@pytest.fixture
def spoiled(tmp_path, monkeypatch):
    """Every process that is started from here on has a decoder of pictures that some bytes bring down."""
    folder = tmp_path / "spoiled"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SPOILED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture
def clinic(tmp_path):
    names = ["a", "b", *MARKS, "y", "z"]
    files = {f"{name}.png": png(pixels(number)) + MARKS.get(name, b"") for number, name in enumerate(names)}
    index = "image,patient\n" + "".join(f"{name}.png,P{name}\n" for name in names)
    return hospital(tmp_path / "clinic", files, tables={"index": ("archive/images.csv", index)})


def test_a_file_that_ends_its_decoder_is_set_aside_and_its_neighbours_are_taken_in(spoiled, clinic):
    with Lookers(2, time_limit_s=1.0) as lookers:
        intake = clinic.look(look_at_all=lookers.map)
    states = clinic.states()
    assert {name: state for name, state in states.items() if state[0] != "ingested"} == {
        "crash.png": ("quarantined", "decoder_crash"),
        "abort.png": ("quarantined", "decoder_crash"),
        "hang.png": ("quarantined", "timeout"),
        "fill.png": ("quarantined", "decode_failed"),
        "oom.png": ("quarantined", "memory"),
    }
    assert len(intake.images) == 4
    details = {name: clinic.entry(f"{name}.png").detail for name in MARKS}
    assert details == {"crash": "SIGSEGV", "abort": "SIGABRT", "hang": "1 s", "fill": "MemoryError", "oom": ""}
    assert all(len(clinic.entry(f"{name}.png").sha256) == 64 for name in MARKS)


def test_a_file_that_ended_its_decoder_is_not_looked_at_again_unasked(spoiled, clinic):
    with Lookers(1, time_limit_s=1.0) as lookers:
        clinic.look(look_at_all=lookers.map)
        assert clinic.look(look_at_all=lookers.map).is_empty


def test_lookers_that_cannot_be_started_condemn_no_file(clinic, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Lookers(1) as lookers, pytest.raises(ConfigurationError, match="no process can be started"):
        clinic.look(look_at_all=lookers.map)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    clinic.looks = 0
    with Lookers(1) as lookers, pytest.raises(ConfigurationError, match="no process can be started"):
        clinic.look(look_at_all=lookers.map)


ASKED = """
import os, signal, sys
from clnm.archive import lookers
from pathlib import Path

pool = lookers.Lookers(2)
for looker in pool._all:
    looker._start()
print(*(looker._scratch for looker in pool._all), *(looker._process.pid for looker in pool._all), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_lookers_of_a_killed_run_end_and_leave_nothing():
    killed = subprocess.run([sys.executable, "-c", ASKED], stdout=subprocess.PIPE, text=True, check=False)
    first, second, *processes = killed.stdout.split()
    assert killed.returncode == -9
    assert len(processes) == 2
    give_up = time.monotonic() + 20
    while (
        any(Path(f"/proc/{process}").exists() for process in processes) or Path(first).exists() or Path(second).exists()
    ):
        assert time.monotonic() < give_up
        time.sleep(0.05)
