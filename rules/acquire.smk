# Acquire: the raw records and the base model, each checked against what data.lock.yaml or config.yaml says of it.

import json

from adapter_build.core.config_paths import plain
from adapter_build.records.splits import finished_files

DATA = config["data"]
BAD_RECORDS = {"bad_records": DATA["bad_records"]}
FROM_THE_HUB = {"network": True, "secrets": ["HF_TOKEN"]}

if DATA["source"] == "curated":
    SOURCE = finished_files(DATA["path"])

    rule acquire_curated:
        """Check splits that somebody has curated already, and take them as they are."""
        input:
            local(venv("workflow")),
            source=local(plain(SOURCE)),
        output:
            curated=expand("results/curated/law-qa-{split}.jsonl", split=SPLITS),
            ledger="results/curated/ledger.parquet",
        log:
            "logs/acquire_curated.log",
        benchmark:
            "benchmarks/acquire_curated.tsv"
        threads: 1
        resources:
            **raised_by_retry(mem_mb=2000, runtime=10),
        params:
            **step("workflow", "acquire_curated.py", BAD_RECORDS, user_files={"source": SOURCE}),
        shell:
            STEP

else:
    FETCHED = DATA["source"] == "huggingface"
    SOURCE = [] if FETCHED else [DATA["path"]]
    LOCKED = {"dataset": DATA["dataset"], "entry": json.dumps(LOCK["datasets"].get(DATA["dataset"]))}
    RAW = {"kind": DATA["source"], **(LOCKED if FETCHED else {"sha256": DATA["sha256"]})}
    ORIGIN = FROM_THE_HUB if FETCHED else {"user_files": {"source": SOURCE}}

    rule acquire_raw:
        """Read the raw file, or fetch its pinned revision; check every record, write them one per line."""
        input:
            local(venv("workflow")),
            source=local(plain(SOURCE)),
            schema=local("schemas/raw-record.schema.json"),
        output:
            records="results/raw/records.jsonl",
        log:
            "logs/acquire_raw.log",
        benchmark:
            "benchmarks/acquire_raw.tsv"
        threads: 1
        resources:
            **raised_by_retry(mem_mb=2000, runtime=60 if FETCHED else 10),
        params:
            **step("workflow", "acquire_raw.py", RAW, BAD_RECORDS, **ORIGIN),
        shell:
            STEP


LISTED = {"base": config["base"]["name"], "entry": json.dumps(BASE.entry)}
BASE_ORIGIN = {"user_files": {"source_files": BASE.source_files}} if BASE.source_files else FROM_THE_HUB


rule acquire_base:
    """Fetch the base model's files, each checked by its sha256."""
    input:
        local(venv("workflow")),
        source_files=local(plain(BASE.source_files)),
    output:
        files=BASE.acquired_files,
    log:
        "logs/acquire_base.log",
    benchmark:
        "benchmarks/acquire_base.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=2000, runtime=120),
    params:
        **step("workflow", "acquire_base.py", LISTED, **BASE_ORIGIN),
    shell:
        STEP


if BASE.quantized:

    rule dequantize_base:
        """Turn the GGUF file into the Hugging Face files that NeMo, PEFT and vLLM read."""
        input:
            local(venv("tune")),
            gguf=BASE.acquired_files,
        output:
            files=BASE.files,
        log:
            "logs/dequantize_base.log",
        benchmark:
            "benchmarks/dequantize_base.tsv"
        threads: 1
        resources:
            **raised_by_retry(mem_mb=4000, runtime=30),
        params:
            **step("tune", "dequantize_base.py"),
        shell:
            STEP
