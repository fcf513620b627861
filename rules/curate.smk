# Curate: NeMo Curator cleans every split and filters the training split; the ledger says where each record went.

SHARDS = range(config["curate"]["shards"])
# On Ray several processors curate a split, of several nodes too, which then need the network between them.
ON_RAY = config["curate"]["executor"] == "ray"
PROCESSORS = config["threads"] if ON_RAY else 1
CURATORS = {"threads": PROCESSORS, "nodes": config["curate"]["nodes"]} if ON_RAY else {}
CURATION = {
    "filters": lambda wildcards: "on" if wildcards.split in config["curate"]["filtered_splits"] else "off",
    **{name: config["curate"][name] for name in ("min_words", "max_words", "min_score", "null_score")},
    **({"executor": "ray"} if ON_RAY else {}),
}
# Neither where a split is its only part.
PART = {"shard": lambda wildcards: wildcards.get("shard"), "shards": len(SHARDS) if len(SHARDS) > 1 else None}


rule curate_shard:
    """HTML to text, unicode repair, then the filters on length and score, of one part of a split."""
    input:
        local(venv("curate")),
        records="results/split/{split}.jsonl",
    output:
        curated="results/curated/shards/{split}-{shard}.jsonl",
        ledger="results/curated/shards/{split}-{shard}.parquet",
    log:
        "logs/curate_shard/{split}/{shard}.log",
    benchmark:
        "benchmarks/curate_shard/{split}/{shard}.tsv"
    threads: PROCESSORS
    resources:
        **asked_of_slurm(config["curate"]["nodes"]),
        **raised_by_retry(mem_mb=1500 * PROCESSORS, runtime=30),
    params:
        **step("curate", "curate_split.py", CURATION, CURATORS, PART, wildcards=["split"], loopback=ON_RAY, **CURATORS),
    shell:
        STEP


if len(SHARDS) == 1:

    use rule curate_shard as curate_split with:
        output:
            curated="results/curated/law-qa-{split}.jsonl",
            ledger="results/curated/ledger-{split}.parquet",
        log:
            "logs/curate_split/{split}.log",
        benchmark:
            "benchmarks/curate_split/{split}.tsv"

else:

    rule curate_split:
        """Put the parts together, in order: the bytes of the split curated whole."""
        input:
            local(venv("curate")),
            parts=expand("results/curated/shards/{split}-{shard}.jsonl", shard=SHARDS, allow_missing=True),
            ledgers=expand("results/curated/shards/{split}-{shard}.parquet", shard=SHARDS, allow_missing=True),
        output:
            curated="results/curated/law-qa-{split}.jsonl",
            ledger="results/curated/ledger-{split}.parquet",
        log:
            "logs/curate_split/{split}.log",
        benchmark:
            "benchmarks/curate_split/{split}.tsv"
        threads: 1
        resources:
            **raised_by_retry(mem_mb=1500, runtime=10),
        params:
            **step("curate", "join_shards.py", wildcards=["split"]),
        shell:
            STEP


rule collect_ledger:
    """One row per raw record: kept or dropped, by which filter, on what measured value."""
    input:
        local(venv("curate")),
        records="results/raw/records.jsonl",
        unusable="results/split/unusable.jsonl",
        splits=expand("results/curated/ledger-{split}.parquet", split=SPLITS),
    output:
        ledger="results/curated/ledger.parquet",
    log:
        "logs/collect_ledger.log",
    benchmark:
        "benchmarks/collect_ledger.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=1500, runtime=10),
    params:
        **step("curate", "collect_ledger.py"),
    shell:
        STEP
