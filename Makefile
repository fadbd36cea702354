# Each target is complete: it makes what it needs. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Tests wait more than they work: for servers, and for other programs.
WORKERS = $(shell expr 2 + $$(getconf _NPROCESSORS_ONLN))
# Tests start hundreds of programs; without bytecode, each compiles every module that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo hello soak scale test lint format types bench server vectors fuzz clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(READY) ## A hospital: a server that cannot read, four receivers that each read their part
	@$(BIN)/python -m examples.hospital.demo

hello: $(READY) ## Hello Secure World: a server, two receivers, one message that one of them can read
	@$(BIN)/python examples/hello.py

soak: $(READY) ## Kill, freeze and flood for minutes, and balance the books; S="--scenario kills --seed 1"
	$(BIN)/python -m tests.soak $(S)

scale: $(READY) ## Replay and opening at scale, some ten minutes; S="--check flood --check rate"
	$(BIN)/python -m tests.scale $(S)

test: $(READY) ## Run the tests; T=tests/test_keys.py for some of them
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(T)

lint: $(READY) ## Check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(READY) ## Put code in style
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: $(READY) ## Check types, strictly
	$(BIN)/mypy

bench: $(READY) ## Measure against peers; B="xkv1 --json out.json" for a part, B="against REF" for a commit
	$(BIN)/pip install -q -e '.[bench]' && $(BIN)/python -m benchmarks $(B)

server: $(READY) ## Run a nats-server on loopback with nats-server.conf
	@mkdir -m 700 -p .nats && $(BIN)/nats-server -c nats-server.conf

vectors: $(READY) ## Make the test vectors again, and seal all accumulated ones; what differs changes the format
	$(BIN)/python -m tests.vectors.generate && git diff --exit-code vectors
	XKEYMSG_ACCUMULATED=10000 $(BIN)/python -m pytest -n $(WORKERS) tests/envelope/test_accumulated.py tests/reference/test_reference.py -k accumulated

fuzz: $(READY) ## Mutate a million claims of trust; F="--count 1000 --seed 2"
	$(BIN)/python -m tests.trust.fuzz $(F)

clean: ## Remove the virtual environment and what tools left
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "xkeymsg needs Python 3.11 or newer with venv (Debian: apt install python3-venv); '$(PYTHON)' is $$( ($(PYTHON) --version) 2>/dev/null | head -n 1 | grep . || echo missing)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv && $(BIN)/pip install -q --disable-pip-version-check -e '.[dev]' && touch $@
