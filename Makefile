# ofswitch: what to type. `make help` lists it.
#
# The two commands to know: `make demo` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
VENV := $(or $(OFSWITCH_VENV),$(CURDIR)/.venv)
PYTHON := $(VENV)/bin/python
export OFSWITCH_VENV := $(VENV)

# FEATURES= (empty) builds without DPDK: pure Rust, no C library.
FEATURES ?= dpdk
CARGO_FEATURES := $(if $(FEATURES),--features "$(foreach f,$(FEATURES),tools/$(f))")
# Without DPDK its bindings crate is left out, too.
WORKSPACE := --workspace $(if $(FEATURES),,--exclude dpdk-sys)
# Seconds per fuzz target.
FUZZ_SECONDS ?= 600
SMOKE_SECONDS ?= 30

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install the Debian packages that are missing, and say which
	@scripts/deps

.PHONY: venv
venv:
	@scripts/venv

.PHONY: check-build-deps
check-build-deps:
	@command -v cargo >/dev/null || { echo "cargo is missing: get Rust from https://rustup.rs"; exit 1; }
ifneq ($(filter dpdk,$(FEATURES)),)
	@pkg-config --exists libdpdk 2>/dev/null || { echo "DPDK's headers are missing: 'make deps' installs them (libdpdk-dev, clang, libclang-dev, pkg-config), or build without: make FEATURES="; exit 1; }
endif

.PHONY: build
build: check-build-deps ## build ofswitchd and ofctl, optimised, with DPDK, into target/release
	cargo build --release -p tools $(CARGO_FEATURES)
	@ls -l "$(TARGET_DIR)"/release/ofswitchd "$(TARGET_DIR)"/release/ofctl

.PHONY: demo
demo: build venv ## three hosts, our switch, os-ken's learning switch: watch them talk (KEEP=1 leaves it up)
	@BIN_DIR="$(TARGET_DIR)/release" KEEP="$(KEEP)" scripts/demo

.PHONY: demo-down
demo-down: ## end a demo that KEEP=1 left up
	@scripts/demo --down

.PHONY: test
test: unit e2e conformance-quarter fuzz-smoke ## all tests: unit, property, text cases, end to end, a quarter of the conformance suite, fuzz smoke

.PHONY: unit
unit: check-build-deps ## unit, property and text-case tests; no root needed
	cargo test $(WORKSPACE) --exclude tests $(CARGO_FEATURES)

.PHONY: e2e-binaries
e2e-binaries: check-build-deps
	cargo build -p tools $(CARGO_FEATURES)

.PHONY: e2e
e2e: e2e-binaries venv ## the real binaries in network namespaces, with os-ken and ovs-ofctl (root)
	@scripts/deps --check
	@[ "$$(id -u)" = 0 ] || { echo "network namespaces need root: sudo make e2e"; exit 1; }
	cargo test -p tests

.PHONY: lint
lint: check-build-deps ## formatting, clippy with warnings as errors, documentation
	cargo fmt --all --check
	cargo clippy $(WORKSPACE) --all-targets $(CARGO_FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc -q $(WORKSPACE) --no-deps $(CARGO_FEATURES)
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo "cargo-deny is not installed: licences and advisories not checked"; fi

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZ_SECONDS (600)
	@scripts/fuzz $(FUZZ_SECONDS)

.PHONY: fuzz-smoke
fuzz-smoke: ## fuzz every target for SMOKE_SECONDS (30)
	@scripts/fuzz $(SMOKE_SECONDS)

.PHONY: conformance
conformance: build venv ## the Ryu switch test suite, all 991 cases, against our switch (root)
	@scripts/deps --check
	$(PYTHON) tests/conformance/run.py --target ofswitch --bin-dir "$(TARGET_DIR)/release" -v $(ARGS)

.PHONY: conformance-ovs
conformance-ovs: venv ## the same against Open vSwitch, for comparison
	@scripts/deps --check
	$(PYTHON) tests/conformance/run.py --target ovs -v $(ARGS)

.PHONY: conformance-quarter
conformance-quarter: e2e-binaries venv
	@scripts/deps --check
	$(PYTHON) tests/conformance/run.py --target ofswitch --quarter --again 2 --duration 12 --bin-dir "$(TARGET_DIR)/debug" -v $(ARGS)

.PHONY: bench
bench: build ## the packet path beside OVS-DPDK and testpmd, cell by cell (scripts/bench; QUICK=1 for two minutes; root)
	@scripts/deps --bench
	@BIN_DIR="$(TARGET_DIR)/release" scripts/bench $(ARGS)

.PHONY: bench-load
bench-load: build ## flow-mods per second and bytes per flow, beside Open vSwitch
	@scripts/deps --bench
	@BIN_DIR="$(TARGET_DIR)/release" scripts/load-flowmods $(ARGS)

.PHONY: bench-ports
bench-ports: build ## iperf3 and ping between two namespaces, beside Open vSwitch
	@scripts/deps --check
	@BIN_DIR="$(TARGET_DIR)/release" scripts/compare-iperf $(ARGS)

.PHONY: instructions
instructions: ## instructions per operation of the packet path by callgrind, against stored figures (ARGS=--bless stores new ones)
	@scripts/instructions $(ARGS)

.PHONY: bless
bless: ## rewrite the expected output of the text cases; review the diff
	BLESS=1 cargo test --workspace --exclude dpdk-sys --exclude tests
	git --no-pager diff --stat
