.DEFAULT_GOAL := help
PYTHON ?= $(firstword $(foreach v,python3.13 python3.12 python3.11 python3,$(if $(shell $(v) -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null | grep True),$(v))))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALL := $(wildcard pyproject.toml constraints.txt clients/python/pyproject.toml)

.PHONY: help
help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "PECA needs Python 3.11, 3.12 or 3.13; none was found. Name one: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Torch is not part of what serves, so the demonstration does not wait for it.
$(VENV)/.serve: $(INSTALL) | $(VENV)/bin/python
	$(PIP) -e '.[cpu]'
	@touch $@

$(VENV)/.develop: $(INSTALL) | $(VENV)/bin/python
	$(PIP) -e '.[cpu,train,dev,milvus]'
	@touch $@ $(VENV)/.serve

# A real Milvus and what else only slow tests and benchmarks need.
$(VENV)/.bench: $(INSTALL) | $(VENV)/bin/python
	$(PIP) -e '.[cpu,train,dev,milvus,bench]'
	@touch $@ $(VENV)/.develop $(VENV)/.serve

.PHONY: demo
demo: $(VENV)/.serve  ## Set up, and search a synthetic site from image files to a ranked answer
	$(BIN)/peca demo $(DEMO)

# Two files at a time, each with a core: two of PyTorch's pools of threads would fight over them.
.PHONY: test
test: $(VENV)/.develop  ## Set up, and run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(TEST)

.PHONY: test-slow
test-slow: $(VENV)/.bench  ## Set up with a real Milvus too, and run the tests that take minutes
	$(BIN)/pytest -m slow $(TEST)

.PHONY: bench
bench: $(VENV)/.bench  ## Set up what the scripts in benchmarks/ need

.PHONY: check
check: $(VENV)/.develop  ## Lint, format, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --config-file clients/python/pyproject.toml
	$(BIN)/lint-imports

.PHONY: openapi
openapi: $(VENV)/.serve  ## Write docs/openapi.json anew
	$(BIN)/python -m server.openapi > docs/openapi.json

.PHONY: clean
clean:  ## Remove what the other targets made
	rm -rf $(VENV) demo-site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
