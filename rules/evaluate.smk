# Evaluate: base and adapter answer the same test prompts.


rule evaluate_adapter:
    """ROUGE of base and adapter with bootstrap intervals, and their answers side by side."""
    input:
        venv=local(venv(TUNING)),
        files=BASE.files,
        adapter=[
            "results/adapters/{adapter}/adapter_config.json",
            "results/adapters/{adapter}/adapter_model.safetensors",
        ],
        test="results/prompts/{adapter}/test.jsonl",
    output:
        scores="results/evaluation/{adapter}.json",
        predictions="results/evaluation/{adapter}.predictions.jsonl",
    log:
        "logs/evaluate_adapter/{adapter}.log",
    benchmark:
        "benchmarks/evaluate_adapter/{adapter}.tsv"
    threads: config["threads"]
    resources:
        **GPUS,
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        code=code(TUNING, "scripts/evaluate_adapter.py"),
        environment=TUNING,
        limit=lookup("evaluate/limit", within=config),
        max_new_tokens=lookup("evaluate/max_new_tokens", within=config),
        batch_tokens=lookup("evaluate/batch_tokens", within=config),
        resamples=lookup("evaluate/resamples", within=config),
        seed=lookup("evaluate/seed", within=config),
        devices=ON_GPUS,
        threads=lookup("threads", within=config),
    shell:
        "python scripts/step.py --env {params.environment:q} {params.devices:q} --threads {params.threads:q} --memory {resources.mem_mb} --log {log:q}"
        " --input files {input.files:q} --input adapter-files {input.adapter:q} --input test {input.test:q}"
        " --output scores {output.scores:q} --output predictions {output.predictions:q}"
        " --param limit {params.limit:q} --param max-new-tokens {params.max_new_tokens:q}"
        " --param batch-tokens {params.batch_tokens:q} --param resamples {params.resamples:q} --param seed {params.seed:q}"
        " --param threads {params.threads:q}"
        " -- scripts/evaluate_adapter.py"
