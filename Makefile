# The tasks of a checkout: `make help` lists them. Nothing is installed outside .venv and the user's cache folder.
# They need make and Python 3.11 or newer, not Java or Maven. With uv on PATH, setup takes 10 s instead of a minute.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
STAMP := .venv/.installed
# Bytecode is always kept: compiling all imports again would take longer than most tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup jars kernels types bytecode java check unit test proofs simulate mutate chaos soak demo bench bench-quick results-learning results-pacing schemas reference docs screens lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 14

setup: jars kernels ## install packages into .venv, and Kafka's jars into the user's cache folder; compile kernels

jars: $(STAMP)
	@$(BIN)/python -m streams.embedded.jars

kernels: $(STAMP)
	@$(BIN)/python -m streams.kernels

types: $(STAMP)
	@$(BIN)/mypy

# Of use only for who starts many brokers: 12 s of CPU once, and 2 s less for each.
java: jars
	@$(BIN)/python -m streams.embedded.prepared_classes

# Once, and not by all workers at the same time: in a fresh clone it takes 24 s of CPU, afterwards 8 s. What a module that
# cannot be imported lacks, the tests say.
bytecode: $(STAMP)
	@$(BIN)/pytest --collect-only > /dev/null || true

# The stamp is written last, so that an interrupted installation is repeated, and a complete one is not.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "clickfold needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
		"Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing the pinned packages into .venv."
ifneq ($(UV),)
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" .venv
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@

# TRIES is the share of seeds that tests by many seeds try, see tests/effort.py. Tests in tests/integration start servers.
UNIT := TRIES=0.1 $(BIN)/pytest --ignore tests/integration

check: $(STAMP) ## format, lint, types, unit tests: run it before each commit, takes a minute
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy
	@$(UNIT) -n auto --maxprocesses 8 --dist loadfile

unit: $(STAMP) ## unit tests alone, or some: make unit T="tests/test_join.py -k late"
	@$(UNIT) $(or $(T),-n auto --maxprocesses 8 --dist loadfile)

# What comes before the tests runs on one core each, so two of it at once. Four workers take the files in turn, slow ones
# first: on two cores, as half of the time tests wait. Each worker has its own Kafka and ClickHouse. With three of them a
# fifth of the processors' time was not used.
test: $(STAMP) ## everything that CI runs: format, lint, types, all tests
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(MAKE) --jobs 2 kernels java types bytecode
	@TRIES=0.4 $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

proofs: setup ## the unit tests with all of their seeds and examples: half an hour
	@TRIES=1 $(BIN)/pytest --ignore tests/integration -n auto --maxprocesses 8 --dist loadfile

simulate: setup ## crashes of join workers in memory: SEEDS=n [FROM=k], or SEED=k for one seed and its last events
	@$(BIN)/python -m tests.simulation.simulate $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000) --from $(or $(FROM),0))

mutate: setup ## changes that no unit test notices, by a sample: SAMPLE=n SEED=k ONLY=path JOBS=n, ALL=1 for every one
	@$(BIN)/python -m tests.mutants --sample $(or $(SAMPLE),300) --seed $(or $(SEED),1) --jobs $(or $(JOBS),1) $(if $(ONLY),--only $(ONLY)) $(if $(ALL),--all)

chaos: setup ## three minutes of kills, freezes and restarts under load, then `clickfold verify`
	@$(BIN)/python -m tests.chaos --minutes 3

soak: setup ## an hour at a small rate: what grows after the warm-up; MINUTES=n for another time
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60)

demo: setup ## real events through every part, on this machine
	@$(BIN)/clickfold demo

bench: setup ## events a second of the join and of its peers, in turns: peers.json, peers.svg; takes an hour
	@$(BIN)/python -m tests.peers $(if $(ONLY),--only "$(ONLY)") $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(IMPRESSIONS),--impressions $(IMPRESSIONS))

results-learning: setup ## click models beside Vowpal Wabbit: DATA=folder of *.outcomes.jsonl.gz, JSON=1; ten minutes
	@$(BIN)/python -m tests.learning $(DATA) $(if $(JSON),--json)

results-pacing: setup ## the pacing law in all scenarios of a made-up market, against its targets: SEEDS=n ONLY=names POLICY=name JOBS=n
	@$(BIN)/python -m tests.pacing --seeds $(or $(SEEDS),10) $(if $(ONLY),--only $(ONLY)) $(if $(POLICY),--policy $(POLICY)) $(if $(JOBS),--jobs $(JOBS)) $(if $(JSON),--json $(JSON))

bench-quick: setup ## the join and a consumer that only reads, in a minute: after changing the path of a record
	@$(BIN)/clickfold bench join --impressions 500000 --rounds 3

schemas: setup ## schemas/json from the types, after changing one
	@$(BIN)/python -m schemas.generate

reference: setup ## docs/reference from the code, after changing an option, field, column, query, metric or error
	@$(BIN)/python -m streams.cli.reference

docs: setup ## the documents as a site, in build/docs; a broken link or diagram is an error
	@$(BIN)/sphinx-build -W --keep-going -n -q -b html -d build/doctrees docs build/docs
	@echo "Open build/docs/index.html."

screens: setup ## screens of the documents, from real commands: all of docs/screens.toml, or S=name
	@$(BIN)/python -m docs.capture $(S)

# `requirements.lock` is all that tests, documents and the embedded servers need; `requirements-run.lock` is what workers
# and commands need in production, with the versions of the first.
LOCK = $(or $(UV),$(error make lock needs uv on PATH)) pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml

lock: ## the newest versions pyproject.toml allows, for tests and for production (needs uv)
	@$(LOCK) --upgrade --all-extras --output-file requirements.lock
	@$(LOCK) --extra s3 --extra registry --extra build --constraint requirements.lock --output-file requirements-run.lock

clean: ## removes .venv, caches and local state
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .clickfold build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
