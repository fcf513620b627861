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
        method=lookup("split/method", within=config),
        seed=lookup("split/seed", within=config),
    shell:
        "python scripts/step.py --env curate --memory {resources.mem_mb} --log {log:q}"
        " --input records {input.records:q}"
        " --output train {output.train:q} --output val {output.val:q} --output test {output.test:q}"
        " --output unusable {output.unusable:q}"
        " --param method {params.method:q} --param seed {params.seed:q}"
        " -- scripts/split_records.py"
