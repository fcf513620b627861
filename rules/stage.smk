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
        base_weights=[path for path in BASE.files if path.endswith(".safetensors")],
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
        options=given(
            *["--env", "workflow", "--bundle", lambda wildcards: f"results/loras/{wildcards.adapter}"],
            base=config["base"]["name"],
            base_model=BASE.model,
            max_rank=config["deploy"]["max_rank"],
            engine=engine_of(config),
        ),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input adapter-files {input.adapter:q} --input base-config {input.base_config:q}"
        " --input base-weights {input.base_weights:q}"
        " --output staged {output.staged:q}"
        " --param adapter {wildcards.adapter:q}"
        " -- scripts/stage_adapter.py"
