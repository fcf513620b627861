# Curate: NeMo Curator cleans every split and filters the training split; the ledger says where each record went.


rule curate_split:
    """HTML to text, unicode repair, then the filters on length and score."""
    input:
        venv=local(venv("curate")),
        records="results/split/{split}.jsonl",
    output:
        curated="results/curated/law-qa-{split}.jsonl",
        ledger="results/curated/ledger-{split}.parquet",
    log:
        "logs/curate_split/{split}.log",
    benchmark:
        "benchmarks/curate_split/{split}.tsv"
    threads: 1
    resources:
        mem_mb=growing(1500),
        runtime=growing(30),
    params:
        code=code("curate", "scripts/curate_split.py"),
        filters=lambda wildcards: "on" if wildcards.split in config["curate"]["filtered_splits"] else "off",
        min_words=lookup("curate/min_words", within=config),
        max_words=lookup("curate/max_words", within=config),
        min_score=lookup("curate/min_score", within=config),
        null_score=lookup("curate/null_score", within=config),
    shell:
        "python scripts/step.py --env curate --memory {resources.mem_mb} --log {log:q}"
        " --input records {input.records:q}"
        " --output curated {output.curated:q} --output ledger {output.ledger:q}"
        " --param split {wildcards.split:q} --param filters {params.filters:q}"
        " --param min-words {params.min_words:q} --param max-words {params.max_words:q}"
        " --param min-score {params.min_score:q} --param null-score {params.null_score:q}"
        " -- scripts/curate_split.py"


rule collect_ledger:
    """One row per raw record: kept or dropped, by which filter, on what measured value."""
    input:
        venv=local(venv("curate")),
        records="results/raw/records.jsonl",
        unusable="results/split/unusable.jsonl",
        splits=expand("results/curated/ledger-{split}.parquet", split=["train", "val", "test"]),
    output:
        ledger="results/curated/ledger.parquet",
    log:
        "logs/collect_ledger.log",
    benchmark:
        "benchmarks/collect_ledger.tsv"
    threads: 1
    resources:
        mem_mb=growing(1500),
        runtime=growing(10),
    params:
        code=code("curate", "scripts/collect_ledger.py"),
    shell:
        "python scripts/step.py --env curate --memory {resources.mem_mb} --log {log:q}"
        " --input records {input.records:q} --input unusable {input.unusable:q} --input splits {input.splits:q}"
        " --output ledger {output.ledger:q}"
        " -- scripts/collect_ledger.py"
