"""What the store costs: a night's commit, and the questions of a working day, over growing tables.

Run: python bench/store.py [ROIS ...]   (default 10000 50000; 1,500 features, 512-d embeddings, 20 centers)
     python bench/store.py year         (365 nights of 20 rows, tidied as the nightly does)
"""

import resource
import sys
import tempfile
import time
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clnm.entities import Lineage
from clnm.store import Store, maintenance
from clnm.store.tables import TABLES
from tests.store_rows import DAY_0, day

FEATURES = [f"wavelet-LL_glcm_Feature{number:04d}" for number in range(1500)]
CENTERS = [f"C{number:02d}" for number in range(20)]
NIGHT_ROWS, LOAD_ROWS = 2_000, 10_000
LINEAGE = Lineage("bench", "0.1.0", "bench")


def main() -> None:
    names = ("duckdb", "deltalake", "pyarrow", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
    if sys.argv[1:] == ["year"]:
        with tempfile.TemporaryDirectory() as folder:
            measure_year(Path(folder) / "store")
        return
    print("seconds, wall (CPU), one run each; the catalogue without comments is part of the publish\n")
    for size in [int(text) for text in sys.argv[1:]] or [10_000, 50_000]:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder) / "store", size)


def measure(root, size) -> None:
    store = Store(root)
    for start in range(0, size, LOAD_ROWS):
        write_rows(store, start, min(LOAD_ROWS, size - start), day(start // LOAD_ROWS))
    print(f"{size} ROIs x {len(FEATURES)} features, {len(CENTERS)} centers, {megabytes(root)} MB on disk")
    with store.writer(run_id="bench", command="bench", started_at=DAY_0) as writer:
        told = {"run_id": "bench", "committed_at": "2025-01-01T00:00:00"}
        print(f"  compaction: {timed(lambda: maintenance.compact(root, writer.publish, **told))}")
    stage, publish = write_rows(store, size, NIGHT_ROWS, day(size // LOAD_ROWS))
    print(f"  a night of {NIGHT_ROWS} rows: stage {stage}, publish {publish}")
    print(f"  catalogue with all comments: {timed(store.rebuild_catalog)}")
    path = str(root / "catalog.duckdb")
    questions = {
        "one feature over all rows": f'SELECT avg("{FEATURES[700]}") FROM radiomics',
        "all features of one center": "FROM radiomics WHERE center = 'C07'",
        "training frame as of a day": f"FROM training_frame(TIMESTAMPTZ '{day(9999).isoformat()}')",
    }
    for name, question in questions.items():
        print(f"  {name}: {timed(lambda question=question: ask(path, question))}")
    print(f"  peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB\n")


def measure_year(root) -> None:
    """The number of files and the price of a night and a question, as the year goes on."""
    store, path = Store(root), str(root / "catalog.duckdb")
    print("night  files named  files on disk  publish, s  one feature over all rows, s")
    for night in range(1, 366):
        _, publish = write_rows(store, 20 * night, 20, day(night))
        with store.writer(run_id=f"night-{night}", command="bench", started_at=day(night)) as writer:
            maintenance.compact(root, writer.publish, run_id="bench", committed_at=day(night).isoformat(), above=32)
        if night in (1, 30, 90, 180, 270, 365):
            named = sum(len(entry.all_files()) for entry in store.manifest().tables.values())
            there = sum(1 for _ in root.glob("tables/**/*.parquet"))
            asked = timed(lambda: ask(path, f'SELECT avg("{FEATURES[700]}") FROM radiomics'))
            print(f"{night:5} {named:12} {there:14}  {publish:>10}  {asked:>12}", flush=True)


def write_rows(store, start, count, known_at) -> tuple[str, str]:
    """Seconds to stage, and to publish."""
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
        return timed(stage), timed(publish)


def make_rows(relation, start, count, known_at) -> pa.Table:
    generator = np.random.default_rng(start)
    numbers = np.arange(start, start + count)
    columns = {}
    for column in TABLES[relation].columns:
        if column.name == "center":
            columns[column.name] = pa.array([CENTERS[number % len(CENTERS)] for number in numbers])
        elif column.name.endswith("_key"):
            columns[column.name] = pa.array([f"{column.name[:3]}-{number:08d}" for number in numbers])
        elif column.name == "embedding":
            columns[column.name] = pa.array(
                list(generator.standard_normal((count, 512), dtype=np.float32)), column.type
            )
        elif pa.types.is_timestamp(column.type):
            columns[column.name] = pa.array(
                [known_at - timedelta(days=column.name == "acquired_at")] * count, column.type
            )
        else:
            value = {pa.string(): "r1", pa.int64(): 1, pa.float64(): 1.0, pa.bool_(): True}[column.type]
            columns[column.name] = pa.array([value] * count, column.type)
    if relation == "radiomics":
        columns |= {name: pa.array(generator.standard_normal(count)) for name in FEATURES}
    return pa.table(columns)


def fixed(relation) -> pa.Schema:
    return pa.schema([pa.field(column.name, column.type) for column in TABLES[relation].columns])


def ask(path, question):
    """All rows of the answer, read in batches: what is measured is the question, not the room for its answer."""
    with duckdb.connect(path, read_only=True) as connection:
        return sum(batch.num_rows for batch in connection.sql(question).to_arrow_reader(2048))


def timed(act) -> str:
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return f"{time.perf_counter() - wall:.1f} ({time.process_time() - cpu:.1f})"


def megabytes(root) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 2**20


if __name__ == "__main__":
    main()
