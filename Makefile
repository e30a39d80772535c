# move37: `make setup` sets up, `make run` runs the main job, `make test` tests all. `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
# Where pip looks for PyTorch first, for example https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# Passed on: make run ARGS="--experiments 40 --seed 1"
ARGS ?=

BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup run test check lint bench docs lock clean

help:  ## This list
	@echo "move37: discovers neural sequence mixers"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Without a GPU, PyTorch's CPU build saves gigabytes (about 200 MB instead of 3 GB on Linux):"
	@echo "  make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu"
	@echo "A PyTorch that $(PYTHON) has already is used as it is."

setup: $(VENV)/installed  ## Set up only: what run and test do first
	@echo "move37 is in $(BIN): source $(BIN)/activate, then move37 --help"

run: $(VENV)/installed  ## Set up if need be, and run a discovery (ARGS="--experiments 40")
	@$(BIN)/move37 run $(ARGS)

test: $(VENV)/installed  ## Set up if need be, and run all tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: lint  ## Format, lint, strict types, fast tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

lint: $(VENV)/installed  ## Format, lint, strict types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(VENV)/installed  ## Print the figures of every benchmark, one JSON object each
	@for file in bench/*.py; do $(BIN)/python $$file || exit 1; done

docs: $(VENV)/installed  ## Build the documentation into site/
	@$(BIN)/python -m pip install --quiet -r requirements-docs.lock
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "site/index.html"

lock: $(VENV)/installed  ## Write the lock files anew from pyproject.toml
	@tools/lock $(BIN)

clean:  ## Remove what was built and installed (runs/ stays)
	rm -rf $(VENV) site dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/installed: requirements.lock pyproject.toml tools/set-up
	@PYTHON=$(PYTHON) TORCH_INDEX=$(TORCH_INDEX) tools/set-up $(VENV)
	@touch $@
