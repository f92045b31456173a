# `make run` and `make test` do everything on a fresh machine: they set up what they need first.
PYTHON ?= python3
BIN := .venv/bin
DECLARED := pyproject.toml constraints.txt $(wildcard thread_cli/models/llama/kernels/*.[ch])
# The build of the planner that ALFWorld needs calls `python`, which not every system has.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run install test test-slow coverage lint format types reference wheel perf clean

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/.local ## set up, then play a TextCraft task with the embedded model (exit 1: the model did not solve it)
	@$(BIN)/thread run textcraft --task 40 $(ARGS)

install: .venv/.all ## set up every environment

test: .venv/.dev ## set up, then run the tests (ARGS=… goes to pytest)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --max-worker-restart 50 $(ARGS)

test-slow: .venv/.dev ## run the tests that take minutes
	@$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

coverage: .venv/.dev ## say which lines of the engine and the contracts their own tests run: all have to be
	@$(BIN)/python -m pytest tests/test_executor*.py tests/test_limits.py tests/test_record.py tests/test_streams.py tests/test_watchers.py \
		tests/test_children.py tests/test_handles*.py tests/test_contracts.py tests/test_writers.py tests/test_spans.py \
		tests/test_leases.py tests/test_worlds.py tests/test_width.py tests/test_branches.py \
		tests/test_parallel_prompts.py tests/test_independent.py tests/test_schedules*.py \
		tests/test_replayed_*.py --cov --cov-report=term-missing $(ARGS)

lint: .venv/.dev ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: .venv/.dev ## put style and formatting right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: .venv/.dev ## check types
	@$(BIN)/pyright

reference: .venv/.dev ## check the docstrings and make the API reference from them, in build/reference
	@$(BIN)/python tools/reference.py build/reference

wheel: .venv/.dev ## build the wheel, install it alone in an empty environment and run it there
	@rm -rf dist build/wheel && mkdir -p build && $(BIN)/python -m build --wheel --outdir dist . >build/wheel.log 2>&1 || { tail -20 build/wheel.log; exit 1; }
	@$(PYTHON) -m venv build/wheel
	@build/wheel/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt dist/*.whl
	@cd build && wheel/bin/thread --version && wheel/bin/thread prompts && \
		wheel/bin/thread run textcraft --model teacher --task 9 --display none --log "$$(mktemp -d)/run"

perf: .venv/.dev ## print what the engine and the interpreters cost beside the model
	@$(BIN)/python benchmarks/perf/engine.py
	@$(BIN)/python benchmarks/perf/interpreters.py

clean: ## remove what was built and installed here
	rm -rf .venv build dist *.egg-info

# It tells what it installs and compiles, and how far it is; without a change to what is declared it is not called.
.venv/.local .venv/.all .venv/.dev: $(DECLARED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "thread needs Python 3.11 or newer: name one by PYTHON=…"; exit 1; }
	@$(PYTHON) tools/install.py $(@:.venv/.%=%)
