# Hearth. `make help` lists what there is. Needs Python 3.11 or newer with venv, make and a package index.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
FUZZ ?= .venv-fuzz
BIN := $(VENV)/bin
# A copy of config.yaml that git ignores, for this machine's settings.
CONFIG ?= $(firstword $(wildcard config.local.yaml) config.yaml)
# Which build of torch: cpu or cuda. Empty: cuda where there is an NVIDIA driver.
DEVICE ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help serve test test-slow conformance faults model-table clients docs screenshots fuzz check fix bench soak gpu gpu-rehearsal demo-models wheel wheel-smoke coverage clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

serve: $(VENV)/.runtime ## Serve what config.local.yaml says, or else config.yaml; by default all-MiniLM-L6-v2 and the demo pair. DEVICE=cpu|cuda
	@$(BIN)/hearth serve --config $(CONFIG)

test: $(VENV)/.development ## The tests, in a few minutes
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

coverage: $(VENV)/.development ## The tests, and which lines of server/ and models/ they run in their own process
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --cov --cov-report term:skip-covered

test-slow: $(VENV)/.demo ## The tests that take minutes each
	$(BIN)/python -m pytest -m slow --timeout 1800

conformance: $(VENV)/.development ## The 88 cases of the HTTP contract: number, tests, result
	$(BIN)/python -m tests.contract.conformance

clients: $(VENV)/.development ## Real client packages against a live server, and docs/compatibility.md; or FAMILIES="litellm openai-3"
	$(BIN)/python -m tests.contract.clients $(FAMILIES)

faults: $(VENV)/.development ## Every fault of docs/faults.md: its tests, the slow ones too, and their results
	$(BIN)/python -m tests.faults

model-table: $(VENV)/.development ## Every model of the guides and its relatives, at reduced size, against the reference (1 minute)
	$(BIN)/python -m docs.generate.models

docs: $(VENV)/.development ## Generated parts of docs/, and the committed OpenAPI document
	$(BIN)/python -m tests.contract.write_openapi
	$(BIN)/python -m docs.generate.configuration
	$(BIN)/python -m docs.generate.architecture
	$(BIN)/python -m docs.generate.folders
	$(BIN)/python -m docs.generate.http_contract
	$(BIN)/python -m docs.generate.request_picture

screenshots: $(VENV)/.development ## Pictures of the page at /, for the README (needs chromium)
	$(BIN)/python -m docs.generate.screenshots

fuzz: $(VENV)/.development $(FUZZ)/.installed ## Generated requests against our own OpenAPI document (2 minutes)
	$(BIN)/python -m tests.fuzz $(FUZZ)/bin/st

fuzz-parsers: $(VENV)/.development ## Damaged bodies, configurations and model files for every parser (10 minutes)
	$(BIN)/python -m tests.fuzz.parsers

check: $(VENV)/.development ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/.development ## Repair what lint and format can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# In the order in which they run: seconds first.
BENCHMARKS := packing simulation attention load overhead encoders forward
bench: $(VENV)/.development ## Benchmarks on this machine, some minutes; or ONLY="load overhead" of those in benchmarks/
	@set -e; for name in $(or $(ONLY),$(BENCHMARKS)); do echo "== benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name; done

MINUTES ?= 30
soak: $(VENV)/.development ## Mixed traffic with faults at random for MINUTES, and whether anything was lost, wrong or leaked
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

# The benchmarks run even if a test fails: time on a GPU is short.
NO_GPU := make gpu needs a CUDA device, and torch finds none; make gpu-rehearsal runs the tests on a simulated one
gpu: ## Correctness on a CUDA device, then benchmarks; runs with the interpreter's own torch
	@$(PYTHON) -c "import sys, torch; torch.cuda.is_available() or sys.exit('$(NO_GPU)')"
	@status=0; $(PYTHON) -m pytest -c tests/gpu/pytest.ini tests/gpu || status=$$?; \
	$(PYTHON) -m benchmarks.forward || status=$$?; exit $$status

gpu-rehearsal: $(VENV)/.rehearsal ## The tests of make gpu and more on a simulated GPU, on any machine (4 minutes); no speed is measured
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -c tests/gpu_rehearsal/pytest.ini --rootdir . tests/gpu tests/gpu_rehearsal -n 2 --dist loadfile

demo-models: $(VENV)/.demo ## Make the built-in demo pair again from scratch (a quarter of an hour on 2 cores)
	$(BIN)/python -m models.demo.training.make

wheel: $(VENV)/.development ## The wheel, demo pair included, in dist/
	rm -f dist/hearth-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

wheel-smoke: wheel ## Install the built wheel into a fresh environment, serve from it and ask it twice (seconds)
	$(BIN)/python .ci/wheel_smoke.py dist/hearth-*.whl

clean: ## Remove what was made, the virtual environment included
	rm -rf $(VENV) $(FUZZ) .clients dist .mypy_cache .ruff_cache .pytest_cache

# deploy/install.py says what it downloads, and takes torch's CPU build where there is no NVIDIA driver.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing. On Debian and Ubuntu: sudo apt install python3 python3-venv"; exit 1; }
	@DEVICE=$(DEVICE) $(PYTHON) deploy/install.py $(VENV)
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP_INSTALL) torch -e '.[dev]'
	@touch $@

$(VENV)/.demo: $(VENV)/.development
	$(PIP_INSTALL) torch -e '.[dev,demo]'
	@touch $@

# Triton, 200 MB, which CUDA builds of torch bring along and its CPU build does not.
$(VENV)/.rehearsal: $(VENV)/.development
	$(PIP_INSTALL) torch -e '.[dev,rehearsal]'
	@touch $@

# An environment of its own: its pins and ours disagree.
$(FUZZ)/.installed: Makefile
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5
	@touch $@
