"""How the cluster carries very many cases of trivial work: cases a second, and the memory of scheduler and client.

Run: python bench/cluster.py [largest]
"""

import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a file in it is named radiomics

from clnm.cluster import Work, open_cluster, run_shards

WORKERS, SHARD = 2, 16


def trivial(case: int) -> int:
    return case


def shards(count: int):
    for start in range(0, count, SHARD):
        yield list(range(start, min(start + SHARD, count)))


def main() -> None:
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(
        f"distributed {version('distributed')}, Python {sys.version.split()[0]}; {WORKERS} workers, shards of {SHARD}"
    )
    print("    cases  seconds  cases/s  MiB of scheduler and client, at most so far")
    with open_cluster("local", WORKERS, 1.0, preload=("clnm.cluster",)) as handle:
        list(run_shards(handle, Work(trivial), shards(1000), in_flight=2 * WORKERS, time_limit_s=60.0))
        count = 10_000
        while count <= largest:
            started, done = time.perf_counter(), 0
            for result in run_shards(handle, Work(trivial), shards(count), in_flight=2 * WORKERS, time_limit_s=60.0):
                done += len(result.done)
            seconds = time.perf_counter() - started
            assert done == count
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{count:9}  {seconds:7.1f}  {count / seconds:7.0f}  {peak_mib:.0f}", flush=True)
            count *= 10


if __name__ == "__main__":
    main()
