"""What the store costs: a night's commit, and the questions of a working day, over growing tables.

Run: python bench/store.py [ROIS ...]   (default 10000 50000; 1,500 features, 512-d embeddings, 20 centers)
     python bench/store.py year         (365 nights of 20 rows, tidied as the nightly does)
     python bench/store.py layout       (one center of 20,000 ROIs by rows of a row group)

Ends with 1 where a figure is beyond its limit.
"""

import functools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clnm.entities import Lineage
from clnm.simulate.bulk import simulate_rows
from clnm.store import Store, maintenance
from clnm.store.catalog import write_catalog
from clnm.store.tables import TABLES
from clnm.store.warehouse import Installation
from tests.store_rows import DAY_0, day

FEATURES = [f"wavelet-LL_glcm_Feature{number:04d}" for number in range(1500)]
CENTERS = [f"C{number:02d}" for number in range(20)]
NIGHT_ROWS, LOAD_ROWS = 2_000, 10_000
SCATTERED = 32
"""Files of a table and center above which the nightly merges them."""
LINEAGE = Lineage("bench", "0.1.0", "bench")


LIMITS_S = {
    "a night of 2,000 rows, staged and published": 5.0,
    "catalogue without comments": 1.0,
    "catalogue with all comments": 5.0,
    "one feature over all rows": 1.0,
    "all features of one center": 3.0,
    "training frame as of a day": 10.0,
}
LIMIT_GIB = 4.0
"""Peak memory of any of the processes."""
CLIENT_MEMORY = "2GB"
"""What a client lets DuckDB keep in memory; left alone it fills most of the machine's before it lets go of anything."""


def main() -> None:
    names = ("duckdb", "deltalake", "pyarrow", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
    if sys.argv[1:2] == ["ask"]:
        return print(json.dumps(ask(*sys.argv[2:])))
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:] == ["year"]:
            sys.exit(measure_year(Path(folder) / "store"))
        if sys.argv[1:] == ["layout"]:
            sys.exit(measure_layout(Path(folder)))
    beyond = []
    for size in [int(text) for text in sys.argv[1:]] or [10_000, 50_000]:
        with tempfile.TemporaryDirectory() as folder:
            beyond += measure(Path(folder) / "store", size)
    sys.exit(f"beyond the limit: {', '.join(beyond)}" if beyond else 0)


def measure(root, size) -> list[str]:
    """Prints each figure beside its limit; returns the names of those beyond."""
    store = Store(root)
    for start in range(0, size, LOAD_ROWS):
        write_rows(store, start, min(LOAD_ROWS, size - start), day(start // LOAD_ROWS))
    print(f"\n{size} ROIs x {len(FEATURES)} features, {len(CENTERS)} centers, {megabytes(root)} MB on disk")
    with store.writer(run_id="bench", command="bench", started_at=DAY_0) as writer:
        told = {"run_id": "bench", "committed_at": "2025-01-01T00:00:00"}
        print(f"  compaction {timed(lambda: maintenance.compact(root, writer.publish, **told))[0]:.1f} s")
    bare = Installation(root, (), "clnm")
    acts = [
        lambda: timed(lambda: write_rows(store, size, NIGHT_ROWS, day(size // LOAD_ROWS))),
        lambda: timed(lambda: write_catalog(bare, store.manifest(), with_comments=False, anew=True)),
        lambda: timed(store.rebuild_catalog),
        lambda: asked(root, f'SELECT avg("{FEATURES[700]}") FROM radiomics'),
        lambda: asked(root, "FROM radiomics WHERE center = 'C07'"),
        lambda: asked(root, f"FROM training_frame(TIMESTAMPTZ '{day(9999).isoformat()}')"),
    ]
    beyond = []
    print("  seconds, wall (CPU), one run each; limit; peak memory of its process (this one loaded the store)")
    for (name, limit), act in zip(LIMITS_S.items(), acts, strict=True):
        wall, cpu, peak = act()
        is_beyond = wall >= limit or peak >= LIMIT_GIB
        told = f"{wall:.2f} ({cpu:.2f}); {limit:g}; {peak:.1f} GiB of {LIMIT_GIB:g}{' BEYOND' * is_beyond}"
        print(f"  {name}: {told}", flush=True)
        beyond += [f"{name} at {size}"] * is_beyond
    return beyond


def asked(root, question) -> tuple[float, float, float]:
    """Seconds of the wall and the processors, and peak GiB, of a client in a process of its own."""
    command = [sys.executable, __file__, "ask", str(root / "catalog.duckdb"), question]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return tuple(json.loads(answer.splitlines()[-1]))


def ask(path, question) -> tuple[float, float, float]:
    """All rows of the answer, in batches: what is measured is the question, not the room for its answer."""

    def answer():
        with duckdb.connect(path, read_only=True, config={"memory_limit": CLIENT_MEMORY}) as connection:
            return sum(batch.num_rows for batch in connection.sql(question).to_arrow_reader(2048))

    return timed(answer)


def measure_layout(root) -> None:
    """One center's table by rows of a row group: bytes, and seconds to write and to ask."""
    wide = make_rows("radiomics", 0, 20_000 * len(CENTERS), DAY_0, only="C00")
    print(f"{wide.num_rows} ROIs x {len(FEATURES)} features of one center; seconds, median of 3")
    print("rows of a group      MB   write   one feature   all features   one ROI")
    for rows in (1_000, 4_000, 10_000, 20_000):
        path = root / f"{rows}.parquet"

        def write(path=path, rows=rows):
            pq.write_table(wide, path, compression="zstd", use_dictionary=False, row_group_size=rows)

        def ask_file(what, path=path):
            with duckdb.connect() as connection:
                question = f"SELECT {what[0]} FROM read_parquet('{path}') {what[1]}"
                return sum(batch.num_rows for batch in connection.sql(question).to_arrow_reader(2048))

        key = wide.column("roi_key")[wide.num_rows // 2].as_py()
        questions = [(f'avg("{FEATURES[700]}")', ""), ("*", ""), ("*", f"WHERE roi_key = '{key}'")]
        acts = [write, *(functools.partial(ask_file, what) for what in questions)]
        seconds = [statistics.median(timed(act)[0] for _ in range(3)) for act in acts]
        told = "  ".join(f"{second:11.3f}" for second in seconds)
        print(f"{rows:15} {path.stat().st_size / 2**20:7.1f} {told}", flush=True)


def measure_year(root) -> str | int:
    """The number of files as the year goes on; those that are not named any more would go after 30 days."""
    store, most = Store(root), 0
    print("night  files named  files on disk  MB on disk")
    for night in range(1, 366):
        write_rows(store, 20 * night, 20, day(night))
        with store.writer(run_id=f"night-{night}", command="bench", started_at=day(night)) as writer:
            told = {"run_id": f"night-{night}", "committed_at": day(night).isoformat()}
            maintenance.compact(root, writer.publish, above=SCATTERED, **told)
        named = max(len(entry.all_files()) for entry in store.manifest().tables.values())
        most = max(most, named)
        if night in (1, 30, 90, 180, 270, 365):
            all_named = sum(len(entry.all_files()) for entry in store.manifest().tables.values())
            there = sum(1 for _ in root.glob("tables/**/*.parquet"))
            print(f"{night:5} {all_named:12} {there:14} {megabytes(root):11}", flush=True)
    allowed = (SCATTERED + 1) * len(CENTERS)
    print(f"most files of one table: {most}; {allowed} allowed ({SCATTERED + 1} in each center)")
    return "more files than allowed" if most > allowed else 0


def write_rows(store, start, count, known_at) -> None:
    """Stage and publish, each in one commit, as a night does."""
    tables = {
        relation: make_rows(relation, start, count, known_at) for relation in ("rois", "outcomes", "radiomics", "deep")
    }
    by_center = {
        (relation, center): table.filter(pc.equal(table.column("center"), center))
        for relation, table in tables.items()
        for center in CENTERS
    }

    def stage() -> None:
        with writer.commit(LINEAGE) as batch:
            for (relation, center), table in by_center.items():
                batch.stage(relation, center, table)
            if start == 0:
                roles = [{"center": center, "role": "train", "known_at": DAY_0} for center in CENTERS]
                batch.append("centers", pa.Table.from_pylist(roles, schema=fixed("centers")))

    def publish() -> None:
        with writer.commit(LINEAGE) as batch:
            for center in CENTERS:
                batch.publish(center)

    with store.writer(run_id="bench", command="bench", started_at=DAY_0) as writer:
        stage()
        publish()


def make_rows(relation, start, count, known_at, *, only=None) -> pa.Table:
    numbers = [number for number in range(start, start + count) if only in (None, CENTERS[number % len(CENTERS)])]
    features = FEATURES if relation == "radiomics" else ()
    return simulate_rows(fixed(relation), numbers, centers=CENTERS, known_at=known_at, features=features)


def fixed(relation) -> pa.Schema:
    return pa.schema([pa.field(column.name, column.type) for column in TABLES[relation].columns])


def timed(act) -> tuple[float, float, float]:
    """Seconds of the wall and of the processors, and the peak GiB of this process so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage tells the parent's peak of a child, too
    return wall, cpu, int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 2**20


def megabytes(root) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 2**20


if __name__ == "__main__":
    main()
