# Everything a change needs. `make check` is what CI runs. P=<crate> narrows fmt, lint, test, doc and bench.

P ?=
SELECT := $(if $(P),-p $(P),--workspace)
CARGO ?= cargo

.PHONY: check fmt lint test slt slt-update doc docs examples bench bench-compare venv deny install

# The tests come last, so that their closing lines are the last thing to read.
check: fmt-check lint doc examples test

fmt:
	$(CARGO) fmt $(if $(P),-p $(P),--all)

.PHONY: fmt-check
fmt-check:
	$(CARGO) fmt --all -- --check

lint:
	$(CARGO) clippy $(SELECT) --all-targets -- -D warnings

# The checks against NumPy need Python 3; without it they say that they were skipped (in CI they may not be).
venv: .venv/stamp

.venv/stamp: tests/requirements.txt
	@if command -v python3 >/dev/null 2>&1; then \
	  python3 -m venv .venv && .venv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: -r tests/requirements.txt && touch $@; \
	else echo "SKIPPED: no python3, so the checks against NumPy do not run"; fi

# The binaries that tests and examples run as processes of their own.
.PHONY: bins
bins:
	$(CARGO) build --workspace --bins

test: venv bins
	$(CARGO) test $(SELECT)

slt:
	$(CARGO) test -p hyperslab-tests -p hyperslab-cli --test slt -- $(T)

slt-update:
	HYPERSLAB_SLT_UPDATE=1 $(CARGO) test -p hyperslab-tests -p hyperslab-cli --test slt -- $(T)

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(SELECT) --no-deps

# Writes docs/functions.md from the list of functions.
docs:
	UPDATE_DOCS=1 $(CARGO) test -p hyperslab-datafusion -p hyperslab-cli --bins functions_page

examples: bins
	sh examples/run.sh

# Always with the shell, whose features are more: DataFusion is compiled once for benches and shell.
BENCHES := -p hyperslab-benches -p hyperslab-cli

bench:
	$(CARGO) bench $(BENCHES)

# The peers beside us, into docs/benchmarks.md. They are installed into benches/compare/.venv. Conversions of 4 GiB files need
# about 40 GB of disk (BENCH_DIR says where). ARGS=--quick tries all of it
# on little data and writes nothing; ARGS='--only conversions' measures one section of the page again.
bench-compare: benches/compare/.venv/stamp
	$(CARGO) build --release -p hyperslab-compare
	$(CARGO) build --profile bench $(BENCHES) --bin hyperslab --bench vectors
	target=$$($(CARGO) metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release; \
	  benches/compare/.venv/bin/python benches/compare/compare.py $$target/hyperslab-compare $$target/hyperslab $(ARGS)

benches/compare/.venv/stamp: benches/compare/requirements.txt benches/compare/setup.sh
	sh benches/compare/setup.sh

deny:
	@if command -v cargo-deny >/dev/null 2>&1; then cargo deny check; else echo "SKIPPED: cargo-deny is not installed"; fi

install:
	$(CARGO) install --locked --path crates/cli
