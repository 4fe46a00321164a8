"""Intake beside a plain read of the same bytes: first pass, and a second look over an archive that did not change.

Usage: python bench/intake.py [FILES] [IMAGES]
"""

import os
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clnm.archive.center import CenterArchive
from clnm.archive.intake import take_in
from clnm.archive.ledger import Ledger
from clnm.archive.lookers import Lookers
from clnm.archive.looking import look_here
from clnm.archive.pseudonyms import Pseudonyms
from clnm.entities import Role
from clnm.imaging import cache
from tests.unit.intake_archives import dicom

FILES = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
IMAGES = int(sys.argv[2]) if len(sys.argv) > 2 else 500
PER_FOLDER = 100
SHAPE = (600, 800)


@contextmanager
def measured(what, count, size):
    """Prints wall and CPU time of a block, files per second and CPU milliseconds per megabyte."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what:44s} {wall:8.2f} s wall {cpu:8.2f} s CPU {count / wall:10,.0f} files/s "
        f"{cpu * 1e9 / max(1, size):8.2f} CPU-ms/MB   peak {peak:6.0f} MiB"
    )


def make_tiny(root):
    for number in range(FILES):
        folder = root / f"{number // PER_FOLDER:05d}"
        if number % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"note{number}.txt").write_bytes(b"note %d" % number)


def make_images(root):
    root.mkdir()
    for number in range(IMAGES):
        array = np.random.default_rng(number).integers(0, 255, SHAPE, dtype=np.uint8)
        (root / f"i{number}.dcm").write_bytes(dicom(number, array=array))


def read_plainly(root):
    for folder, _, names in os.walk(root):
        for name in names:
            (Path(folder) / name).read_bytes()


def look(root, known, ledger, pixels, look_at_all=look_here):
    room = cache.new_room(pixels, "bench")
    intake = take_in(
        CenterArchive("C1", Role.SCORE, (root,)),
        known,
        pseudonyms=Pseudonyms(b"k" * 32),
        variables=(),
        outcome="clnm",
        room=room,
        seen_at=datetime(2026, 1, 1, tzinfo=UTC),
        now_ns=time.time_ns(),
        look_at_all=look_at_all,
    )
    if not intake.is_empty:
        cache.sync(room)
        intake.ledger.write(ledger)
    cache.close_rooms(pixels, {"bench"})
    return intake


def compare(name, make, count):
    with tempfile.TemporaryDirectory() as scratch:
        root, ledger = Path(scratch) / "archive", Path(scratch) / "ledger.parquet"
        make(root)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        print(f"{name}: {count:,} files, {size / 1e6:,.1f} MB")
        with measured("plain read, one thread", count, size):
            read_plainly(root)
        for number in (1, 2):
            with measured(f"first pass, {number} process(es) that look", count, size), Lookers(number) as lookers:
                first = look(root, Ledger.empty(), ledger, Path(scratch) / f"pixels-{number}", lookers.map)
            assert sum(first.counts.values()) == count
            del first
        with measured("first pass, in this process", count, size):
            first = look(root, Ledger.empty(), ledger, Path(scratch) / "pixels")
        assert sum(first.counts.values()) == count
        del first
        with measured("second look: read the ledger, walk, compare", count, size):
            assert look(root, Ledger.read(ledger), ledger, Path(scratch) / "pixels").is_empty


def import_everything():
    """What is imported at the first image is not counted: a night pays for it once."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "archive"
        root.mkdir()
        (root / "i.dcm").write_bytes(dicom(1))
        look(root, Ledger.empty(), Path(scratch) / "ledger.parquet", Path(scratch) / "pixels")


if __name__ == "__main__":
    import_everything()
    compare("images", make_images, IMAGES)
    compare("tiny files", make_tiny, FILES)
