"""Raw questions to a LoRA adapter that NIM serves. Rules are in rules/, one file per stage; what a rule's shell calls,
scripts/step.py, runs the step in its environment and leaves proof under results/lineage/."""

import json
import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")
sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from base_model import base_model
from build_lock import hold
from configuration import check, of_the_result
from faults import BadInput
from growing import growing
from hermetic.environments import CHECKS, ENVIRONMENTS, venv_marker
from hermetic.runtime import Runtime
from leftover_jobs import end_leftover_jobs


configfile: "config.yaml"


try:
    LOCK = check(config)
    BASE = base_model(config["base"], LOCK)
    RUNTIME = Runtime(config["runtime"], ENVIRONMENTS, sent=workflow.remote_exec)
except BadInput as fault:
    sys.exit(f"error: {fault}")


venv, code = RUNTIME.venv, RUNTIME.code  # what a rule asks of its environment
# `python` in a rule is the one that runs Snakemake: it has what the step runner needs.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ.update(PATH=PATH, STEP_RUNTIME=RUNTIME.name)
os.environ.update(STEP_STORE=config["store"]["path"], STEP_STORE_URL=config["store"]["url"])


onstart:
    hold()
    end_leftover_jobs()
    print(f"  runtime {RUNTIME.name}: {RUNTIME.reason}", file=sys.stderr)


# Steps choose their own container by digest (containers/); this is what --lint and reports show.
container: "docker://localhost/adapter-build"


wildcard_constraints:
    adapter="|".join(config["adapters"]),
    base=config["base"]["name"],
    environment="|".join([*ENVIRONMENTS, CHECKS]),
    shard=r"\d+",
    split="train|val|test",


include: "rules/environments.smk"
include: "rules/acquire.smk"


if config["data"]["source"] != "curated":

    include: "rules/split.smk"
    include: "rules/curate.smk"


include: "rules/prompts.smk"
include: "rules/convert.smk"
include: "rules/tune.smk"
include: "rules/evaluate.smk"
include: "rules/stage.smk"
include: "rules/deploy.smk"
include: "rules/report.smk"


workflow.localrules(*filter(workflow.is_rule, config["local_steps"]))


rule all:
    """The sentinel and the report: everything else is made on the way."""
    default_target: True
    input:
        ready="results/deploy/ready.json",
        report="results/report/index.html",
