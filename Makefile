# Everything a person runs. `make help` lists it; each target is one line of intent, the work is in the scripts.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
STORY ?=
ARGS ?= get nodes
CLUSTER := e2e/cluster
# With an existing cluster nothing of the local one is built.
EXISTING := $(filter existing,$(HOLDFAST_E2E_CLUSTER))

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## Protect, lose and recover a real ChromaDB on a real cluster, telling the story
	@e2e/demo.sh

.PHONY: test
test: setup check keep-crates test-real e2e ## Every test: what CI runs

# Every call names the whole workspace and has tests among its targets, so that all share one set of features: a package
# named alone has another one, and its dependencies are compiled once more. Files are listed, so a new one is never left out.
programs = $(patsubst $1/%.rs,--test %,$(wildcard $1/*.rs)) $(patsubst $1/%/main.rs,--test %,$(wildcard $1/*/main.rs))
REAL := --test real
QUICK := --lib --bins --test layers --test house $(call programs,engine/tests)

LINTS := clippy --workspace --all-targets -- -D warnings

.PHONY: check
check: crates ## What one runs all day: format, lints, unit tests, layers, generated files
	$(CARGO) fmt --all --check
	$(CARGO) $(LINTS:clippy%=clippy --quiet%)
	$(CARGO) test --quiet --workspace $(QUICK)

# Dependencies that another clone has compiled. Those that were compiled here are kept as soon as all are, before a red test can
# get in the way.
.PHONY: crates keep-crates
crates:
	@$(CLUSTER)/crates.sh restore
keep-crates:
	$(CARGO) test --quiet --workspace --no-run $(REAL)
	@$(CLUSTER)/crates.sh save "$(LINTS)" "test --workspace --no-run $(QUICK) $(REAL)"

.PHONY: deny
deny: ## Licences, bans and sources of all that is linked (wants `cargo install cargo-deny`)
	$(CARGO) deny check bans licenses sources

.PHONY: generate
generate: ## Write what is generated: the CRDs, in crds/yaml and in the chart
	$(CARGO) run --quiet --bin crdgen crds/yaml charts/holdfast/files/crds

# Six at a time: they wait for servers more than they compute.
.PHONY: test-real
test-real: crates ## What crosses crates: real ChromaDB, real S3 server, real API server
	RUST_TEST_THREADS=6 $(CARGO) test --quiet --workspace $(REAL)
	cd $(CLUSTER)/csi && go test ./...

# A night of it: minutes become half an hour, and 15 GB of /tmp.
.PHONY: torture
torture: crates ## Captures under writers, live, offline and by snapshot, as many as CAPTURES says, each held against the truth
	HOLDFAST_CAPTURES=$(or $(CAPTURES),200) $(CARGO) test --quiet --workspace $(REAL) -- --nocapture chroma_capture:: power_loss::

.PHONY: e2e
e2e: ## The stories on a real cluster; one alone: make e2e STORY=recover-corruption
	@e2e/run.sh $(STORY)

.PHONY: golden
golden: ## Write the golden repository of a new format version; one that is there is never written anew
	$(CARGO) test --quiet --workspace --test engine -- --ignored golden::

# The compiler's own coverage on a stable toolchain. No sanitizer: there is no unsafe code to catch.
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: ## Fuzz every parser of stored bytes for FUZZ_SECONDS (wants `cargo install cargo-fuzz`)
	cd engine && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none stored_bytes -- -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -rss_limit_mb=1024

.PHONY: bench-engine
bench-engine: ## Measure the engine side by side with restic on a live ChromaDB's data; writes bench/results
	@bench/engine.sh

.PHONY: bench-scale
bench-scale: ## Measure the controller beside 1,000 policies and 20,000 points on a real API server; writes bench/results
	@bench/scale.sh

.PHONY: bench-continuous
bench-continuous: ## Measure captures in a row beside a ChromaDB under writes; writes bench/results
	@bench/continuous.sh

.PHONY: setup
setup: ## Packages, pinned tools and images into the cache; minutes the first time, seconds afterwards
	@$(CLUSTER)/deps.sh
	@$(CLUSTER)/python.sh
	@$(if $(EXISTING),$(CLUSTER)/tools.sh etcd kube-apiserver kubectl helm,$(CLUSTER)/tools.sh)
	@$(CLUSTER)/tools.sh versitygw promtool
	@$(if $(EXISTING),:,$(CLUSTER)/images.sh)

.PHONY: cluster-up
cluster-up: ## Start the local cluster
	@$(CLUSTER)/up.sh

.PHONY: cluster-down
cluster-down: ## Stop it and leave nothing
	@$(CLUSTER)/down.sh

.PHONY: kubectl
kubectl: ## Talk to the local cluster: make kubectl ARGS="get pods -A"
	@$(CLUSTER)/kubectl.sh $(ARGS)
