# The targets of this project; `make` without a target lists them.
# Settings: PYTHON (3.11 or newer), PORT (8000), PLACES (a catalogue to import), TORCH_INDEX (another index for
# torch, for example one with CPU builds only), BUILDER (docker build) and TAG (dev) of images.

PYTHON ?= python3
PORT ?= 8000
BUILDER ?= docker build
TAG ?= dev
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv --quiet
# uv copies files instead of linking them, because its cache may be on another disk.
export UV_LINK_MODE ?= copy
export UV_PYTHON := $(CURDIR)/$(BIN)/python
export PORT

# Labels of the images.
LABELS = --build-arg "VERSION=$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/placerank/__init__.py)" \
  --build-arg "REVISION=$(or $(shell git describe --always --dirty --exclude '*' 2>/dev/null),unknown)"

.DEFAULT_GOAL := help
.PHONY: help run run-services install test e2e lint types format bench images structure lock clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.embedded ## Run everything in one process, with a demo catalogue or PLACES=FILE, on PORT
	@$(BIN)/placerank run --port $(PORT) $(if $(PLACES),--places "$(PLACES)")

run-services: $(VENV)/.dev ## Run separate processes with real PostgreSQL, RabbitMQ and Redis
	@$(BIN)/python -m tools.run_services

install: $(VENV)/.dev ## Install placerank and all development tools in .venv

test: $(VENV)/.dev lint types ## Run lint, types and every test; starts the services that they need
	@$(BIN)/python -m pytest $(ARGS)

e2e: $(VENV)/.dev ## Test the chart on the cluster of KUBECONFIG; its images TAG (and NEXT_TAG) must exist
	@$(BIN)/python -m pytest tests/e2e -s $(ARGS)

lint: $(VENV)/.dev ## Check the style and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

types: $(VENV)/.dev ## Check the types
	@$(BIN)/mypy

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.bench ## Run the benchmarks: tables, JSON in bench/out, pictures in docs/pictures
	@$(BIN)/python -m bench

images: ## Build placerank/api and placerank/worker with tag TAG, using BUILDER
	$(BUILDER) -t placerank/api:$(TAG) -f Dockerfile --target api $(LABELS) .
	$(BUILDER) -t placerank/worker:$(TAG) -f Dockerfile --target worker $(LABELS) \
	  $(if $(TORCH_INDEX),--build-arg "TORCH_INDEX=$(TORCH_INDEX)") .

structure: $(VENV)/.dev ## Draw the picture of the packages in docs/pictures from the code
	@$(BIN)/python -m tools.draw_packages

lock: $(VENV)/.dev ## Choose the newest dependencies and pin them
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tools.lock

clean: ## Remove the environment, caches and outputs, but not the data
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .run bench/out

$(VENV)/.python: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'placerank needs Python 3.11 or newer: make PYTHON=python3.12 …' >&2; exit 1; }
	@echo 'Making $(VENV) …'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# torch is pinned by version only: its build, and so its hash, depends on the machine.
$(VENV)/.torch: requirements/torch.txt $(VENV)/.python
	@echo 'Installing torch …'
	@$(UV) pip install -r requirements/torch.txt $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)")
	@touch $@

$(VENV)/.embedded: requirements/embedded.txt pyproject.toml $(VENV)/.torch
	@echo 'Installing placerank …'
	@$(UV) pip install --require-hashes -r requirements/embedded.txt
	@$(UV) pip install --no-deps -e .
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.dev
	@echo 'Installing the software that the benchmarks compare with …'
	@$(UV) pip install --require-hashes -r requirements/bench.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml $(VENV)/.torch
	@echo 'Installing placerank and the packages that its tests need …'
	@$(UV) pip install --require-hashes -r requirements/dev.txt
	@$(UV) pip install --no-deps -e .
	@touch $@
