"""Raw questions to a LoRA adapter that NIM serves: a file per stage in rules/, each step run by scripts/step.py."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")
sys.path.insert(0, workflow.basedir)

from adapter_build.core.faults import BadInput, error_line
from adapter_build.hermetic.environments import CHECKS, needed, venv_marker
from adapter_build.hermetic.runtime import Runtime
from adapter_build.models.base_model import base_model
from adapter_build.records.splits import SPLITS
from adapter_build.workflow.begin_build import begin, check_writable, pinned_images, tell_steps
from adapter_build.workflow.configuration import as_given, check, engine_of
from adapter_build.workflow.rule_options import STEP, asked_of_slurm, for_rules, of_adapter, raised_by_retry

TOLD = workflow.config_settings
try:
    check_writable()
    SETTINGS = as_given(Path("config.yaml"), TOLD.configfiles, TOLD.config_args, alone=TOLD.replace_workflow_config)
    LOCK = check(SETTINGS)
    BASE = base_model(SETTINGS["base"], LOCK)
    NIM, NEMO = pinned_images(SETTINGS, BASE.model)  # the one that serves and the one that tunes
    RUNTIME = Runtime(SETTINGS["runtime"], needed(SETTINGS["devices"]), workflow.remote_exec, SETTINGS["isolation"])
except (BadInput, OSError) as fault:
    sys.exit(error_line(fault))


configfile: "config.yaml"


config.update(SETTINGS)  # over Snakemake's own reading: 1e-3 is text there, no is false, every adapter stays
venv, step = for_rules(RUNTIME, shared=bool(workflow.storage_settings.shared_fs_usage))
tell_steps(config, RUNTIME, sent=workflow.remote_exec)


onstart:
    begin(config, RUNTIME, NIM, BASE)


container: "docker://localhost/adapter-build"  # for --lint and reports: steps choose their own by digest


wildcard_constraints:
    adapter="|".join(config["adapters"]),
    base=config["base"]["name"],
    environment="|".join([*needed(config["devices"]), CHECKS]),
    shard=r"\d+",
    split="|".join(SPLITS),


include: "rules/environments.smk"
include: "rules/acquire.smk"
include: "rules/compare.smk"


if config["data"]["source"] != "curated":

    include: "rules/split.smk"
    include: "rules/curate.smk"


for part in ["prompts", *(["megatron"] if NEMO else ["convert", "tune", "stage"]), "evaluate", "deploy", "report"]:

    include: f"rules/{part}.smk"


workflow.localrules(*filter(workflow.is_rule, config["local_steps"]))


rule all:
    """The sentinel and the report: everything else is made on the way."""
    default_target: True
    input:
        ready="results/deploy/ready.json",
        report="results/report/index.html",
