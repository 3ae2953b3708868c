# The verbs of this house. `make` alone lists them.
# Nothing here needs root but `make services`, which installs the programs that the interop tests run.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# PYTHON=/path/to/python3.12 chooses the interpreter for a new .venv; else the first that will do is taken.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
# make up ARGS='--help', make test ARGS='tests/unit -k renew', make test WORKERS=auto
ARGS ?=
WORKERS ?= 0

# mypy refuses a folder that holds no Python
TYPED := src tests $(foreach tree,bench vectors docs,$(if $(wildcard $(tree)/*.py),$(tree)))

.PHONY: help up dashboard page-aside demo screenshots test lint fmt vectors docs bench check venv venv-dev kafka kafka3 services lock

help: ## this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

up: $(VENV)/.runtime page-aside ## install what the lock names into .venv, then start an authority here
	@exec $(BIN)/quicklime up $(ARGS)

dashboard: ## build the dashboard's page (Node 20.19 or later); what `make up` does where there is Node
	@dashboard/run build

# where there is no Node, this says so, and that is all
page-aside:
	@dashboard/run aside

demo: $(VENV)/.runtime page-aside ## a throw-away authority with months of a believable past, and its dashboard
	@exec $(BIN)/quicklime demo $(ARGS)

screenshots: $(VENV)/.dev services ## pictures of the dashboard for docs/images, of a demonstration's past
	$(BIN)/python -m tests.browser.screenshots

test: $(VENV)/.dev services ## every test, fast ones first (ARGS='tests/unit -k renew', WORKERS=auto)
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(VENV)/.dev ## ruff, format, strict types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --config pyproject.toml
	@if command -v node >/dev/null; then echo dashboard: types, eslint; dashboard/run lint; \
		else echo 'dashboard: not linted, there is no Node here'; fi

fmt: $(VENV)/.dev ## format, and mend what ruff can mend safely
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

vectors: $(VENV)/.dev ## make the golden bytes that are missing
	$(BIN)/python -m vectors.make $(ARGS)

docs: $(VENV)/.dev ## write the reference pages anew from the program
	$(BIN)/python docs/make.py $(ARGS)

bench: $(VENV)/.dev $(VENV)/.bench services ## side-by-side measurements on this machine (ARGS='issuance --write')
	@tests/services.sh bench
	$(BIN)/python -m bench $(ARGS)

check: lint test ## lint, then test: what the CI runs

venv: $(VENV)/.runtime ## only install: what running needs

venv-dev: $(VENV)/.dev ## only install: what testing needs

kafka: $(VENV)/.dev services ## one real Kafka broker on this machine, until Ctrl-C (ARGS='--port 9092')
	@$(BIN)/python -m tests.support.kafka $(ARGS)

kafka3: $(VENV)/.dev services ## a cluster of three real Kafka brokers on this machine, until Ctrl-C
	@$(BIN)/python -m tests.support.kafka --nodes 3 $(ARGS)

services: ## install the programs that the interop tests use (Debian packages)
	@tests/services.sh

lock: $(VENV)/.dev ## write the locks anew from pyproject.toml (ARGS=--upgrade for new versions)
	$(BIN)/uv pip compile pyproject.toml --group build $(LOCK_FLAGS) $(ARGS) --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group build --group dev $(LOCK_FLAGS) $(ARGS) \
		--constraint requirements.lock --output-file requirements-dev.lock
	$(BIN)/uv pip compile --group bench $(LOCK_FLAGS) $(ARGS) \
		--constraint requirements-dev.lock --output-file requirements-bench.lock

# Versions and hashes for every platform; no address, so that each machine asks the index it is set up for.
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate --quiet

# Everything comes from the lock, by hash. The tree itself is built with the locked backend and no index.
INSTALL_TREE := $(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .

$(VENV)/.runtime: requirements.lock pyproject.toml
	@PYTHON='$(PYTHON)' VENV='$(VENV)' .ci/venv
	@# the lock for testing holds the same versions and more: an installed .dev that is newer will do
	@if [[ -e $(VENV)/.dev && $(VENV)/.dev -nt requirements.lock && $(VENV)/.dev -nt pyproject.toml ]]; then \
		touch $@; exit 0; fi; \
	echo "installing what requirements.lock names into $(VENV)"; \
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock; \
	$(INSTALL_TREE); \
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	@PYTHON='$(PYTHON)' VENV='$(VENV)' .ci/venv
	@echo "installing what requirements-dev.lock names into $(VENV)"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	@$(INSTALL_TREE)
	@touch $@

# Peers that come as wheels: large, and of use to nothing but the bench.
$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	@echo "installing what requirements-bench.lock names into $(VENV)"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-bench.lock
	@touch $@
