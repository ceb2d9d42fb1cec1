# Every target does its own set-up; `make` alone explains them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
LOCK   ?= cpu
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-$(LOCK)
FIGURES ?=
FRESH  ?=
AUDIT  ?= 2
SEED   ?=
GRID   ?= paper_runs/grids/seeds.toml
JOBS   ?= 1

PICTURES := $(basename $(notdir $(wildcard docs/*.png)))

.PHONY: help setup figures verify report pictures sweep test lint lock clean

help: ## this text
	@printf 'usage: make TARGET\n\n'
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | \
	  while IFS=$$'\t' read -r target text; do printf '  %-10s %s\n' "$$target" "$$text"; done
	@printf '\nvariables\n'
	@printf '  %-18s %s\n' \
	  'FIGURES="F08 F11"' 'which figures `make figures` makes; all of them when left out' \
	  'FRESH=1' 'ignore the stored runs and train all that the figures need (many hours)' \
	  'AUDIT=5 SEED=1' 'how many runs `make verify` trains again, and the seed of their choice' \
	  'GRID=file JOBS=2' 'what `make sweep` runs, and how many runs at a time' \
	  'LOCK=cuda' 'set up for an NVIDIA GPU instead of the CPU' \
	  'LOCK=dmrg' 'set up with block2 as well, for `repro reference --method dmrg`' \
	  'LOCK=peers' 'set up with folx and NetKet as well, for `repro bench peers`' \
	  'PYTHON=python3.12' 'the interpreter to set up with, 3.11 or later'

# The stamp depends on the lock and on the build's own description: a second call installs nothing.
$(STAMP): requirements/$(LOCK).lock requirements/install.sh pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or later is needed: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: $(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 2; }
	@echo "set-up: locked packages into $(VENV) (one to three minutes, once)"
	@rm -f $(VENV)/.installed-*
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@requirements/install.sh $(BIN)/python requirements/$(LOCK).lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP) ## virtual environment, locked packages, notebook kernel: 1-3 min once, then nothing

figures: $(STAMP) ## every figure from the stored runs, into output/, and all verdicts: 5-10 min (FRESH=1: trains all anew, hours)
	@$(BIN)/repro figures $(FIGURES) $(if $(FRESH),--fresh)

verify: $(STAMP) ## checksums, numbers against each other, verdicts made again, a sample of runs trained again: minutes
	@$(BIN)/repro verify --audit $(AUDIT) $(if $(SEED),--seed $(SEED))

report: figures ## the figures, then self-contained pages: report/index.html
	@$(BIN)/repro report

pictures: $(STAMP) ## the pictures in docs/ made again: 1 min
	@$(BIN)/repro figures $(PICTURES)
	@cp $(PICTURES:%=output/%.png) docs/

sweep: $(STAMP) ## the runs of GRID that are not stored yet, JOBS at a time, into runs/sweep
	@$(BIN)/repro sweep $(GRID) --jobs $(JOBS)

test: $(STAMP) lint ## lint and the whole test suite: 20 min on two cores
	@$(BIN)/python -m pytest

lint: $(STAMP) ## ruff and mypy: 20 s
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lock: $(STAMP) ## resolve the dependencies anew into requirements/*.lock: 1 min, needs a network
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --group dev --extra mnist pyproject.toml --output-file requirements/cpu.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --group dev --extra mnist --extra cuda pyproject.toml --output-file requirements/cuda.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --group dev --extra mnist --extra dmrg pyproject.toml --output-file requirements/dmrg.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --group dev --extra mnist --extra peers pyproject.toml --output-file requirements/peers.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  requirements/peers-kfac.in --output-file requirements/peers-kfac.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  requirements/peers-search.in --output-file requirements/peers-search.lock

clean: ## remove the environment and everything made; the stored runs stay
	rm -rf $(VENV) output report runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
