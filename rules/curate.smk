# Curate: NeMo Curator cleans every split and filters the training split; the ledger says where each record went.

from adapter_build.hermetic.nodes import asked_of_slurm, step_options

# On Ray several processors curate a split, of several nodes too, which then need the network between them.
ON_RAY = config["curate"]["executor"] == "ray"
PROCESSORS = config["threads"] if ON_RAY else 1
CURATORS = config["curate"]["nodes"]
CURATION = {
    "filters": lambda wildcards: "on" if wildcards.split in config["curate"]["filtered_splits"] else "off",
    **{name: config["curate"][name] for name in ("min_words", "max_words", "min_score", "null_score")},
    **({"executor": "ray", "threads": PROCESSORS, "nodes": CURATORS} if ON_RAY else {}),
}
CURATOR = ["--env", "curate", *(["--loopback", "--threads", PROCESSORS] if ON_RAY else []), *step_options(CURATORS)]

if config["curate"]["shards"] == 1:

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
        threads: PROCESSORS
        resources:
            **asked_of_slurm(CURATORS),
            mem_mb=growing(1500 * PROCESSORS),
            runtime=growing(30),
        params:
            code=code("curate", "scripts/curate_split.py"),
            options=given(*CURATOR, **CURATION),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --input records {input.records:q}"
            " --output curated {output.curated:q} --output ledger {output.ledger:q}"
            " --param split {wildcards.split:q}"
            " -- scripts/curate_split.py"

else:

    rule curate_shard:
        """The same, of one part of a split: as many jobs, on as many machines, as there are parts."""
        input:
            venv=local(venv("curate")),
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
            **asked_of_slurm(CURATORS),
            mem_mb=growing(1500 * PROCESSORS),
            runtime=growing(30),
        params:
            code=code("curate", "scripts/curate_split.py"),
            options=given(*CURATOR, **CURATION, shards=config["curate"]["shards"]),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --input records {input.records:q}"
            " --output curated {output.curated:q} --output ledger {output.ledger:q}"
            " --param split {wildcards.split:q}"
            " --param shard {wildcards.shard:q}"
            " -- scripts/curate_split.py"

    rule curate_split:
        """Put the parts together, in order: the bytes of the split curated whole."""
        input:
            venv=local(venv("curate")),
            parts=expand(
                "results/curated/shards/{split}-{shard}.jsonl",
                shard=range(config["curate"]["shards"]),
                allow_missing=True,
            ),
            ledgers=expand(
                "results/curated/shards/{split}-{shard}.parquet",
                shard=range(config["curate"]["shards"]),
                allow_missing=True,
            ),
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
            runtime=growing(10),
        params:
            code=code("curate", "scripts/join_shards.py"),
            options=given("--env", "curate"),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --input parts {input.parts:q} --input ledgers {input.ledgers:q}"
            " --output curated {output.curated:q} --output ledger {output.ledger:q}"
            " --param split {wildcards.split:q}"
            " -- scripts/join_shards.py"


rule collect_ledger:
    """One row per raw record: kept or dropped, by which filter, on what measured value."""
    input:
        venv=local(venv("curate")),
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
        mem_mb=growing(1500),
        runtime=growing(10),
    params:
        code=code("curate", "scripts/collect_ledger.py"),
        options=given("--env", "curate"),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input records {input.records:q} --input unusable {input.unusable:q} --input splits {input.splits:q}"
        " --output ledger {output.ledger:q}"
        " -- scripts/collect_ledger.py"
