# Everything is set up by whichever target is asked for first: a virtual environment in .venv, with exactly
# the versions in requirements.lock. A stamp named after the lock's checksum makes the second time free.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
MLFLOW_LOCK := tests/api/mlflow/requirements.lock
CLIENTS_LOCK := tests/serving/clients/requirements.lock
CLIENTS_STAMP := .venv-clients/.set-up-$(shell cat $(CLIENTS_LOCK) | cksum | tr ' ' '-')
MLFLOW_STAMP := .venv-mlflow/.set-up-$(shell cat $(MLFLOW_LOCK) | cksum | tr ' ' '-')
STAMP := .venv/.set-up-$(shell cat requirements.lock pyproject.toml | cksum | tr ' ' '-')

.PHONY: help setup test demo demo-ner bench-serve bench-monitor bench-alarms bench-many bench-overload bench-changes bench-fanout bench-features bench-ingest bench-segments bench-simulate bench-steps bench-stream bench-track bench-register bench-predict bench-log fuzz kill-loop check-parity check-estimates mlflow clients peers proto lock clean

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make the virtual environment; does nothing where it is up to date

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; say which with 'make setup PYTHON=python3.12'"; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "the virtual environment cannot be made; on Debian: apt-get install python3-venv"; exit 1; }
	@# Packages that come as source are built with the pinned setuptools, not with the newest of the day.
	grep '^setuptools==' requirements.lock | $(PIP) install -qq -r /dev/stdin
	$(PIP) install -qq --no-deps --no-build-isolation --use-pep517 -r requirements.lock
	$(PIP) install -qq --no-deps --no-build-isolation -e .
	$(PIP) check
	@rm -f .venv/.set-up-* && touch $@

mlflow: $(MLFLOW_STAMP)  ## MLflow in an environment of its own: its client is tested, its server measured

$(MLFLOW_STAMP):
	$(PYTHON) -m venv --clear .venv-mlflow
	.venv-mlflow/bin/pip --disable-pip-version-check install -qq --no-deps -r $(MLFLOW_LOCK)
	@touch $@

clients: $(CLIENTS_STAMP)  ## Clients of the Open Inference Protocol, and schemathesis, in an environment of their own

$(CLIENTS_STAMP):
	$(PYTHON) -m venv --clear .venv-clients
	.venv-clients/bin/pip --disable-pip-version-check install -qq --no-deps -r $(CLIENTS_LOCK)
	@touch $@

fuzz: setup clients  ## The API held against its own OpenAPI document, tensors with bytes changed; memory; ARGS="--seconds 600"
	$(BIN)/python tests/api/fuzz.py $(ARGS)

kill-loop: setup  ## The loop killed at 50 random instants, on SQLite and on PostgreSQL
	MODELWORKS_KILLS=50 $(BIN)/python -m pytest -n 2 -rP tests/stories/test_loop.py -k random $(ARGS)

check-parity: setup  ## A thousand rows of every model of the flight demo over HTTP, as scikit-learn answers them
	$(BIN)/python benchmarks/check_parity.py $(ARGS)

check-estimates: setup peers  ## Drift tests and the AUC without outcomes beside NannyML's, on the same rows
	$(BIN)/python benchmarks/check_estimates.py $(ARGS)

peers:  ## The products that bench-serve, bench-monitor and bench-alarms are measured beside, each in an environment of its own
	@for lock in benchmarks/peers/*.lock; do \
	  name=$$(basename $$lock .lock); home=.venv-peers/$$name; stamp=$$home/.set-up-$$(cksum < $$lock | tr ' ' '-'); \
	  [ -e $$stamp ] && continue; \
	  mkdir -p .venv-peers; rm -f .venv-peers/$$name.failed; echo "$$name is installed into $$home"; \
	  { $(PYTHON) -m venv --clear $$home \
	    && $$home/bin/pip --disable-pip-version-check install -qq --no-deps -r $$lock && touch $$stamp; } \
	    > .venv-peers/$$name.log 2>&1 \
	    || { cp .venv-peers/$$name.log .venv-peers/$$name.failed; echo "$$name cannot be installed: see .venv-peers/$$name.log"; }; \
	done

proto: setup  ## Make the code of the gRPC messages again; with an old compiler, so that older protobuf can read it
	rm -rf build/proto && $(PYTHON) -m venv build/proto
	build/proto/bin/pip --disable-pip-version-check install -qq 'grpcio-tools==1.66.2' 'setuptools<81'
	cd src && ../build/proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
	  modelworks/serving/inference.proto

test: setup mlflow clients  ## Style, types, floors, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

demo: setup  ## The factory on a year of real flights; ARGS=--exit ends it when the year is over
	$(BIN)/modelworks demo flights $(ARGS)

demo-ner: setup  ## Names in a text, while somebody types; ARGS=--exit ends it after some sentences
	$(BIN)/modelworks demo ner $(ARGS)

bench-serve: setup peers  ## One row per request beside the other products, an echo and plain scikit-learn
	$(BIN)/python benchmarks/bench_serve.py $(ARGS)

bench-alarms: setup peers  ## False alarms and missed ones of a thousand models, beside Evidently and NannyML
	$(BIN)/python benchmarks/bench_alarms.py $(ARGS)

bench-many: setup  ## A thousand models in one server against one; more models than memory
	$(BIN)/python benchmarks/bench_many.py $(ARGS)

bench-monitor: setup peers  ## A thousand models watched, beside Evidently and NannyML; ARGS=--linear
	$(BIN)/python benchmarks/bench_monitor.py $(ARGS)

bench-overload: setup  ## A server that is asked for five times what it can do
	$(BIN)/python benchmarks/bench_overload.py $(ARGS)

bench-changes: setup  ## 200 changes of champions, 50 rollbacks, and processes that are killed, under load
	$(BIN)/python benchmarks/bench_changes.py $(ARGS)

bench-fanout: setup  ## The whole belt against the bare fits
	$(BIN)/python benchmarks/bench_fanout.py $(ARGS)

bench-features: setup  ## A point-in-time join of a million rows with five, against Polars' own
	$(BIN)/python benchmarks/bench_features.py $(ARGS)

bench-ingest: setup  ## A CSV of a gigabyte through contract and commit, against a bare conversion
	$(BIN)/python benchmarks/bench_ingest.py $(ARGS)

bench-segments: setup  ## Five million rows by a thousand segments, against a bare scan
	$(BIN)/python benchmarks/bench_segments.py $(ARGS)

bench-stream: setup  ## NATS JetStream into a table, against a bare consume loop
	$(BIN)/python benchmarks/bench_stream.py $(ARGS)

bench-simulate: setup  ## Five policies of retraining on ten months of flights, against their bare fits
	$(BIN)/python benchmarks/bench_simulate.py $(ARGS)

bench-steps: setup  ## What a step of the loop costs: its lease, its fence, its transaction
	$(BIN)/python benchmarks/bench_steps.py $(ARGS)

bench-track: setup mlflow  ## Runs and metric points over HTTP against MLflow's client and server; search
	$(BIN)/python benchmarks/bench_track.py $(ARGS)

bench-register: setup mlflow  ## Registering versions, all in, beside MLflow's client and server
	$(BIN)/python benchmarks/bench_register.py $(ARGS)

bench-log: setup  ## Finding something in a prediction log of ten million rows
	$(BIN)/python benchmarks/bench_log.py $(ARGS)

bench-predict: setup  ## A file of a million rows, all in, against a bare ONNX Runtime loop
	$(BIN)/python benchmarks/bench_predict.py $(ARGS)

lock: setup  ## Pin the newest versions that pyproject.toml allows
	$(PIP) install -qq 'uv>=0.9,<1'
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links pyproject.toml --extra dev --extra demo -o requirements.lock

clean:  ## Remove what was made, the virtual environment included
	rm -rf .venv .venv-mlflow .venv-clients .venv-peers build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
