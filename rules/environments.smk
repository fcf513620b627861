# Environments: a venv per lock of containers/, and what the steps that compute on GPUs are given.

from adapter_build.hermetic.environments import lock_path, tuning

# What computes on GPUs has a PyTorch for them, of a lock of its own.
TUNING = tuning(config["devices"])
# As configured, never as many as --cores: on any machine a script computes the same.
THREADS = {"threads": config["threads"]}
# A GPU step's container gets what NeMo's containers ask for; no other step does.
ON_GPUS = {"devices": config["devices"], "shared_memory": 8192, "ulimits": ["memlock=-1"]} if config["devices"] else {}
COMPUTING = THREADS | ON_GPUS
# What a scheduler is asked for; on Kubernetes a GPU has a maker.
GPUS = {"gpu": config["devices"], "gpu_manufacturer": "nvidia"} if config["devices"] else {}


rule environment:
    """Install one environment; a copy of its lock stays in it."""
    input:
        lock=lambda wildcards: local(str(lock_path(wildcards.environment))),
        uv=lambda wildcards: [] if wildcards.environment == "workflow" else local(venv_marker("workflow")),
    output:
        marker=local(".venvs/{environment}.ready"),
    log:
        "logs/environment/{environment}.log",
    benchmark:
        "benchmarks/environment/{environment}.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=2000, runtime=30),
    shell:
        "python -m adapter_build.cli.install_environment {wildcards.environment:q}"


rule environments:
    """All of them, for tests and for machines that will have no network later."""
    input:
        local(expand(".venvs/{environment}.ready", environment=[*needed(config["devices"]), CHECKS])),
    localrule: True
