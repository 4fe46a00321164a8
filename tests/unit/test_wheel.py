"""The wheel holds everything, and works from any folder: nothing of the checkout is needed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.flows.growing import FEW_FEATURES

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SHIPPED = ("clnm", "expectations", "flows", "sql")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools leaves its traces beside what it builds."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in (*SHIPPED, "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", built, source]
    subprocess.run(command, check=True)
    [path] = built.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_every_package(wheel):
    there = {
        str(path.relative_to(ROOT))
        for name in SHIPPED
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == there


def test_an_unpacked_wheel_sets_up_an_installation_and_takes_a_night(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")

    def clnm(*words):
        code = "import clnm.cli; clnm.cli.main()"
        light = {"CLNM_DEEP__ENABLED": "false", "CLNM_RADIOMICS__ENGINE": "pyradiomics"}  # nothing to compile
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), **light}
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert clnm("simulate", "there", "--patients", "16", "--seed", "3").returncode == 0
    (tmp_path / "there" / "radiomics.yaml").write_text(FEW_FEATURES, encoding="utf-8")
    night = clnm("--config", "there/clnm.toml", "nightly")
    assert night.returncode == 0, night.stderr
    answer = clnm("--config", "there/clnm.toml", "sql", "SELECT count(*) AS n FROM radiomics", "--format", "csv")
    assert int(answer.stdout.split()[1]) >= 16
