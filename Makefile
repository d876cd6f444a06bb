# make quickstart   track a clip with the shipped weights, train a little, evaluate, compare: under two minutes
# make train-demo   train from nothing on generated videos, evaluate, write pictures (MODEL=name chooses the method)
# make test         everything that is checked on every change: ruff, mypy, pytest
# All work in a fresh clone with nothing but Python 3.11 or later: they make .venv and install what they need into it.

VENV  ?= .venv
MODEL ?= joint
RUN   ?= runs/train-demo-$(MODEL)
JOBS  ?= 2

# The first Python that is new enough, really starts, and can make an environment.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

BIN := $(VENV)/bin
# One thread per process: the tests run side by side.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NO_ALBUMENTATIONS_UPDATE=1 WANDB_MODE=offline

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install install-dev quickstart train-demo test lint types pytest format build docs notebooks clean distclean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "vos-zoo needs Python 3.11 or later with venv; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp per installation: the second call installs nothing unless the package's definition changed.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing vos-zoo into $(VENV): about 5 GB with PyTorch, a few minutes, only once"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing vos-zoo and its tools into $(VENV): about 5 GB with PyTorch, a few minutes, only once"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed ## Install the package into .venv

install-dev: $(VENV)/.installed-dev ## Install the package and the tools of development into .venv

quickstart: $(VENV)/.installed ## Track the sample clip, train a little, evaluate and compare (restartable)
	$(BIN)/vos-zoo quickstart --output runs/quickstart --train joint-small

train-demo: $(VENV)/.installed ## Train from nothing, evaluate and draw on generated videos (MODEL=name)
	rm -rf $(RUN)
	$(BIN)/vos-zoo fit --model $(MODEL) --recipe quickstart output=$(dir $(RUN)) run_name=$(notdir $(RUN))
	$(BIN)/vos-zoo test --model $(MODEL) --recipe quickstart --weights $(RUN)/model --output $(RUN)/test
	@echo "Pictures: $$(ls $(RUN)/test/overlays/*.png | head -1) and its neighbours"

test: lint types pytest ## Check everything, as on every change

lint: $(VENV)/.installed-dev ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## Check the types of src
	$(BIN)/mypy

pytest: $(VENV)/.installed-dev ## Run the tests (JOBS=processes)
	$(TEST_ENV) $(BIN)/python -m pytest -q -n $(JOBS)

format: $(VENV)/.installed-dev ## Bring the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(VENV)/.installed-dev ## Build the wheel and the source archive into dist
	$(BIN)/python -m build --no-isolation

docs: $(VENV)/.installed-dev ## Build the documentation site into build/site, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: $(VENV)/.installed-dev ## Run the notebooks and keep their outputs
	NO_ALBUMENTATIONS_UPDATE=1 $(BIN)/python docs/_site/run_notebooks.py

clean: ## Remove caches and builds
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Also remove the environment
	rm -rf $(VENV)
