# `make test` alone, on a machine with Python 3.11: makes .venv, installs what is needed, lints, tests.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: test soak lint format clean

test: lint
	$(BIN)/python -m pytest

# About 20 minutes: kills, damaged and hostile files, full disks; prints what was tried and what survived.
soak: $(INSTALLED)
	$(BIN)/python -m tests.faults.soak

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): requirements.txt requirements-test.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --requirement requirements-test.txt
	@# Compiles at installation; without a C++ compiler the CRF tests are skipped, and say so.
	$(BIN)/python -m pip install --quiet pydensecrf2==1.1 || echo "pydensecrf2 could not be built: --crf will not work"
	touch $(INSTALLED)

clean:
	rm -rf .venv .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
