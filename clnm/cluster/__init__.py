"""The one package that knows `distributed`: shards out, results in as they come, whatever happens to a worker.

State lives in the store, never in futures: a shard is a list of items, a result says of each item what became of it,
a shard that kills its worker is halved, and an item is only condemned by deaths with nothing else in flight.
"""

from clnm.cluster.opening import begin_to_import, open_cluster
from clnm.cluster.running import Failure, Handle, InProcess, ShardResult, Work, in_flight_of, run_shards

__all__ = [
    "Failure",
    "Handle",
    "InProcess",
    "ShardResult",
    "Work",
    "begin_to_import",
    "in_flight_of",
    "open_cluster",
    "run_shards",
]
