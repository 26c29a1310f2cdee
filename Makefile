# The one list of commands. Each does its own set-up from a fresh clone: a virtual environment in .venv, the
# extension in release mode, the extras it needs. It takes Python, Rust and make.
#
#   make demo DATA=folder          MNIST or Fashion-MNIST files instead of scikit-learn's digits
#   make bench PEERS=all           also PyTorch, JAX, ONNX Runtime, in an environment of their own (.venv-bench)
#   make bench ARGS="--quick"      further arguments of python -m benchmarks
#   make ... PYTHON=python3.12     another Python for the environment

PYTHON ?= python3
DATA ?=
PEERS ?=
ARGS ?=

SHELL := /bin/sh
# rustup puts cargo here, but not always on the path of a shell that is already open.
export PATH := $(PATH):$(HOME)/.cargo/bin

VENV := .venv
BENCH_VENV := .venv-bench
BIN := $(VENV)/bin
# Files without content that remember what was done.
DONE := $(VENV)/.done
BENCH_DONE := $(BENCH_VENV)/.done
RUST := Cargo.toml Cargo.lock pyproject.toml $(shell find rust -name '*.rs' -o -name Cargo.toml)

# Builds the extension where its sources have changed, and installs it in the environment $(1). An active conda
# environment would make maturin ask which one is meant.
install = env -u CONDA_PREFIX PIP_QUIET=1 VIRTUAL_ENV="$(CURDIR)/$(1)" $(BIN)/maturin develop --release
# The binding is tested from Python; its crate has no tests, and would only be built once more.
RUST_TESTED := --workspace --exclude dnn-binding

# Cargo uses all processors by itself, and its jobs would wait for each other's locks.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test check bench build wheel docs clean need rust-test python-test

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1 \2/p' Makefile | awk '{ printf "  %s %-7s", $$1, $$2; $$1 = $$2 = ""; print }'

demo: $(DONE)/demo  ## train on handwritten digits and show what came out; DATA=folder takes MNIST files
	$(BIN)/python examples/demo.py $(if $(DATA),--data "$(DATA)")

test: rust-test python-test  ## run all tests, of Rust and of Python

check: $(DONE)/dev  ## all that must be green: formats, lints, types, stubs, tests
	cargo fmt --all --check
	PYO3_PYTHON="$(CURDIR)/$(BIN)/python" cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest dnn._core
	$(MAKE) --no-print-directory test

bench: $(if $(findstring all,$(PEERS))$(findstring torch,$(PEERS))$(findstring jax,$(PEERS))$(findstring onnx,$(PEERS)),$(BENCH_DONE)/peers,$(DONE)/demo)  ## time dnn beside NumPy and scikit-learn; PEERS=all adds PyTorch, JAX, ONNX Runtime
	mkdir -p build
	$(dir $(<D))bin/python -m benchmarks $(if $(PEERS),--peers $(PEERS)) --json build/bench.json --plot build/bench.png $(ARGS)

build: $(DONE)/build  ## build the extension and install dnn in .venv

wheel: $(DONE)/venv  ## build the wheel, in dist, and check that it has at most 2 MB
	$(BIN)/maturin build --release --compression-level 9 --out dist
	scripts/size.sh dist 2000000

docs: $(DONE)/test  ## run the examples in the documentation of both languages
	cargo test --doc $(RUST_TESTED)
	$(BIN)/python -m pytest --doctest-modules python/dnn tests/test_readme.py tests/test_examples.py

clean:  ## remove all that was built, environments included
	rm -rf target build dist $(VENV) $(BENCH_VENV) python/dnn/_core*.so python/dnn/_core*.pyd
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

need:
	@scripts/need.sh $(PYTHON)

rust-test: $(DONE)/test
	@if command -v cargo-nextest >/dev/null; then \
	    echo cargo nextest run $(RUST_TESTED); cargo nextest run $(RUST_TESTED) && cargo test --doc $(RUST_TESTED); \
	else \
	    echo cargo test $(RUST_TESTED); cargo test $(RUST_TESTED); \
	fi

python-test: $(DONE)/test
	$(BIN)/python -m pytest --doctest-modules python/dnn tests

$(DONE)/venv: | need
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "maturin>=1.9,<2"
	mkdir -p $(DONE)
	touch $@

$(DONE)/build: $(DONE)/venv $(RUST) | need
	@echo 'building the extension: some minutes at the first time'
	$(call install,$(VENV))
	touch $@

$(DONE)/demo: $(DONE)/build
	$(call install,$(VENV)) --quiet --extras demo
	touch $@

$(DONE)/test: $(DONE)/build
	$(call install,$(VENV)) --quiet --extras test
	touch $@

$(DONE)/dev: $(DONE)/test
	$(call install,$(VENV)) --quiet --extras dev
	touch $@

$(BENCH_DONE)/venv: | need
	$(PYTHON) -m venv $(BENCH_VENV)
	mkdir -p $(BENCH_DONE)
	touch $@

$(BENCH_DONE)/peers: $(BENCH_DONE)/venv $(DONE)/build benchmarks/requirements-peers.txt
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-peers.txt
	$(call install,$(BENCH_VENV)) --quiet
	touch $@
