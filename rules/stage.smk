# Stage: an adapter that passed its checks lies in the model store, in the layout NIM documents.


NAMES = ["adapter_config.json", "adapter_model.safetensors", "README.md"]
ADAPTER = expand("results/adapters/{adapter}/{name}", name=NAMES, allow_missing=True)
STAGED = expand("results/loras/{adapter}/{name}", name=NAMES, allow_missing=True)
SERVED = {
    "base": config["base"]["name"],
    "base_model": BASE.model,
    "max_rank": config["deploy"]["max_rank"],
    "engine": engine_of(config),
}


rule stage_adapter:
    """Refuse an adapter that a server would load but answer nonsense with; copy the others."""
    input:
        local(venv("workflow")),
        adapter_files=ADAPTER,
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
        **raised_by_retry(mem_mb=2000, runtime=10),
    params:
        **step("workflow", "stage_adapter.py", SERVED, wildcards=["adapter"], bundle="results/loras/{adapter}"),
    shell:
        STEP
