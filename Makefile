# The verbs of this project; a bare `make` lists them.
# Settings: PYTHON (3.11 or newer), PORT (8000), PLACES (a catalogue to begin with), TORCH_INDEX (another index for
# torch, for example one with CPU builds only), BUILDER (docker build) and TAG (dev) of images.

PYTHON ?= python3
PORT ?= 8000
BUILDER ?= docker build
TAG ?= dev
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv --quiet
# Copied, not linked: a cache may be on another disk.
export UV_LINK_MODE ?= copy
export UV_PYTHON := $(CURDIR)/$(BIN)/python
export PORT

# What the images say of themselves.
LABELS = --build-arg "VERSION=$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/placerank/__init__.py)" \
  --build-arg "REVISION=$(or $(shell git describe --always --dirty --exclude '*' 2>/dev/null),unknown)"

.DEFAULT_GOAL := help
.PHONY: help run run-services install test e2e lint types format bench images lock clean

help: ## List these verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.embedded ## Everything in one process, with a demo catalogue or PLACES=FILE, on PORT
	@$(BIN)/placerank run --port $(PORT) $(if $(PLACES),--places "$(PLACES)")

run-services: $(VENV)/.dev ## The same as processes against real PostgreSQL, RabbitMQ and Redis
	@$(BIN)/python -m tools.run_services

install: $(VENV)/.dev ## The environment in .venv with everything in it

test: $(VENV)/.dev lint types ## Lint, types and every test; starts the services that they need
	@$(BIN)/python -m pytest $(ARGS)

e2e: $(VENV)/.dev ## The chart on the cluster of KUBECONFIG, with images of TAG (and NEXT_TAG) that are there
	@$(BIN)/python -m pytest tests/e2e -s $(ARGS)

lint: $(VENV)/.dev ## Style, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

types: $(VENV)/.dev ## Types
	@$(BIN)/mypy

format: $(VENV)/.dev ## Bring the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## The benchmarks, a table and JSON in bench/out
	@$(BIN)/python -m bench.closed_loop
	@$(BIN)/python -m bench.embedded_start
	@$(BIN)/python -m bench.scoring
	@$(BIN)/python -m bench.catalogue

images: ## placerank/api and placerank/worker with tag TAG, made by BUILDER
	$(BUILDER) -t placerank/api:$(TAG) -f Dockerfile --target api $(LABELS) .
	$(BUILDER) -t placerank/worker:$(TAG) -f Dockerfile --target worker $(LABELS) \
	  $(if $(TORCH_INDEX),--build-arg "TORCH_INDEX=$(TORCH_INDEX)") .

lock: $(VENV)/.dev ## Choose the newest dependencies and pin them
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tools.lock

clean: ## Remove the environment and every trace of a run but the data
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .run bench/out

$(VENV)/.python: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'placerank needs Python 3.11 or newer: make PYTHON=python3.12 …' >&2; exit 1; }
	@echo 'Making $(VENV) …'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# torch by version alone: its build, and with it the hash, is the machine's choice.
$(VENV)/.torch: requirements/torch.txt $(VENV)/.python
	@echo 'Installing torch …'
	@$(UV) pip install -r requirements/torch.txt $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)")
	@touch $@

$(VENV)/.embedded: requirements/embedded.txt pyproject.toml $(VENV)/.torch
	@echo 'Installing placerank …'
	@$(UV) pip install --require-hashes -r requirements/embedded.txt
	@$(UV) pip install --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml $(VENV)/.torch
	@echo 'Installing placerank and what its tests need …'
	@$(UV) pip install --require-hashes -r requirements/dev.txt
	@$(UV) pip install --no-deps -e .
	@touch $@
