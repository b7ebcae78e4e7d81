# Orkhaven: a newcomer needs two verbs, `make demo` and `make test`. All of them: `make help`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
DATA ?=

.PHONY: help
help:  ## What there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo demo-env demo-down
demo: setup  ## A cluster, the chart, a sweep of 8 trials, its leaderboard (DATA=folder: a COVID-SemiSeg folder)
	@$(PY) -m tools.demo up --data "$(DATA)"

demo-env:  ## For eval: KUBECONFIG and PATH of the demo's cluster
	@$(PY) -m tools.demo env

demo-down:  ## Remove everything the demo started
	@$(PY) -m tools.demo down

.PHONY: test
test: setup lint types imports unit browser integration e2e  ## Everything that has to be green
	@echo "make test: all green"

.PHONY: setup
setup:  ## .venv and the system's packages
	@tools/setup

.PHONY: lint
lint: setup  ## ruff: rules and format
	.venv/bin/ruff check --output-format concise .
	.venv/bin/ruff format --check .

.PHONY: types
types: setup  ## mypy, strict
	.venv/bin/mypy

.PHONY: imports
imports: setup  ## Who may import whom
	.venv/bin/lint-imports

.PHONY: unit
unit: setup  ## Decisions and maths: nothing but Python
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 tests/unit tests/sim

.PHONY: explore
explore: setup  ## The property tests with examples that nobody has tried, until one fails (end it with Ctrl-C)
	while ORKHAVEN_HYPOTHESIS=explore OMP_NUM_THREADS=1 $(PYTEST) -q -n 2 \
	  $$(grep -rlE "@given|RuleBasedStateMachine" tests/unit tests/sim --include='*.py'); do :; done

.PHONY: browser
browser: setup  ## The dashboard's pages in Chromium
	$(PYTEST) tests/browser

.PHONY: integration
integration: setup cluster-programs images-dev  ## Real etcd, API server, controllers
	$(PYTEST) tests/integration

.PHONY: e2e
e2e: setup cluster-programs images-dev  ## Plus real kubelet, containerd, images and chart
	$(PYTEST) -n 2 --dist worksteal --timeout 1200 tests/e2e

.PHONY: chaos
chaos: setup cluster-programs images-dev  ## A storm over a sweep: every component killed, 30 strikes (ORKHAVEN_CHAOS_SEED), see docs/chaos.md
	$(PYTEST) tests/chaos -s --timeout 7200

.PHONY: gpu
gpu: setup  ## The trainer's tests on this machine's GPU
	$(PYTEST) tests/gpu

.PHONY: bench
bench: setup cluster-programs  ## Ratios against a baseline of the same run
	$(PYTEST) tests/bench -s -o python_files='bench_*.py'

.PHONY: bench-hub
bench-hub: setup  ## The hub beside MLflow, Optuna Dashboard and Aim, into docs/bench-hub.md
	ORKHAVEN_BENCH_DOCS=1 $(PYTEST) tests/bench/bench_hub_*.py tests/bench/bench_ingest.py tests/bench/bench_competitors.py \
	  -s -o python_files='bench_*.py'

.PHONY: bench-search
bench-search: setup  ## Searches that learn beside Optuna itself (ORKHAVEN_BENCH_SEEDS, ORKHAVEN_BENCH_DOCS)
	OMP_NUM_THREADS=1 $(PYTEST) tests/bench/bench_search.py -s --timeout 3600 -o python_files='bench_*.py'

.PHONY: bench-operator
bench-operator: setup cluster-programs  ## The operator beside bare Jobs, ten thousand of each, into docs/bench-operator.md
	ORKHAVEN_BENCH_DOCS=1 $(PYTEST) tests/bench/bench_scale.py tests/bench/bench_beside_ended.py \
	  tests/bench/bench_queue_kwok.py -s -o python_files='bench_*.py'

.PHONY: screenshots
screenshots: setup  ## The README's pictures of the dashboard, from a made-up clinic (needs Chromium)
	$(PY) -m tools.screenshots

.PHONY: study
study: setup  ## What wrong masks cost: about 30 minutes on 2 cores, goes on where it was stopped
	$(PY) -m tools.study

.PHONY: record
record: setup  ## The recorded trainings that tests look up: half an hour on 2 cores, goes on where it was stopped
	$(PY) -m tools.record

.PHONY: recipe
recipe: setup  ## COVID-SemiSeg's recipe, cross-validated, on the CPU (DATA=folder): hours
	$(PY) -m tools.recipe "$(DATA)"

.PHONY: cluster-programs
cluster-programs: setup
	@$(PY) -m tests.cluster programs

.PHONY: images images-dev
images: setup  ## operator, trainer (CUDA) and trainer-cpu, where their inputs changed
	@$(PY) -m images build --all

images-dev: setup  ## operator and trainer-cpu only: what the demo and the tests run
	@$(PY) -m images build operator trainer-cpu

.PHONY: generate
generate: setup  ## crds/, the chart's CRDs and docs/reference from the models
	$(PY) -m orkhaven.api.crd --write
	$(PY) -m ctseg.config.reference docs/reference/trainer.md
	$(PY) -m ctseg.report.reference docs/reference/result.schema.json

.PHONY: lock
lock: setup  ## requirements/*.txt from pyproject.toml
	requirements/compile

.PHONY: format
format: setup  ## ruff, mending
	.venv/bin/ruff check --fix --output-format concise . && .venv/bin/ruff format .

.PHONY: clean
clean: demo-down  ## .venv, caches in the checkout
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
