# Everything a newcomer types. `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.clnm-setup
WORKERS ?= 2

.PHONY: help setup demo test check bench clean
help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(STAMP)  ## make .venv with every pinned package (once; then a no-op)

# The order matters: torch first and by pip (a plain requirement can bring gigabytes of CUDA packages), then pyradiomics,
# which builds only beside numpy and cython; the rest follows in one resolved step. uv leaves sources as they are unless told
# to compile them, and where PYTHONDONTWRITEBYTECODE is set (many containers) every command would compile them anew: seconds.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt uv numpy setuptools wheel versioneer cython
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt --no-build-isolation pyradiomics
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt --no-build-isolation -e '.[dev]' \
	  || $(BIN)/pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

demo: setup  ## the main job on a simulated four-center archive, in ./demo
	$(BIN)/clnm demo demo

# The longest lie in the first folders and begin first; by number of tests they would come last, and one worker would wait.
test: setup  ## every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

check: setup  ## ruff, mypy, import contracts, SQL lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/sqlfluff lint -p 1 -q sql/staging sql/views sql/marts
	$(BIN)/sqlfluff lint -p 1 -q --templater placeholder sql/queries

bench: setup  ## measured comparisons (minutes; a quiet machine)
	for script in bench/*.py; do $(BIN)/python $$script; done

clean:  ## remove the demo and all caches, not .venv
	rm -rf demo .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
