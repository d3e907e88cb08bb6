# Every target works in a fresh clone: the first one that needs .venv makes it.
PYTHON ?= python3
VENV ?= .venv
QUICK ?= 1

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCHMARKS := $(basename $(notdir $(shell grep -l '^if __name__ == "__main__"' benchmarks/*.py)))
BENCH_FLAGS := $(if $(filter 0,$(QUICK)),,--quick)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install demo test check bench $(BENCHMARKS:%=bench-%) plugin clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '  make bench-NAME one benchmark: %s\n' '$(BENCHMARKS)'
	@printf '\nVariables: PYTHON=%s (3.10 or newer), VENV=%s, QUICK=%s (0: full benchmarks)\n' \
		'$(PYTHON)' '$(VENV)' '$(QUICK)'

install: $(STAMP)  ## make .venv with everything in it (the other targets do this by themselves)

$(STAMP): pyproject.toml constraints.txt docker/install.sh $(wildcard edge_s4op/ort_plugin/*.h edge_s4op/ort_plugin/*.cpp)
	PYTHON='$(PYTHON)' docker/install.sh '$(VENV)' host,agent,dev --editable
	@touch $@

demo: $(STAMP)  ## train, prune on measured latency, export, serve and query; writes demo-output/
	$(BIN)/s4op demo --out demo-output --overwrite

test: $(STAMP)  ## run all tests, on every core
	$(BIN)/python -m pytest --numprocesses auto

check: $(STAMP)  ## run ruff, mypy --strict and hadolint
	$(BIN)/ruff check .
	$(BIN)/mypy --strict -p edge_s4op -p device_agent
	$(BIN)/hadolint docker/*.Dockerfile

bench: $(BENCHMARKS:%=bench-%)  ## run every benchmark (QUICK=0 for the full ones)

$(BENCHMARKS:%=bench-%): bench-%: $(STAMP)
	$(BIN)/python -m benchmarks.$* $(BENCH_FLAGS)

plugin:  ## build the TensorRT plugin into build/trt_plugins (TENSORRT_ROOT=, CUDA_ARCHITECTURES=)
	cmake -S trt_plugins -B build/trt_plugins \
		-DTENSORRT_ROOT='$(TENSORRT_ROOT)' -DCUDA_ARCHITECTURES='$(CUDA_ARCHITECTURES)'
	cmake --build build/trt_plugins --parallel 2

clean:  ## remove caches and demo-output/, keep .venv and runs/
	rm -rf demo-output build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
