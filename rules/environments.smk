# Environments: a venv per lock of containers/.

from hermetic.environments import lock_path


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
        mem_mb=growing(2000),
        runtime=growing(30),
    shell:
        "python scripts/install_environment.py {wildcards.environment:q}"


rule environments:
    """All of them, for tests and for machines that will have no network later."""
    input:
        local(expand(".venvs/{environment}.ready", environment=[*needed(config["devices"]), CHECKS])),
    localrule: True
