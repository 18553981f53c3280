# The two commands a newcomer needs: make demo, make test. Each sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
# The interpreter that makes the environment: the newest of 3.11 to 3.14 that runs.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p && break; done)
# Which torch, as pip names it; empty: the CPU build where there is no GPU and the package index offers one.
TORCH ?=
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DATA ?= $(firstword $(wildcard $(MEDNEXT_TEST_DATA)/Task04_Hippocampus ../shared/data/Task04_Hippocampus))

.PHONY: help install demo test test-fast docs-test mutants lint format check docs pictures hippocampus peers wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml constraints.txt $(wildcard mednext_cli/networks/mednext/native/*.[ch])
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.14 found. Install one, or give make PYTHON=/path/to/python." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	TORCH='$(TORCH)' $(BIN)/python setup/install.py
	touch $@

install: $(INSTALLED) ## Set up .venv with pinned versions, torch first

demo: $(INSTALLED) ## The whole chain on the embedded phantom, into demo/ (under 5 minutes on 2 cores)
	rm -rf demo
	$(BIN)/mednext phantom demo/raw --cases 8 --seed 0
	$(BIN)/mednext preprocess demo/raw --dataset kits19 --cache demo/cache --spacing 3.0
	$(BIN)/mednext train kits19 --cache demo/cache --recipe demo --kernel 3 --runs demo/runs
	$(BIN)/mednext upkern --from demo/runs/kits19/S-k3-w8/fold0/checkpoint_last.pt --to k5 --out demo/k5.pt
	$(BIN)/mednext train kits19 --cache demo/cache --recipe demo --kernel 5 --init demo/k5.pt --runs demo/runs \
		--set training.epochs=6 --set training.learning_rate=2e-3
	$(BIN)/mednext phantom demo/test --cases 3 --seed 1
	$(BIN)/mednext predict demo/test --dataset kits19 --model demo/runs/kits19/S-k3-w8/fold0 --out demo/predictions/k3
	$(BIN)/mednext predict demo/test --dataset kits19 --model demo/runs/kits19/S-k5-w8/fold0 --out demo/predictions/k5
	$(BIN)/mednext evaluate demo/predictions/k3 demo/test --dataset kits19 --out demo/scores/k3
	$(BIN)/mednext evaluate demo/predictions/k5 demo/test --dataset kits19 --out demo/scores/k5
	$(BIN)/mednext scale-report --out demo/scale_report
	$(BIN)/mednext leaderboard k3=demo/scores/k3/cases.csv k5=demo/scores/k5/cases.csv --out demo/leaderboard
	@echo "demo/ holds label maps (predictions/), CSVs (scores/, leaderboard/), plots (scale_report/, runs/). Mean Dice:"
	@for kernel in k3 k5; do echo -n "$$kernel: "; $(BIN)/python -c \
		"import csv, sys; print(', '.join(f\"{row['region']} {float(row['mean']):.3f}\" for row in csv.DictReader(open(sys.argv[1])) if row['metric'] == 'dice'))" \
		demo/scores/$$kernel/summary.csv; done

# One thread a process: threads of several processes that wait for each other take ten times as long.
# Compiled files are kept: hundreds of tests start processes of their own, which would compile again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto \
	--max-worker-restart 1 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED) ## All tests
	$(PYTEST)

test-fast: $(INSTALLED) ## The tests that take no more than seconds
	$(PYTEST) -m "not slow"

docs-test: $(INSTALLED) ## The command lines of README.md and docs/, run on made-up scans
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/docs

mutants: $(INSTALLED) ## How many deliberate defects the fast tests notice (30 minutes on 2 cores)
	$(BIN)/python -m tests.mutation.run

lint: $(INSTALLED) ## Format, style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test ## What CI runs

docs: $(INSTALLED) ## Write the generated pages of docs/ anew
	$(BIN)/python docs/generate.py

pictures: $(INSTALLED) ## The README's pictures, of what make demo made
	$(BIN)/python docs/pictures.py

hippocampus: $(INSTALLED) ## The main job on MSD Task04: make hippocampus DATA=.../Task04_Hippocampus
	@test -n "$(DATA)" || { echo "error: where is the data? make hippocampus DATA=/path/to/Task04_Hippocampus" >&2; exit 2; }
	$(BIN)/python benchmarks/hippocampus.py "$(DATA)" --out hippocampus

peers: .venv-peers/.installed ## The published peers that benchmarks compare with, in .venv-peers

.venv-peers/.installed: benchmarks/peers.txt benchmarks/peers_alone.txt constraints.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-peers/bin/python -m pip install --quiet --constraint constraints.txt --requirement benchmarks/peers.txt
	.venv-peers/bin/python -m pip install --quiet --no-deps --requirement benchmarks/peers_alone.txt
	touch $@

wheel: $(INSTALLED) ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## Remove what the targets made, but not the environments
	rm -rf demo hippocampus dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
