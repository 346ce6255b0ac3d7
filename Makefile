# make demo     the whole loop: a study leaves a PACS, becomes a segmentation, comes back
# make kind     a cluster in Docker on this machine, with Argo, a store and the images of stages and adapter
# make test     every test that this machine can run
# make test-cluster  the tests on a real Argo, where there is one (tests/cluster/conftest.py says which)
# make check    lint, types, layers, docs
# make bench    speeds, as ratios to peers measured in the same run
# make setup    what all of them do first: .venv with everything a checkout needs

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo kind kind-tools test test-long test-cluster check format bench build clean

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

kind-tools:
	@docker version >/dev/null 2>&1 || { echo "make kind needs Docker, running: https://docs.docker.com/engine/install/" >&2; exit 1; }
	@command -v kind >/dev/null || { echo "make kind needs kind: https://kind.sigs.k8s.io/docs/user/quick-start/" >&2; exit 1; }
	@command -v kubectl >/dev/null || { echo "make kind needs kubectl: https://kubernetes.io/docs/tasks/tools/" >&2; exit 1; }

kind: kind-tools $(READY)
	kind get clusters | grep -qx clara || kind create cluster --config manifests/overlays/kind/kind.yaml
	$(BIN)/clara images build --builder docker --save build/images
	for archive in build/images/*.tar; do kind load image-archive --name clara $$archive || exit 1; done
	$(BIN)/clara cluster install --overlay kind --context kind-clara
	CLARA_S3_ENDPOINT=127.0.0.1:8333 $(BIN)/clara cluster doctor --context kind-clara

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
