# Everything on a fresh machine with Python 3.11+ and make: `make demo`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
EXTRAS := $(VENV)/.extras

.PHONY: demo test test-all test-formats lint types snapshots benchmarks clean

$(DONE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(DONE)

demo: $(DONE)
	$(BIN)/edgeopt demo

test: $(DONE)
	$(BIN)/python -m pytest -m 'not slow'

test-all: $(DONE)
	$(BIN)/python -m pytest

# PyTorch, TensorFlow, LiteRT and OpenVINO (4 GB), and the tests that are skipped without them.
$(EXTRAS): $(DONE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,all]'
	touch $(EXTRAS)

test-formats: $(EXTRAS)
	$(BIN)/python -m pytest -m 'not slow' $$(grep -rlE 'importorskip|runtimes.catalog' --include='test_*.py' tests)

lint: $(DONE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(EXTRAS)
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# What clients see of the tools, written down again after a change that is meant.
snapshots: $(DONE)
	EDGEOPT_RENEW_SNAPSHOTS=1 $(BIN)/python -m pytest tests/server/test_snapshots.py

benchmarks: $(DONE)
	$(BIN)/python benchmarks/server.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
