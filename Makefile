# Everything starts from a machine with Python 3.11 or later, make, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUBS_VENV := .venv-stubs
PACKAGES := core server client tests benchmarks examples scripts

CHAOS_MINUTES ?= 15
FUZZ ?= 10

.PHONY: help setup demo test test-all quick check check-vm lint types imports drift stubs bench chaos fuzz clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Make the development environment in .venv

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) scripts/need_python.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	@touch $@

demo: setup ## Federated averaging over two sites, then a stop that means it
	$(BIN)/python examples/federated_averaging/run.py

test: setup ## The tests, without the slow ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

test-all: setup ## Every test
	$(BIN)/python -m pytest -n 2 --dist worksteal

quick: setup ## The tests that take no more than moments
	$(BIN)/python -m pytest -n 2 -m 'not slow' tests/unit

check: lint types imports drift test-all ## What CI runs

check-vm: ## Limits, kills and a reboot on real machines with systemd, in QEMU: six minutes each (VM_SUITES)
	tests/vm/check $(VM_SUITES)

lint: setup $(STUBS_VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd protos && ../$(STUBS_VENV)/bin/buf lint

types: setup
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: setup
	$(BIN)/lint-imports

$(STUBS_VENV)/.ready: scripts/stubs-requirements.txt
	$(PYTHON) -m venv $(STUBS_VENV)
	$(STUBS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

stubs: $(STUBS_VENV)/.ready ## Generate client/farspawn/v1 from protos/
	$(STUBS_VENV)/bin/python scripts/generate_stubs.py client

drift: $(STUBS_VENV)/.ready ## Are the committed stubs those of protos/?
	$(STUBS_VENV)/bin/python scripts/generate_stubs.py --check client

bench: setup ## Every figure beside its baseline, as a ratio
	$(BIN)/python -m benchmarks.run_all

chaos: setup ## Kill servers and keepers at random; check what callers were told (CHAOS_MINUTES, CHAOS_SEED)
	$(BIN)/python tests/chaos/run.py --minutes $(CHAOS_MINUTES) $(if $(CHAOS_SEED),--seed $(CHAOS_SEED))

fuzz: setup ## Random and mutated calls, FUZZ times what the tests make: more than a million
	FARSPAWN_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n 2 tests/unit/server/test_fuzz_requests.py tests/acceptance/test_fuzz.py

clean: ## Remove what make made
	rm -rf $(VENV) $(STUBS_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
