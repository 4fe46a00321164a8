"""Installations whose archives grow from night to night, on one cluster for all of their nights."""

from contextlib import contextmanager

from clnm.errors import UserError
from clnm.pipeline.run import open_run
from clnm.pipeline.stages import CHECK, EXTRACT, INGEST, perform_all
from clnm.settings import make_pseudonym_key
from clnm.simulate import simulate_archive
from clnm.simulate.arrivals import deliver

FEW_FEATURES = """\
imageType: {Original: {}}
featureClass: {firstorder: , shape2D: }
setting: {binCount: 32, label: 1}
"""


@contextmanager
def one_worker():
    """The address of a cluster that outlives a run: to start one takes longer than a small night."""
    from distributed import LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": "CRITICAL"}
    with LocalCluster(**options) as cluster:
        yield cluster.scheduler_address


def small_installation(directory, *, seed, until, radiomics=FEW_FEATURES):
    """Sixteen simulated patients of four centers, few features, no embeddings; returns its configuration."""
    simulate_archive(directory, patients=16, seed=seed, until=until)
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    (directory / "radiomics.yaml").write_text(radiomics, encoding="utf-8")
    config = directory / "clnm.toml"
    more = "\n[deep]\nenabled = false\n[compute]\nworkers = 1\n"
    config.write_text(config.read_text(encoding="utf-8") + more, encoding="utf-8")
    return config


def begin(simulated, directory, arrivals, *, now, scheduler):
    """An installation in which these examinations lie; returns its configuration."""
    deliver(simulated, directory, arrivals, now=now)
    config = directory / "clnm.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(f'{text}\n[deep]\nenabled = false\n[compute]\nscheduler = "{scheduler}"\n', encoding="utf-8")
    (directory / "radiomics.yaml").write_text(FEW_FEATURES, encoding="utf-8")
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    return config


def take_in(config, stages=(INGEST, EXTRACT, CHECK)):
    """A night up to the gate; returns the exit code it ends with, and what its stages did."""
    try:
        with open_run(config, command="nightly") as run:
            perform_all(run, stages)
    except UserError as error:
        return error.exit_code, run.counts
    return 0, run.counts
