# Evaluate: base and adapter answer the same test prompts.

# Prompts are cut as the embedded server's length asks; NIM says its own when it runs.
LENGTH = {"context_length": None if NIM else config["deploy"]["embedded"]["context_length"]}


rule evaluate_adapter:
    """ROUGE of base and adapter with bootstrap intervals, and their answers side by side."""
    input:
        local(venv(TUNING)),
        files=BASE.files,
        adapter_files=multiext("results/adapters/{adapter}/adapter_", "config.json", "model.safetensors"),
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
        **raised_by_retry(mem_mb=4000, runtime=120),
    params:
        **step(TUNING, "evaluate_adapter.py", config["evaluate"], LENGTH, THREADS, **COMPUTING),
    shell:
        STEP
