# One command each, the same for a person and for CI. The first run creates .venv and installs into it.
VENV := .venv
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help setup demo test check slow chaos ray bench protos clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## create .venv and install gephyra with every extra

$(STAMP): pyproject.toml constraints.txt scripts/setup.sh
	scripts/setup.sh $(VENV)
	@touch $@

demo: $(STAMP)  ## train a sampler on Seeds, print draws and log Z (about two minutes)
	gephyra demo

# A file stays in one process, with its servers. Three processes for two processors: many tests wait for servers.
test: $(STAMP)  ## the default test suite, in three processes
	pytest -n 3 --dist loadfile --no-loadscope-reorder

slow: $(STAMP)  ## tests that take minutes; GEPHYRA_DATA=folder adds those on data that does not ship
	pytest -m slow --timeout 1800

chaos: $(STAMP)  ## kills under load, 250 of them, and other faults; a failure prints the seed that repeats it
	pytest -m chaos -n 2 --dist load

ray: $(STAMP)  ## the contract of executors on a Ray cluster of two nodes, simulated on this machine
	pytest -m ray tests/executor_contract

check: $(STAMP)  ## lint, types, import rules, wire, generated code, docstring examples
	scripts/check.sh

bench: $(STAMP)  ## evidence on Seeds, speed of a training step, size of draw blocks, the wire (some ten minutes)
	python -m benchmarks.quality --targets seeds
	python -m benchmarks.speed
	python benchmarks/blocks.py
	python -m benchmarks.wire

protos: $(STAMP)  ## regenerate the code of protos/*.proto
	scripts/protos.sh

clean:  ## remove what the commands above made, .venv included
	rm -rf $(VENV) build dist gephyra-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
