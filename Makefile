# The commands of this project. `make demo` and `make test` install what is missing first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# The versions that are installed: those of requirements.lock, so that a release of a dependency changes nothing here.
# `make demo VERSIONS=` takes the newest that pyproject.toml admits.
VERSIONS ?= --constraint requirements.lock
# More for pip, such as another index.
PIP_ARGS ?=

.PHONY: demo docs test test-long fuzz fuzz-texts fuzz-videos bench-step bench-growth bench-peers soak audit test-oldest test-newest test-trackers wheel-check lint lock clean chaos chaos-short

demo: $(VENV)/.installed
	$(BIN)/video-opd demo

# Three workers for two cores, each on one thread: a worker often waits for a disk or for a process that it started. Every
# worker and every process that it starts reads the same modules, so that their bytecode is kept even where it usually is not.
# mypy takes a minute without its cache, beside the tests.
test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build; $(BIN)/mypy > build/mypy.txt 2>&1 & types=$$!; \
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long"; tested=$$?; \
	wait $$types; typed=$$?; cat build/mypy.txt; exit $$((tested | typed))

# What takes too long for every change: jobs of several processes, rehearsals of benchmarks, fuzzing. Ten minutes and more.
test-long: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist loadfile -m long

# The documentation as a site that needs no network: build/site/index.html. A link to nowhere is an error.
docs: $(VENV)/.installed-dev
	$(BIN)/python scripts/build_docs.py

# The property tests with new examples, over and over: FUZZ_ROUNDS times.
FUZZ_ROUNDS ?= 10
FUZZ := $(BIN)/pytest -n 2 -m hypothesis --hypothesis-profile=default
fuzz: $(VENV)/.installed-dev
	for round in $$(seq $(FUZZ_ROUNDS)); do $(FUZZ) || exit 1; done

# Spoiled text files of every kind that a command reads: none may end in a traceback.
FUZZ_MUTANTS ?= 100000
fuzz-texts: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python scripts/fuzz_texts.py --mutants $(FUZZ_MUTANTS)

# Spoiled clips, read in a decoding process as a run reads them. Real clips are taken from FUZZ_VIDEOS where it is given.
FUZZ_CLIPS ?= 20000
fuzz-videos: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python scripts/fuzz_videos.py --mutants $(FUZZ_CLIPS) $(if $(FUZZ_VIDEOS),--videos $(FUZZ_VIDEOS))

# Commands that are killed and stopped wherever they write come to the same end: 50 trials, and 8 as in `make test`.
chaos: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python scripts/chaos.py --kills 50
chaos-short: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python scripts/chaos.py --kills 8 --most 1

# A whole step beside the plain path, the released passes and other trainers, and how it grows: benchmarks/RESULTS.md. Each
# takes a quarter of an hour on a core that does nothing else; bench-peers installs what it needs into .venv-peer-NAME.
bench-step bench-growth bench-peers: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python $(BENCH_$@)
	$(BIN)/python benchmarks/results_page.py
BENCH_bench-step := benchmarks/step.py
BENCH_bench-growth := benchmarks/growth.py
BENCH_bench-peers := benchmarks/peers/run.py

# The two ends of what pyproject.toml admits, each in an environment of its own. A failure at the newest end means that a
# dependency changed: say so in an issue and in CHANGELOG.md (CONTRIBUTING.md, "Versions").
test-oldest:
	$(MAKE) VENV=.venv-oldest VERSIONS="torch==2.11.* transformers==5.17.0" .venv-oldest/.installed-dev
	.venv-oldest/bin/pytest

test-newest:
	rm -rf .venv-newest
	$(MAKE) VENV=.venv-newest VERSIONS= .venv-newest/.installed-dev
	.venv-newest/bin/pytest

# TensorBoard, Weights & Biases, MLflow and trackio for real, without a network, in an environment of their own: 1 GB more.
test-trackers:
	$(MAKE) VENV=.venv-trackers .venv-trackers/.installed-dev
	.venv-trackers/bin/pip install --quiet $(PIP_ARGS) --editable ".[tensorboard,wandb,mlflow,trackio]"
	.venv-trackers/bin/pytest tests/trackers

# An hour of training with processes that decode: memory, open files, threads and processes (docs/RELIABILITY.md).
SOAK_SECONDS ?= 3600
soak: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/soak.py --seconds $(SOAK_SECONDS)
	$(BIN)/python benchmarks/results_page.py

# Known vulnerabilities of the locked versions, where an index can be asked; an environment of its own for pip-audit.
audit:
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install --quiet pip-audit; } \
	  || { rm -rf .venv-audit; echo "skipped: pip-audit could not be installed"; exit 0; }; \
	test ! -x .venv-audit/bin/pip-audit || .venv-audit/bin/python scripts/audit.py

# The wheel of the last commit, installed into an empty environment outside the checkout, runs `demo`.
wheel-check: $(BIN)/python
	$(BIN)/python scripts/check_wheel.py $(WHEEL_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# Newest versions into requirements.lock, after all tests pass with them.
lock: test-newest
	.venv-newest/bin/pip freeze --exclude-editable | grep -v ' @ ' > requirements.lock

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV) || { rm -rf $(VENV); echo "no venv: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip || { rm -rf $(VENV); exit 1; }

# PyTorch's plain build for Linux runs on the CPU too. Its CPU-only build needs a CPU-only torchvision: docs/INSTALL.md.
$(VENV)/.installed: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/pip install --quiet $(VERSIONS) $(PIP_ARGS) --editable .
	touch $@

# The tests import a fifth of the 13,500 modules; pip takes 40 s to compile them all.
$(VENV)/.installed-dev: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/pip install --quiet --no-compile $(VERSIONS) $(PIP_ARGS) --editable ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest .venv-trackers .venv-audit .venv-peer-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
