# Everything is made from here; `make help` lists it. No variable needs to be set.
#   PYTHON=/path/to/python3.12   the Python to set up with
#   SAT_HOME=/some/folder        the data folder
#   ARGS="-k digits"             more arguments for pytest, `sat` or the lock's compiler

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(VENV)/cache
UV ?= $(VENV)/lock/bin/uv

# caches lie in the set-up's own folder: one left by another user in the clone is then no obstacle
export RUFF_CACHE_DIR := $(CURDIR)/$(CACHE)/ruff
export MYPY_CACHE_DIR := $(CURDIR)/$(CACHE)/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/$(CACHE)/hypothesis

# where the home folder cannot be written, data goes into the clone
IN_HOME = if [ -z "$$SAT_HOME$$XDG_DATA_HOME" ] && [ ! -w "$$HOME" ]; then \
	SAT_HOME="$(CURDIR)/.sat"; export SAT_HOME; echo "Your home folder cannot be written: the data goes to $$SAT_HOME"; fi

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-peers test-client test-hostile test-api test-storage test-faults check bench bench-scale lock

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with the pinned dependencies; nothing happens when it is up to date
	@sh requirements/setup.sh "$(PYTHON)"

demo: setup ## Train a small zoo on handwritten digits, measure it, and show what the registry answers
	@$(IN_HOME); exec $(BIN)/sat demo $(ARGS)

serve: setup ## Run the registry on this machine until Ctrl-C: database, queue, api and workers
	@$(IN_HOME); exec $(BIN)/sat serve $(ARGS)

# one thread each: torch processes that share cores slow each other down; two at a time, each with servers of its own
test: setup ## Run all tests, with a real PostgreSQL, a real Valkey and real workers
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
	$(BIN)/pytest -n 2 --dist loadfile -o "cache_dir=$(CURDIR)/$(CACHE)/pytest" $(ARGS)

test-peers: setup ## Hold the attacks against torchattacks, torchattack and foolbox (about a minute); none may be missing
	@sh benchmarks/setup.sh && SAT_TEST_PEERS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
	$(VENV)/bench/bin/python -m pytest -o "cache_dir=$(CURDIR)/$(CACHE)/pytest" tests/engine/test_attacks_against_peers.py $(ARGS)

test-client: setup ## Install the client alone with pip, and use it (half a minute; needs a package index)
	@SAT_TEST_INSTALL=1 $(BIN)/pytest -o "cache_dir=$(CURDIR)/$(CACHE)/pytest" tests/client/test_installed.py $(ARGS)

test-hostile: setup ## Send every hostile input to a live api and worker (about 4 minutes), many at once too, and fuzz the readers
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -W ignore -m tests.hostile.run $(ARGS)

test-api: setup ## Run schemathesis over the whole OpenAPI document of a live server (some minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.openapi.run $(ARGS)

test-storage: setup ## Test the artifact store with workers: two hosts on a bucket, a full store, evicted images
	@SAT_TEST_STORAGE=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest \
	-o "cache_dir=$(CURDIR)/$(CACHE)/pytest" tests/worker/test_two_hosts.py tests/worker/test_evicted_images.py $(ARGS)

test-faults: setup ## Disturb a whole registry 220 times and poison it; figures go to docs/reliability.md
	@export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE; \
	$(BIN)/python -W ignore -m tests.faults.run --write docs/reliability.md $(ARGS) && \
	$(BIN)/python -W ignore -m tests.faults.poison

check: setup ## Check style, types, imports and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir $(CACHE)/imports
	$(BIN)/python -m embedded.check_migrations

# the peers stand beside .venv's torch in an environment of their own, without their outdated dependencies
bench: setup ## Measure speed against other libraries (about 20 minutes; nothing else should run), into docs/benchmarks.md
	@sh benchmarks/setup.sh && OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
	$(VENV)/bench/bin/python -W ignore benchmarks/all.py $(ARGS)

bench-scale: setup ## Measure reads (needs wrk) and the scheduler on 1,300 models (some 20 minutes on a quiet machine)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reads.py && OMP_NUM_THREADS=1 $(BIN)/python benchmarks/scale.py

# all.txt first: the container images then get the same versions
lock: setup ## Compile pyproject.toml into requirements/*.txt
	@[ -x "$(UV)" ] || { "$(BIN)/python" -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install -q uv; }
	@compile() { "$(UV)" pip compile -q pyproject.toml --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header $(ARGS) "$$@"; } && \
	compile --extra embedded --group dev -c requirements/pins.in -o requirements/all.txt && \
	compile --extra api -c requirements/all.txt -o requirements/api.txt && \
	compile --extra worker -c requirements/all.txt -o requirements/worker.txt
