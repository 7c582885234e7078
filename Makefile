# One command checks everything: `make test`. `make help` lists the targets.
# PYTHON=/path/to/python chooses the interpreter; without it the first working one of 3.11 or newer is taken.

VENV    := .venv
BIN     := $(VENV)/bin
RUNTIME := $(VENV)/.stamp-runtime
DEV     := $(VENV)/.stamp-dev
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet

PYTHON     ?=
CANDIDATES := python3 python3.13 python3.12 python3.11 python
# A name on PATH proves nothing: version managers leave shims that fail, and some systems split venv or ssl off.
PROBE      := import ensurepip, sqlite3, ssl, sys, venv; assert sys.version_info >= (3, 11)

# Crash tests start processes of their own, so more workers than this only make them wait for each other.
PYTEST_WORKERS ?= auto
PYTEST_ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format-check lint types buf proto bench format clean

help:
	@echo "make demo     run the example: a server, a worker, one order, every event as it happens"
	@echo "make test     check everything, then run all tests"
	@echo "make check    format, lint, API lint (if buf is installed), types; no tests"
	@echo "make format   format the code and sort its imports"
	@echo "make proto    regenerate the code of proto/callboard/v1"
	@echo "make bench    the throughput harness"
	@echo "make clean    remove everything made here, the virtual environment included"

demo: $(RUNTIME)
	@$(BIN)/callboard demo

test: check
	@$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --maxprocesses=4 --dist=loadgroup $(PYTEST_ARGS)

# In the order that fails fastest, one after the other even under -j.
check: $(DEV)
	@$(MAKE) --no-print-directory format-check
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory buf
	@$(MAKE) --no-print-directory types

format-check: $(DEV)
	@$(BIN)/ruff format --check --quiet . || { echo "Run 'make format'." >&2; exit 1; }

lint: $(DEV)
	@$(BIN)/ruff check --quiet .

buf:
	@if command -v buf >/dev/null 2>&1; then cd proto && buf lint; else echo "buf is not installed: the .proto files are not linted."; fi

types: $(DEV)
	@$(BIN)/mypy --no-error-summary
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

format: $(DEV)
	@$(BIN)/ruff check --quiet --select I --fix .
	@$(BIN)/ruff format --quiet .

proto: $(DEV)
	@$(BIN)/python proto/generate.py

bench: $(DEV)
	@$(BIN)/python -m benchmarks

clean:
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .hypothesis .coverage .coverage.*
	@find . -type d \( -name __pycache__ -o -name .ruff_cache \) -prune -exec rm -rf {} +

# A change of pyproject.toml makes the environment anew, so that it never holds what is no longer asked for.
$(RUNTIME): pyproject.toml
	@set -e; \
	if [ -n "$(PYTHON)" ]; then candidates="$(PYTHON)"; else candidates="$(CANDIDATES)"; fi; \
	chosen=; \
	for python in $$candidates; do \
	    if "$$python" -c '$(PROBE)' >/dev/null 2>&1; then chosen=$$python; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "No working Python 3.11 or newer (with venv, ssl and sqlite3) among: $$candidates." >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3 ..." >&2; \
	    exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$chosen" -c 'import sys; print(sys.executable, sys.version.split()[0])') ..."; \
	"$$chosen" -m venv --clear $(VENV)
	@$(PIP) install --editable .
	@touch $@

$(DEV): $(RUNTIME)
	@echo "Installing the tools for development ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@
