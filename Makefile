# Everything a developer does here. `make` alone lists it.
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BUF = $$(command -v buf || echo .tools/node_modules/.bin/buf)
DEMO_FILES := packaging/demo/*.py
# Tests start hundreds of processes, and pytest rewrites each file of theirs: without kept bytecode all of it is compiled every time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: atheris help setup proto check check-style check-types check-proto check-stubs check-imports test test-slow fuzz bench demo clean

help:  ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## Make .venv and install what is needed; nothing to do the second time

$(READY): pyproject.toml packaging/constraints.txt packaging/setup.sh
	@VENV=$(VENV) packaging/setup.sh
	@touch $@

proto: $(READY)  ## Generate the Python stubs from proto/, and note the wire as it is now (refused if it breaks what landed)
	@$(BUF) breaking proto --against proto/landed.binpb
	@VENV=$(VENV) packaging/gen-stubs.sh
	@$(BUF) build proto -o proto/landed.binpb

check: check-style check-types check-proto check-stubs check-imports  ## All checks but the tests

check-style: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

check-types: $(READY)
	@$(BIN)/mypy
	@MYPYPATH=packaging/demo $(BIN)/mypy --strict $(DEMO_FILES)

check-proto: $(READY)
	@test -x "$(BUF)" || { echo "buf is missing: install it, or npm and then: make setup -B" >&2; exit 1; }
	@$(BUF) lint proto
	@$(BUF) breaking proto --against proto/landed.binpb

check-stubs: $(READY)
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && VENV=$(VENV) packaging/gen-stubs.sh "$$out" && \
	diff -r -x __pycache__ -x __init__.py "$$out/common/pb" common/pb || \
	{ echo "The stubs in common/pb are not what proto/ says: run make proto and commit them" >&2; exit 1; }

check-imports: $(READY)
	@$(BIN)/pytest -q tests/test_architecture.py

test: $(READY)  ## Run the tests, under ten minutes
	@$(BIN)/pytest -q -n 2 --dist worksteal

test-slow: $(READY) atheris  ## Run the tests that take minutes each: about half an hour on two idle cores, an hour on busy ones
	@$(BIN)/pytest -q -m slow -n 2 --dist worksteal --durations=25

fuzz: $(READY) atheris  ## Throw made-up bytes at every parser; SECONDS_EACH=60 says how long at each
	@nice $(BIN)/python tests/fuzz/run.py $(or $(SECONDS_EACH),60)

atheris: $(READY)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install --quiet -c packaging/constraints.txt -e '.[fuzz]'

bench: $(READY)  ## Measure, and print one table of ratios; ARGS='-k whole' measures a part
	@$(BIN)/pytest -q -m bench tests/benchmarks $(ARGS)

demo: $(READY)  ## Show the whole thing on twelve real installations; KEEP=1 leaves it running to play with
	@$(BIN)/python packaging/demo/run.py $(if $(KEEP),--keep)

clean:  ## Remove what was made: .venv, .tools, demo, caches
	@rm -rf $(VENV) .tools demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
