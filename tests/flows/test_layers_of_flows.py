"""The flows are thin: they know Prefect and the use cases, and nothing of what is done."""

import ast
from pathlib import Path

import pytest

FLOWS = sorted((Path(__file__).resolve().parents[2] / "flows").glob("*.py"))


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.name)
def test_a_flow_imports_only_prefect_the_use_cases_and_the_standard_library(path):
    import sys

    allowed = {"prefect", "clnm", "flows"} | sys.stdlib_module_names
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in allowed, node.module
            if node.module.startswith("clnm"):
                assert node.module in {"clnm", "clnm.pipeline", "clnm.entities"}, node.module
                assert node.module != "clnm" or {name.name for name in node.names} == {"pipeline"}
        elif isinstance(node, ast.Import):
            assert all(name.name.split(".")[0] in allowed for name in node.names)


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.name)
def test_a_flow_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 100
