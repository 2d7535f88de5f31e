# `make testnet` and `make test` need nothing but Python and make: the first run sets everything up.
# Set-up speaks on stderr, so that the stdout of `make testnet` stays data.

MAKEFLAGS += --no-print-directory
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# What the command at the end gets, e.g. make testnet ARGS="--validators 7 --for 30s --json"
ARGS ?=

.PHONY: help setup testnet test check e2e chaos docs screenshots format lock clean
.DEFAULT_GOAL := help

help:
	@echo 'make testnet   a local testnet of real processes; ARGS="--validators 7 --for 30s"'
	@echo 'make test      the tests, in less than 8 minutes on 2 cores; ARGS="-k codec"'
	@echo 'make check     format, lint, types, layers'
	@echo 'make e2e       every test with real processes'
	@echo 'make chaos     hundreds of simulated runs with faults'
	@echo 'make docs      the documentation as a site, in site/'
	@echo 'make screenshots   the pictures of the TUIs in docs/img anew'
	@echo 'make format    rewrite the code as `make check` wants it'
	@echo 'make lock      choose new versions for requirements.lock'
	@echo 'make clean     remove .venv and caches; testnets under .testnet/ stay'

setup: $(READY)

$(READY): requirements.lock pyproject.toml tools/bootstrap.py
	@$(PYTHON) tools/bootstrap.py 1>&2

# `exec` leaves no shell between make and the testnet, so that signals reach it alone and once. After
# Ctrl-C, its planned end, make itself still ends as interrupted, but without calling it an error.
testnet: $(READY)
	@exec $(BIN)/testnet up --until-ctrl-c $(ARGS)

# With ARGS, either half may have nothing that matches (pytest's exit code 5).
NOTHING_IS_FINE = $(if $(strip $(ARGS)),|| [ $$? -eq 5 ])

# Real processes share the cores badly: they run after the others, one test at a time.
test: $(READY)
	@$(BIN)/pytest -q -n 2 -m "not chaos and not e2e and not slow" $(ARGS) $(NOTHING_IS_FINE)
	@$(BIN)/pytest -q -m "e2e and not slow" tests/e2e $(ARGS) $(NOTHING_IS_FINE)

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

e2e: $(READY)
	@$(BIN)/pytest -m e2e tests/e2e $(ARGS)

chaos: $(READY)
	@$(BIN)/pytest -n 2 -m chaos tests/sim tests/mutants $(ARGS)

docs: $(READY)
	@$(BIN)/python -m mkdocs build --quiet --strict
	@echo 'open site/index.html'

screenshots: $(READY)
	@$(BIN)/python tools/screenshots.py

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(READY)
	@$(BIN)/python tools/lock.py $(ARGS)

clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
