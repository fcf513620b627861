# Compare: what tunes and what serves must read the base alike, before anything is made of it.

# What is read of a base beside its weights.
DESCRIBING = [path for path in BASE.files if path.endswith(".json") and not path.endswith(".safetensors.index.json")]
FACTS = f"results/base/{config['base']['name']}.facts.json"


rule read_base:
    """Write down how an environment reads the base: its shape, and the tokens of texts in which tokenizers differ."""
    input:
        lambda wildcards: local(venv(wildcards.environment)),
        files=DESCRIBING,
    output:
        reading="results/base/{base}.{environment}.json",
    log:
        "logs/read_base/{base}.{environment}.log",
    benchmark:
        "benchmarks/read_base/{base}.{environment}.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=4000, runtime=10),
    params:
        **step(lambda wildcards: wildcards.environment, "read_base.py"),
    shell:
        STEP


rule compare_base:
    """Refuse a base that is tuned as something else than what is served; keep what both say of its tokens."""
    input:
        local(venv("workflow")),
        files=DESCRIBING,
        # The environment for GPUs has the same packages but for PyTorch, which reads neither file.
        tuning="results/base/{base}.tune.json",
        serving="results/base/{base}.serve.json",
    output:
        facts="results/base/{base}.facts.json",
    log:
        "logs/compare_base/{base}.log",
    benchmark:
        "benchmarks/compare_base/{base}.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=1000, runtime=10),
    params:
        **step("workflow", "compare_base.py"),
    shell:
        STEP
