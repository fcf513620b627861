# Split: which records are for training, which for validation, which for the test.


rule split_records:
    """Divide the records that have an answer 80/10/10; note those that have none."""
    input:
        local(venv("curate")),
        records="results/raw/records.jsonl",
    output:
        train="results/split/train.jsonl",
        val="results/split/val.jsonl",
        test="results/split/test.jsonl",
        unusable="results/split/unusable.jsonl",
    log:
        "logs/split_records.log",
    benchmark:
        "benchmarks/split_records.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=2000, runtime=10),
    params:
        **step("curate", "split_records.py", config["split"]),
    shell:
        STEP
