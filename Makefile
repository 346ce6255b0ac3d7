# make demo     the whole loop: a study leaves a PACS, becomes a segmentation, comes back
# make test     every test that this machine can run
# make test-cluster  the tests on a real Argo, where there is one (tests/cluster/conftest.py says which)
# make check    lint, types, layers, docs
# make bench    speeds, as ratios to peers measured in the same run
# make setup    what all of them do first: .venv with everything a checkout needs

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-cluster check format bench build clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "clara-argo needs Python 3.11 or later; say which: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "Python cannot make virtual environments here; on Debian: apt-get install python3-venv" >&2; exit 1; }; }
	@echo "installing what a checkout needs into .venv (the first time takes a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/clara demo

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --ignore=tests/cluster

test-long: $(READY)
	CLARA_LONG=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --ignore=tests/cluster

test-cluster: $(READY)
	$(BIN)/python -m pytest tests/cluster

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/typecheck.py
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python benchmarks/all.py

build: $(READY)
	$(BIN)/python -m build --outdir dist

clean:
	rm -rf .venv dist build demo .pytest_cache .mypy_cache .ruff_cache benchmarks/results
