# Fleetcast: `make` lists what can be made.
#
# Everything runs from a fresh clone with the Rust and Node toolchains; `make setup` installs the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# `make test T=admin` runs the tests whose names contain `admin`.
T ?=

# Warnings are errors where nobody reads them. Clippy alone gets the flag: as RUSTFLAGS it would build every
# dependency a second time.
CLIPPY_FLAGS := $(if $(filter true,$(CI)),-- -D warnings)

.PHONY: help
help: ## List what can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: web ## Build, then show 50,000 simulated vehicles on http://127.0.0.1:3000/
	$(CARGO) run --release --locked -- demo

.PHONY: test
test: setup lint test-rust test-web ## Everything that CI runs

.PHONY: test-rust
test-rust: ## Unit and integration tests (real Redis, Kafka, stock clients); T=name for some
	CARGO="$(CARGO)" scripts/test-rust $(T)

.PHONY: test-web
test-web: ## Types, lints and unit tests of the web client
	@if [[ -f web-client/package.json ]]; then \
		scripts/npm-ci web-client; npm --prefix web-client run check; \
	fi

.PHONY: test-e2e
test-e2e: web ## The page in Chromium against the gateway: every state, Kafka, 50,000 assets, accessibility
	$(CARGO) build --locked
	npm --prefix web-client run e2e

# The same in two minutes: what breaks the page as a whole.
.PHONY: test-e2e-core
test-e2e-core: web
	$(CARGO) build --locked
	npm --prefix web-client run e2e -- --grep @core

.PHONY: web
web: ## Build the web client that the binary serves at /
	@if [[ -f web-client/package.json ]]; then \
		scripts/npm-ci web-client; npm --prefix web-client run build; \
	fi

.PHONY: lint
lint: ## Formatting, clippy, and what else is installed: shellcheck, hadolint, cargo-deny
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets $(CLIPPY_FLAGS)
	scripts/lint-files

.PHONY: fmt
fmt: ## Format the Rust code
	$(CARGO) fmt

.PHONY: bless
bless: ## Write anew what is made from the code: the lists in docs/OPERATIONS.md, the types of the client
	FLEETCAST_BLESS=1 $(CARGO) test --locked --lib -- reference types_of_the_client

# `make fuzz TARGET=payload SECONDS_EACH=600` looks longer at one.
SECONDS_EACH ?= 60
.PHONY: fuzz
fuzz: ## Fuzz what reads bytes from outside, a minute each; what is found is in fuzz/artifacts
	CARGO="$(CARGO)" scripts/fuzz $(SECONDS_EACH) $(TARGET)

# `make soak MINUTES=2` for a short look, `PUBLISH=1` to put the report into docs/RELIABILITY.md.
MINUTES ?= 10
.PHONY: soak
soak: setup ## Everything that can fail, all at once, for some minutes; prints a report and draws charts
	FLEETCAST_SOAK_MINUTES=$(MINUTES) $(if $(PUBLISH),FLEETCAST_SOAK_PUBLISH=1) \
		$(CARGO) test --locked --test it -- --ignored --exact --nocapture \
		oracle::soak::the_promise_holds_for_as_long_as_it_is_asked

# `make bench SCENARIO=fanout PEERS=fleetcast,raw` measures a part of it, QUICK=1 takes a short look.
.PHONY: bench
bench: ## Measure; results and how they were taken are in docs/BENCHMARKS.md
	scripts/npm-ci benches/peers/node
	$(CARGO) bench --locked --bench gateway -- $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(PEERS),--peers $(PEERS)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick) $(if $(PUBLISH),--publish)
	$(if $(SCENARIO)$(PEERS)$(QUICK),,$(CARGO) bench --locked --bench ingest --bench region)

.PHONY: bench-web
bench-web: web ## Measure the page with 50,000 assets; rewrites its table in docs/BENCHMARKS.md
	$(CARGO) build --release --locked
	FLEETCAST_PROFILE=release FLEETCAST_BENCH_PUBLISH=1 npm --prefix web-client run bench

.PHONY: screenshots
screenshots: web ## Take the pictures of docs/images anew; look at each
	$(CARGO) build --release --locked
	FLEETCAST_PROFILE=release npm --prefix web-client run screenshots

.PHONY: setup
setup: ## Install what building and testing need and this machine lacks
	scripts/setup
