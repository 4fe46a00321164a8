"""The whole path on small simulated archives: nothing lost, nothing twice, each center on its own."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from clnm import pipeline
from clnm.errors import UserError
from clnm.pipeline.demo import simulate_installation
from clnm.simulate import simulate_archive

from tests.flows.archives import SMALL_RADIOMICS

PER_RUN = {"runs", "drift", "center_health", "performance", "check_results", "alerts"}


def installation(directory, *, patients=64, deep=False, **options):
    simulate_archive(
        directory, patients=patients, seed=7, until=datetime(2026, 6, 1, tzinfo=UTC), workers=1, **options
    )
    (directory / "radiomics.yaml").write_text(SMALL_RADIOMICS, encoding="utf-8")
    config = directory / "clnm.toml"
    config.write_text(
        config.read_text() + f"\n[deep]\nenabled = {str(deep).lower()}\n[compute]\nworkers = 1\n", encoding="utf-8"
    )
    from clnm.settings import make_pseudonym_key

    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    return config


def catalog(config):
    return duckdb.connect(str(config.parent / "store" / "catalog.duckdb"), read_only=True)


def answers(config, question):
    with catalog(config) as connection:
        return connection.execute(question).fetchall()


def row_counts(config):
    with catalog(config) as connection:
        names = [name for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """One nightly over 64 simulated patients, with every planted fault, radiomics and embeddings."""
    config = installation(tmp_path_factory.mktemp("night"), deep=True, faults=True)
    with pytest.raises(UserError) as caught:
        pipeline.nightly(config, as_of=datetime(2026, 6, 1, tzinfo=UTC))
    assert caught.value.exit_code == 15
    return config


@pytest.mark.long
def test_every_file_is_in_one_state_and_the_states_add_up(night):
    on_disk = sum(1 for path in (night.parent / "archives").rglob("*") if path.is_file())
    assert answers(night, "SELECT count(*), count(DISTINCT file_key) FROM files") == [(on_disk, on_disk)]
