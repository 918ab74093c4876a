# `make test` alone, on a machine with Python 3.11: makes .venv, installs what is needed, lints, checks types, tests.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
RUNTIME := .venv/runtime
INSTALLED := .venv/installed
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
SCRIPT := PATH="$(CURDIR)/$(BIN):$$PATH" python

# Photographs in VOC's layout: `make photos DATA=folder`; VOC is downloaded where there is nothing.
DATA ?= data/VOC2012
PHOTOS := .venv/photos

.PHONY: check test demo photos ablation bench soak lint types format clean

# After every edit: lint, types and the unit tests, in at most 90 seconds on two CPU cores. `test` runs the scripts too.
check: lint types
	$(PYTEST) -m "not parity and not end_to_end and not slow" $(addprefix --ignore=tests/,scripts faults benchmarks)

test: lint types
	$(PYTEST)

# The whole method, from nothing, in about ten minutes on two CPU cores. Each step goes on where it was stopped.
demo: $(RUNTIME)
	$(SCRIPT) -m datasets.toy
	$(SCRIPT) train_diffusion.py --name toy_denoiser --exp dig_toy --data data/toy/JPEGImages
	$(SCRIPT) train_trm.py --name toy --exp dig_toy
	$(SCRIPT) infer_trm.py --name toy --dict
	$(SCRIPT) evaluation.py --name toy
	$(SCRIPT) -m tools.report --name toy

# The whole way from photographs with labels to a segmentation network, on a CPU. Each step goes on where it was stopped.
photos: $(PHOTOS)
	test -d $(DATA)/JPEGImages || $(SCRIPT) -m datasets.prepare voc --download --data-path $(DATA)
	$(SCRIPT) -m tools.pipeline --name photos --data-path $(DATA) --exp dig_lite --seg_exp seg_lite \
		--refine pamr --refine_flags="--scale 0.5" \
		--alpha 0.7 --crf_flags="--iterations 20 --bilateral_sxy 50 --bilateral_srgb 5 --bilateral_weight 5"
	$(SCRIPT) -m tools.animate --name photos
	$(SCRIPT) -m tools.report --name photos --list train

# About an hour on two CPU cores, after `make demo`: what each part of the method adds, in experiment/ablation.
ablation: $(RUNTIME)
	$(SCRIPT) -m benchmarks.ablation --jobs 2

# About ten minutes on two CPU cores: time and memory of training, inference and scoring, into docs/performance.md.
bench: $(RUNTIME)
	$(SCRIPT) -m benchmarks

# About 20 minutes: kills, damaged and hostile files, full disks; prints what was tried and what survived.
soak: $(INSTALLED)
	$(BIN)/python -m tests.faults.soak

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(RUNTIME): requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $(RUNTIME)

$(PHOTOS): $(RUNTIME) requirements-photos.txt
	$(BIN)/python -m pip install --quiet $(addprefix --requirement ,requirements.txt requirements-photos.txt)
	@# Compiles at installation; without a C++ compiler the CRF tests are skipped, and say so.
	$(BIN)/python -m pip install --quiet pydensecrf2==1.1 || echo "pydensecrf2 could not be built: --crf will not work"
	touch $(PHOTOS)

$(INSTALLED): $(PHOTOS) requirements-test.txt requirements-export.txt requirements-app.txt
	$(BIN)/python -m pip install --quiet $(addprefix --requirement requirements,.txt -test.txt -photos.txt -export.txt)
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-app.txt
	touch $(INSTALLED)

clean:
	rm -rf .venv .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
