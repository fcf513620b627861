# make          everything: environments, then the adapter, its check on a server, the report
# make test     every test; make test-fast: the quick ones, under 3 minutes
# make serve    a server that stays up, with the built adapters
# make lock     write containers/*/requirements.lock anew from requirements.in
# make pin      fetch what data.lock.yaml has no sha256 for, once, and write it there

SHELL := /bin/bash
CORES ?= all
VENV := .venvs/workflow
RUN := $(VENV)/bin

.DEFAULT_GOAL := build
.PHONY: build environment test test-fast check serve lock pin bench clean

build: environment
	@$(RUN)/snakemake --cores $(CORES) $(SNAKEMAKE)
	@$(RUN)/python scripts/summary.py --results results

environment:
	@python="$$(scripts/find_python.sh)" && "$$python" scripts/install_environment.py workflow

test: environment
	@$(RUN)/snakemake --cores $(CORES) environments
	@$(RUN)/python -m pytest $(PYTEST)

test-fast: environment
	@$(RUN)/snakemake --cores $(CORES) environments
	@$(RUN)/python -m pytest -m "not slow" $(PYTEST)

check: environment
	@$(RUN)/ruff format --check . && $(RUN)/ruff check . && $(RUN)/snakefmt --check Snakefile rules
	@$(RUN)/shellcheck scripts/*.sh .ci/run && $(RUN)/snakemake --lint

serve: environment
	@$(RUN)/snakemake --cores 1 .venvs/serve.ready
	@.venvs/serve/bin/python scripts/serve.py --results results

lock: environment
	@scripts/lock_environments.sh

pin: environment
	@$(RUN)/python scripts/pin_sources.py --lock data.lock.yaml

bench: environment
	@$(RUN)/python bench/full_job.py

clean:
	rm -rf results logs benchmarks .snakemake
