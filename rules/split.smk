# Split: which records are for training, which for validation, which for the test.


rule split_records:
    """Divide the records that have an answer 80/10/10; note those that have none."""
    input:
        venv=local(venv("curate")),
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
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("curate", "scripts/split_records.py"),
        options=given("--env", "curate", method=config["split"]["method"], seed=config["split"]["seed"]),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input records {input.records:q}"
        " --output train {output.train:q} --output val {output.val:q} --output test {output.test:q}"
        " --output unusable {output.unusable:q}"
        " -- scripts/split_records.py"
