# Everything on a fresh machine with Python 3.11+ and make: `make demo`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
EXTRAS := $(VENV)/.extras

.PHONY: demo test test-all test-formats lint types foreign conformance clients inspect snapshots reference benchmarks screenshots clean

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

# Clients that are not ours, from npm. Where npm is not, the tests say that they are skipped.
FOREIGN := tests/clients/node_modules/.installed

$(FOREIGN): tests/clients/package-lock.json
	npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --silent
	touch $(FOREIGN)

foreign:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(FOREIGN); \
	else echo "npm is not here: what needs clients from npm is skipped. Install Node.js 20 or later for it."; fi

# The protocol's official conformance suite, both revisions.
conformance: $(DONE) foreign
	$(BIN)/python -m pytest -rs tests/clients/test_conformance.py

# The Inspector's command line and the TypeScript SDK against this server, over stdio and HTTP.
clients: $(DONE) foreign
	$(BIN)/python -m pytest -rs tests/clients/test_foreign.py

# The scenarios of evals/ as Inspect AI tasks, with the scripted model.
inspect: $(DONE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[evals]'
	$(BIN)/python -m pytest -rs tests/evals/test_apart.py

# What clients see of the tools, written down again after a change that is meant.
snapshots: $(DONE)
	EDGEOPT_RENEW_SNAPSHOTS=1 $(BIN)/python -m pytest tests/server/test_snapshots.py

# docs/reference.md, made of the tools.
reference: $(DONE)
	EDGEOPT_RENEW_SNAPSHOTS=1 $(BIN)/python -m pytest tests/server/test_reference.py

benchmarks: $(DONE)
	$(BIN)/python benchmarks/server.py

# The pictures of the README; needs Chromium.
screenshots: $(DONE)
	$(BIN)/python docs/screenshots.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
