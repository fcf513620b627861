# Evaluate: base and adapter answer the same test prompts.

# Prompts are cut as the embedded server's length asks; NIM says its own when it runs.
SERVED_LENGTH = None if NIM else config["deploy"]["embedded"]["context_length"]


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
        options=given(
            *["--env", TUNING, *ON_GPUS, "--threads", config["threads"]],
            **config["evaluate"],
            context_length=SERVED_LENGTH,
            threads=config["threads"],
        ),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input files {input.files:q} --input adapter-files {input.adapter:q} --input test {input.test:q}"
        " --output scores {output.scores:q} --output predictions {output.predictions:q}"
        " -- scripts/evaluate_adapter.py"
