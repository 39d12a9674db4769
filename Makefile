# The commands of this project. `make demo` and `make test` install what is missing first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# PIP_ARGS: e.g. PIP_ARGS="--constraint requirements.lock" for the versions the numbers in the README were made with.
PIP_ARGS ?=

.PHONY: demo test fuzz test-oldest lint lock clean

demo: $(VENV)/.installed
	$(BIN)/video-opd demo

# Two workers, each on one thread: two cores are what the tests are made for.
test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile

# The property tests with new examples, over and over: FUZZ_ROUNDS times.
FUZZ_ROUNDS ?= 10
FUZZ := $(BIN)/pytest -n 2 -m hypothesis --hypothesis-profile=default
fuzz: $(VENV)/.installed-dev
	for round in $$(seq $(FUZZ_ROUNDS)); do $(FUZZ) || exit 1; done

# The oldest versions that pyproject.toml admits, in an environment beside the other.
test-oldest:
	$(MAKE) VENV=.venv-oldest PIP_ARGS="torch==2.11.* transformers==5.17.0" .venv-oldest/.installed-dev
	.venv-oldest/bin/pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

lock: $(VENV)/.installed-dev
	$(BIN)/pip freeze --exclude-editable | grep -v ' @ ' > requirements.lock

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV) || { rm -rf $(VENV); echo "no venv: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip || { rm -rf $(VENV); exit 1; }

# PyTorch's plain build for Linux runs on the CPU too; its CPU-only build does not get on with torchvision.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet $(PIP_ARGS) --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet $(PIP_ARGS) --editable ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .venv-oldest .mypy_cache .ruff_cache .pytest_cache .hypothesis
