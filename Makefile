# make          everything: environments, then the adapter, its check on a server, the report
# make test     what any laptop can test; make test-fast: the quick tests, under 3 minutes; make test-services: those
#               that start a Docker Engine, a registry, a Slurm or an S3 server, as root
# make PARANOID=1   the same, every file read and hashed anew, without the digest cache
# make serve    a server that stays up, with the built adapters, and those staged later
#               CONFIG=configs/llama-3.1-8b-nim.yaml, for this and for make: an overlay of config.yaml, or several:
#               CONFIG="configs/llama-3.1-8b-nim.yaml 'my own.yaml'"
# make ask Q='May my landlord keep my deposit?' | Q=@question.txt   its title, by base and adapter, from that server
# make watch    beside make serve: check it again and again, and keep logs/deployment.json, a readiness file for others
# make doctor   checks of everything that a build and its server need: driver, memory, disk, keys, images, base, port
# make audit ASK=verify | 'show FILE' | 'records ADAPTER' | 'why RECORD' | 'diff RESULTS RESULTS' | …   the origin
#               of a build's files, and proof that they are unchanged
# make why STEP=tune_adapter/law-titlegen   what changed since a step last ran; runs nothing
# make gc       files of the store that no target needs, and leftovers of killed steps; YES=1 deletes them
# make docs     write the pages of docs/ that are taken from the tree anew: packages, configuration, action keys
# make lock     write containers/*/requirements.lock anew from requirements.in
# make images   build the environments' images for this machine's Docker Engine, or REGISTRY=host:port/prefix;
#               ENVIRONMENT=tune.cuda, which no build without GPUs needs, is built when asked for
# make pin      write the digests of image tags, and the sha256 of downloads that data.lock.yaml has not pinned yet;
#               CHECK=1 only lists tags that have moved; DATA=1 asks no image registry, which may need a key

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
CORES ?= all
# Variables as they were typed: make would expand `$500` and run `$(shell …)` where it uses or exports them.
TYPED := ASK CHECK CONFIG CORES DATA ENVIRONMENT INTERVAL PARANOID PORT POSTS PYTEST Q REGISTRY SNAKEMAKE STEP YES
TYPED += $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
$(foreach name,$(sort $(TYPED)),$(eval override $(name) := $$(value $(name))))
export Q
# Quoted for the shell: a variable as one word, or as the words that it holds.
one = '$(subst ','\'',$(1))'
several = $(shell adapter_build/cli/shell_words.sh $(call one,$($(1))))$(if $(filter 0,$(.SHELLSTATUS)),,$(error $(1): a quote is open in $($(1))))
export STEP_PARANOID := $(PARANOID)
# Snakemake needs a home with a cache; a container's numeric uid has none, or one that it cannot write.
export HOME := $(or $(HOME),$(shell getent passwd "$$(id -u)" | cut -d: -f6),$(CURDIR)/.snakemake/home)
export XDG_CACHE_HOME := $(or $(XDG_CACHE_HOME),$(shell [ -w "$$HOME" ] || echo $(call one,$(CURDIR)/.snakemake/cache)))
ifeq ($(XDG_CACHE_HOME),)
unexport XDG_CACHE_HOME
endif
VENV := .venvs/workflow
RUN := $(VENV)/bin
OVERLAYS := $(if $(CONFIG),$(call several,CONFIG))
# The step runner prints the error; Snakemake's own account goes to its log. The settings are those of profiles/default,
# repeated because Snakemake announces a profile that it reads. Where Snakemake cannot write, it ends without a message,
# before it reads our Snakefile.
WRITABLE = $(if $(wildcard $(VENV)/bin/python),$(VENV)/bin/python -m adapter_build.cli.check_writable,true)
QUIETLY = $(WRITABLE) && $(RUN)/snakemake --workflow-profile none --rerun-incomplete --nolock --quiet all $(if $(CONFIG),--configfile $(OVERLAYS))
OVERLAY := $(if $(CONFIG),--config config.yaml $(OVERLAYS))
SAY_WHY := { account="$$(ls -t .snakemake/log/*.log 2>/dev/null | head -n 1)"; [ -s "$$account" ] || \
	account="empty (where no line above says why: $(RUN)/snakemake -n)"; \
	echo "the build stopped; Snakemake's account: $$account" >&2; exit 1; }

.DEFAULT_GOAL := build
.PHONY: build environment images test test-fast test-services environments check serve watch doctor ask audit why gc docs lock pin
.PHONY: bench clean

build: environment
	@$(QUIETLY) --cores $(call one,$(CORES)) $(call several,SNAKEMAKE) || $(SAY_WHY)
	@$(RUN)/python -m adapter_build.cli.verify_results --results results
	@$(RUN)/python -m adapter_build.cli.summary --results results

environment:
	@python="$$(adapter_build/cli/find_python.sh)" && "$$python" -m adapter_build.cli.install_environment workflow
	@$(if $(CONFIG),$(RUN)/python -m adapter_build.cli.check_configuration config.yaml $(OVERLAYS))

environments: environment
	@$(QUIETLY) --cores $(call one,$(CORES)) environments || $(SAY_WHY)

test: environments
	@RUN=$(RUN) adapter_build/cli/run_tests.sh "not (containers or cluster)" builds $(call several,PYTEST)

test-services: environments
	@RUN=$(RUN) adapter_build/cli/run_tests.sh "containers or cluster" cluster $(call several,PYTEST)

test-fast: environments
	@RUN=$(RUN) adapter_build/cli/run_tests.sh "not slow" "attacks or steps" $(call several,PYTEST)

coverage: environments
	@COVERAGE=1 RUN=$(RUN) adapter_build/cli/run_tests.sh "not (containers or cluster)" builds $(call several,PYTEST)

check: environment
	@$(RUN)/ruff format --check . && $(RUN)/ruff check . && $(RUN)/snakefmt --check Snakefile rules
	@$(RUN)/python -m adapter_build.cli.write_reference --check
	@$(RUN)/shellcheck $$(git ls-files "*.sh") .ci/run && $(RUN)/snakemake --lint
	@$(RUN)/python -m adapter_build.cli.install_environment checks
	@.venvs/checks/bin/pyright
	@$(RUN)/python -m adapter_build.cli.audit_packages

serve: environment
	@$(QUIETLY) --cores 1 server || $(SAY_WHY)
	@$(RUN)/python -m adapter_build.cli.serve --results results $(OVERLAY) $(if $(PORT),--port $(call one,$(PORT)))

ask: environment
	@$(RUN)/python -m adapter_build.cli.ask $(OVERLAY) $(if $(PORT),--url $(call one,http://127.0.0.1:$(PORT))) -- "$$Q"

watch: environment
	@$(RUN)/python -m adapter_build.cli.watch_deployment $(OVERLAY) $(if $(PORT),--url $(call one,http://127.0.0.1:$(PORT))) $(if $(INTERVAL),--interval $(call one,$(INTERVAL)))

doctor: environment
	@$(RUN)/python -m adapter_build.cli.doctor $(OVERLAY)

audit: environment
	@$(RUN)/python -m adapter_build.cli.audit $(call several,ASK)

why: environment
	@$(RUN)/python -m adapter_build.cli.why $(if $(STEP),$(call one,$(STEP))) $(if $(SNAKEMAKE),-- $(call several,SNAKEMAKE))

gc: environment
	@$(RUN)/python -m adapter_build.cli.collect_garbage $(if $(YES),--yes) $(if $(SNAKEMAKE),-- $(call several,SNAKEMAKE))

images: environment
	@$(RUN)/python -m adapter_build.cli.build_images $(if $(ENVIRONMENT),--environment $(call one,$(ENVIRONMENT))) $(if $(REGISTRY),--registry $(call one,$(REGISTRY)))

docs: environment
	@$(RUN)/python -m adapter_build.cli.write_reference

lock: environment
	@adapter_build/cli/lock_environments.sh

pin: environment
	@$(if $(DATA),true,$(RUN)/python -m adapter_build.cli.pin_images $(if $(CHECK),--check))
	@$(if $(CHECK),true,$(RUN)/python -m adapter_build.cli.pin_datasets)
	@$(if $(CHECK),true,$(RUN)/python -m adapter_build.cli.pin_bases)

bench: environment
	@$(RUN)/python bench/full_job.py
	@$(RUN)/python bench/rebuild_table.py
	@$(RUN)/python bench/restore_rate.py
	@$(RUN)/python bench/verify_rate.py
	@$(RUN)/python bench/fuzz_readers.py
	@KILLS=200 $(RUN)/python -m pytest -q tests/workflow/test_content_decides.py -k random_moment
	@$(RUN)/python bench/step_overhead.py
	@$(RUN)/python bench/sweep.py
	@[ "$$(id -u)" != 0 ] || $(RUN)/python bench/submit_rate.py
	@[ ! -f $(call one,$(POSTS)) ] || $(RUN)/python bench/curate_rate.py $(call one,$(POSTS))
	@[ ! -f results/deploy/ready.json ] || .venvs/tune/bin/python bench/titles_rate.py
	@[ ! -f results/deploy/ready.json ] || $(RUN)/python bench/serve_load.py
	@$(RUN)/python bench/fuzz_server.py
	@[ ! -f results/deploy/ready.json ] || [ ! -f $(call one,$(POSTS)) ] || $(RUN)/python bench/equal_titles.py $(call one,$(POSTS))

clean:
	rm -rf results logs benchmarks .snakemake
