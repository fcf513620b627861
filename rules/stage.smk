# Stage: an adapter that passed its checks lies in the model store, in the layout NIM documents.


STAGED = [
    "results/loras/{adapter}/adapter_config.json",
    "results/loras/{adapter}/adapter_model.safetensors",
    "results/loras/{adapter}/README.md",
]


rule stage_adapter:
    """Refuse an adapter that a server would take and answer nonsense with; copy the others."""
    input:
        venv=local(venv("workflow")),
        adapter=[
            "results/adapters/{adapter}/adapter_config.json",
            "results/adapters/{adapter}/adapter_model.safetensors",
            "results/adapters/{adapter}/README.md",
        ],
        base_config=BASE.config,
    output:
        staged=STAGED,
    log:
        "logs/stage_adapter/{adapter}.log",
    benchmark:
        "benchmarks/stage_adapter/{adapter}.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("workflow", "scripts/stage_adapter.py"),
        base=lookup("base/name", within=config),
        model=BASE.model,
        max_rank=lookup("deploy/max_rank", within=config),
        bundle="results/loras/{adapter}",
    shell:
        "python scripts/step.py --env workflow --memory {resources.mem_mb} --log {log:q}"
        " --input adapter-files {input.adapter:q} --input base-config {input.base_config:q}"
        " --output staged {output.staged:q} --bundle {params.bundle:q}"
        " --param adapter {wildcards.adapter:q} --param base {params.base:q}"
        " --param base-model {params.model:q} --param max-rank {params.max_rank:q}"
        " -- scripts/stage_adapter.py"
