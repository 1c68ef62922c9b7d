# One word each: `make setup`, `make test`, `make demo`. Nothing is installed outside .venv and the user's cache folder.
# Needs a Python >= 3.11 and make; uv is used when it is there (10 s instead of a minute), Java and Maven never.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
STAMP := .venv/.installed
# Bytecode is kept whatever the environment says: to compile again what a run imports takes longer than most tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup check unit test simulate chaos demo bench schemas reference docs screens lock clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) ## everything needed, into .venv and the user's cache folder
	@$(BIN)/python -m streams.embedded.jars

# The stamp is written last: an install cut short is done again, one that is done is not.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "clickfold needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
		"Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing the pinned packages into .venv."
ifneq ($(UV),)
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" .venv
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@

# SHORT: proofs by many seeds try a twentieth of them, see tests/effort.py. What is below tests/integration starts servers.
UNIT := SHORT=1 $(BIN)/pytest --ignore tests/integration

check: $(STAMP) ## format, lint, types, unit tests: before each commit, within a minute
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(UNIT) -n auto --maxprocesses 8 --dist loadfile

unit: $(STAMP) ## unit tests alone, or some: make unit T="tests/test_join.py -k late"
	@$(UNIT) $(or $(T),-n auto --maxprocesses 8 --dist loadfile)

# Files by turns on two workers, each with a Kafka and a ClickHouse of its own; the long ones come first.
test: setup ## all that CI runs: format, lint, types, every test; about twelve minutes
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

simulate: setup ## crash join workers everywhere: SEEDS=n [FROM=k], or SEED=k for one history and its last events
	@$(BIN)/python -m tests.simulation.simulate $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000) --from $(or $(FROM),0))

chaos: setup ## three minutes of kills, freezes and restarts under load, then the truth is asked for
	@$(BIN)/python -m tests.chaos --minutes 3

demo: setup ## real events through every part, on this machine
	@$(BIN)/clickfold demo

bench: setup ## events per second of the join, with the broker beside it
	@$(BIN)/clickfold bench join

schemas: setup ## schemas/json from the types, after changing one
	@$(BIN)/python -m schemas.generate

reference: setup ## docs/reference from the code, after changing an option, field, column, query, metric or error
	@$(BIN)/python -m streams.cli.reference

docs: setup ## the documents as a site, in build/docs; a broken link or diagram is an error
	@$(BIN)/sphinx-build -W --keep-going -n -q -b html -d build/doctrees docs build/docs
	@echo "Open build/docs/index.html."

screens: setup ## what commands show, for the documents: all of docs/screens.toml, or S=name
	@$(BIN)/python -m docs.capture $(S)

lock: ## the newest versions pyproject.toml allows (needs uv)
	@$(or $(UV),$(error make lock needs uv on PATH)) pip compile --quiet --upgrade --universal --python-version 3.11 \
		--all-extras --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--output-file requirements.lock pyproject.toml

clean: ## removes .venv, caches and local state
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .clickfold build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
