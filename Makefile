# Everything starts from a machine with Python 3.11 or later, make, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUBS_VENV := .venv-stubs
PACKAGES := core server client tests benchmarks examples scripts

CHAOS_MINUTES ?= 15
FUZZ ?= 10

# The shim, and what it is built into for the tests: with sanitizers, and as a fuzzer. They need a C compiler that has
# the sanitizers' libraries; the shim that is installed does not, see core/shim/compiler.py.
SHIM := $(wildcard core/shim/*.[ch])
SHIM_SOURCES := $(filter %.c,$(SHIM))
GCC := $(shell command -v gcc)
SANITIZED = $(CC) -std=c11 -g -O1 -Wall -Wextra -Werror -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all

.PHONY: help setup demo test test-all quick check check-vm lint types imports drift stubs analyse sanitize wheels bench chaos fuzz clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Make the development environment in .venv

$(VENV)/.ready: pyproject.toml constraints.txt $(SHIM) $(wildcard core/shim/*.py)
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

check: lint types imports drift analyse sanitize test-all ## What CI runs

check-vm: ## Limits, kills and a reboot on real machines with systemd, in QEMU: six minutes each (VM_SUITES)
	tests/vm/check $(VM_SUITES)

lint: setup $(STUBS_VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(SHIM)
	cd protos && ../$(STUBS_VENV)/bin/buf lint

types: setup
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: setup
	$(BIN)/lint-imports

analyse: setup ## Look for faults in the shim without running it
	$(BIN)/cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 core/shim
ifdef GCC
	for source in $(SHIM_SOURCES); do $(GCC) -std=c11 -O2 -fanalyzer -Werror -c -o /dev/null $$source || exit; done
else
	@echo "SKIPPED: gcc -fanalyzer, for there is no gcc here"
endif

build/farspawn-shim-asan: $(SHIM)
	mkdir -p build
	$(SANITIZED) $(filter-out %/fuzz_messages.c,$(SHIM_SOURCES)) -o $@

build/fuzz-messages: $(SHIM)
	mkdir -p build
	$(SANITIZED) $(filter-out %/main.c,$(SHIM_SOURCES)) -o $@

ifneq ($(shell command -v $(CC)),)
sanitize: setup build/fuzz-messages build/farspawn-shim-asan ## The shim's tests with sanitizers, and odd messages to it (FUZZ)
	build/fuzz-messages -n $$((20000 * $(FUZZ))) 1
	FARSPAWN_SHIM=$(CURDIR)/build/farspawn-shim-asan $(BIN)/python -m pytest -n 2 tests/integration/keeper/test_runs.py
else
sanitize:
	@echo "SKIPPED: the shim with sanitizers, and its fuzzer, for there is no C compiler here"
endif

$(STUBS_VENV)/.ready: scripts/stubs-requirements.txt
	$(PYTHON) -m venv $(STUBS_VENV)
	$(STUBS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

stubs: $(STUBS_VENV)/.ready ## Generate client/farspawn/v1 from protos/
	$(STUBS_VENV)/bin/python scripts/generate_stubs.py client

drift: $(STUBS_VENV)/.ready ## Are the committed stubs those of protos/?
	$(STUBS_VENV)/bin/python scripts/generate_stubs.py --check client

wheels: setup ## The sdist and, from it and by Zig, the wheels for x86-64 and aarch64, in dist/
	rm -rf dist
	$(BIN)/python -m hatchling build -t sdist -d dist
	for machine in x86_64 aarch64; do \
	    FARSPAWN_SHIM_MACHINE=$$machine $(BIN)/python -m pip wheel --quiet --no-deps -w dist dist/*.tar.gz || exit; \
	done

bench: setup ## Every figure beside its baseline, as a ratio
	$(BIN)/python -m benchmarks.run_all

chaos: setup ## Kill servers and keepers at random; check what callers were told (CHAOS_MINUTES, CHAOS_SEED)
	$(BIN)/python tests/chaos/run.py --minutes $(CHAOS_MINUTES) $(if $(CHAOS_SEED),--seed $(CHAOS_SEED))

fuzz: sanitize ## Random and mutated calls, FUZZ times what the tests make: more than a million
	FARSPAWN_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n 2 tests/unit/server/test_fuzz_requests.py tests/acceptance/test_fuzz.py

clean: ## Remove what make made
	rm -rf $(VENV) $(STUBS_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
