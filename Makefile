# Thin: each target sets up what it lacks, then calls one command.
SHELL := /bin/bash
PYTHON ?= python3
ENV ?= lab
UNTERBAU := .venv/bin/unterbau
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help lab plan apply test lint bench

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 14

lab: .venv/.ready ## a cloud of its own, five machines from it, converged; a second time changes nothing
	@$(UNTERBAU) lab cloud up
	@$(UNTERBAU) apply lab -y

plan: .venv/.ready ## what would change in ENV (default: lab)
	@$(UNTERBAU) plan $(ENV)

apply: .venv/.ready ## show what would change in ENV, ask, do it
	@$(UNTERBAU) apply $(ENV)

test: .venv/.ready ## every test there is; starts the lab's machines if they are down
	@.venv/bin/python -m tests.run

lint: .venv/.ready ## ruff, mypy strict, import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

bench: .venv/.ready ## how long a second run takes, and what object storage carries, as ratios
	@.venv/bin/python -m tests.bench.second_run
	@.venv/bin/python -m tests.bench.object_storage

.venv/.ready: locks/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cannot use $(PYTHON): Python 3.11 or newer is needed; say which with make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv; }
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r locks/dev.txt
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
