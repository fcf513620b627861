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
from build_start import start
from configuration import check
from faults import BadInput
from hermetic.environments import CHECKS, ENVIRONMENTS, venv_marker
from hermetic.runtime import Runtime
from hermetic.settings import settings
from nim_settings import nim_settings


configfile: "config.yaml"


try:
    LOCK = check(config)
    BASE = base_model(config["base"], LOCK)
    NIM = nim_settings(config, BASE.model) if config["deploy"]["engine"] == "nim" else None
    RUNTIME = Runtime(config["runtime"], ENVIRONMENTS)
except BadInput as fault:
    sys.exit(f"error: {fault}")


venv, code = RUNTIME.venv, RUNTIME.code  # what a rule asks of its environment
os.environ.update(settings(config, RUNTIME.name))


onstart:
    start(config, RUNTIME, NIM)


# Steps choose their own container by digest (containers/); this is what --lint and reports show.
container: "docker://localhost/adapter-build"


wildcard_constraints:
    adapter="|".join(config["adapters"]),
    base=config["base"]["name"],
    environment="|".join([*ENVIRONMENTS, CHECKS]),
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


rule all:
    """The sentinel and the report: everything else is made on the way."""
    default_target: True
    input:
        ready=rules.check_deployment.output.ready,
        report=rules.report.output.report,
