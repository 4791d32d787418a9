# `make demo` trains a model and lets it tell stories; `make test` checks everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
TEST := $(VENV)/.installed-test

.PHONY: demo test lint types check rehearse slow bench format docs help clean
.DEFAULT_GOAL := help

help:  ## Show these lines
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(CORE)  ## Plan and train on the built-in stories for two minutes, then print what the model writes
	$(BIN)/glassgpt train --minutes 2

test: $(TEST) lint  ## Lint, types, the tests as other machines run them, and the whole test suite (the slow tests excepted)
	@$(MAKE) --no-print-directory -j 2 types rehearse
	@$(MAKE) --no-print-directory check

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST)
	$(BIN)/pyright

check: $(TEST)
	$(BIN)/pytest -n 2 --dist worksteal

rehearse: $(TEST)
	$(BIN)/python tests/rehearse.py

slow: $(TEST)  ## The tests that take minutes
	$(BIN)/pytest -m slow -n 0

bench: $(TEST)  ## Measure everything against its peers (an hour), then print the table; QUICK=1 tries it in minutes
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

format: $(TEST)  ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(CORE)  ## Write docs/help.md from the commands themselves
	$(BIN)/python docs/make_help.py

clean:  ## Remove the virtual environment
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(TEST): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(CORE)
