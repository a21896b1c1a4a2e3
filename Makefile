# make quickstart   plan, fit by the plan, and verdict on the embedded default, into a new folder under runs/
# make test         the fast tests
# make test-loggers W&B and MLflow with the real packages, which `make loggers` installs beside the others
# make lint         style and types
# make docs         the site of docs/, into site/
# make dist         wheel and sdist, into dist/; of one commit they are the same, byte for byte
# make lock         versions and hashes of all that a release installs; asks PyPI
# make audit        known vulnerabilities of the pinned packages; asks PyPI and OSV
# Set-up goes into .venv and happens once; PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install quickstart test test-slow loggers test-loggers lint docs dist lock audit

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("selectune needs Python 3.11 or later; say make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench,docs]'
	touch $@

quickstart: $(READY)
	$(BIN)/python main.py quickstart

# a thread each, as two processes whose threads wait for each other are slower than one
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-slow: $(READY)
	$(BIN)/python -m pytest -m 'slow or real_data'

# in an environment of their own on top, as these packages ask for other versions of some
LOGGERS := $(VENV)/loggers
loggers: $(LOGGERS)/.ready

$(LOGGERS)/.ready: $(READY)
	$(BIN)/python -m venv $(LOGGERS)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > "$$($(LOGGERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/selectune.pth"
	$(LOGGERS)/bin/python -m pip install --quiet wandb mlflow
	touch $@

test-loggers: $(LOGGERS)/.ready
	OMP_NUM_THREADS=1 $(LOGGERS)/bin/python -m pytest -n 0 -m slow tests/callbacks/test_logged_results.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/mkdocs build --strict

dist: $(READY)
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation

lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --constraint constraints.txt --generate-hashes --universal --python-version 3.11 \
	  --no-annotate --no-header --quiet --output-file requirements.lock

audit: $(READY)
	$(BIN)/python -m pip install --quiet pip-audit
	grep -v '^ *#' constraints.txt > $(VENV)/audited.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement $(VENV)/audited.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement requirements.lock
