# Acquire: the raw records and the base model, each checked against what data.lock.yaml or config.yaml says of it.

import json

from adapter_build.core.config_paths import plain, states
from adapter_build.records.splits import finished_files

FROM_THE_HUB = ["--network", "--secret", "HF_TOKEN"]

if config["data"]["source"] == "file":

    rule acquire_raw:
        """Read the raw file, check every record, write them one per line."""
        input:
            venv=local(venv("workflow")),
            source=local(plain([config["data"]["path"]])),
            schema=local("schemas/raw-record.schema.json"),
        output:
            records="results/raw/records.jsonl",
        log:
            "logs/acquire_raw.log",
        benchmark:
            "benchmarks/acquire_raw.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            code=code("workflow", "scripts/acquire_raw.py"),
            options=given(
                *["--env", "workflow", "--input", "source", config["data"]["path"]],
                kind="file",
                sha256=config["data"]["sha256"],
                bad_records=config["data"]["bad_records"],
            ),
            others=lambda wildcards: states([config["data"]["path"]]),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --input schema {input.schema:q}"
            " --output records {output.records:q}"
            " -- scripts/acquire_raw.py"

elif config["data"]["source"] == "huggingface":

    rule acquire_raw:
        """Fetch the pinned revision from Hugging Face, check every record, write them one per line."""
        input:
            venv=local(venv("workflow")),
            schema=local("schemas/raw-record.schema.json"),
        output:
            records="results/raw/records.jsonl",
        log:
            "logs/acquire_raw.log",
        benchmark:
            "benchmarks/acquire_raw.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(60),
        params:
            code=code("workflow", "scripts/acquire_raw.py"),
            options=given(
                *["--env", "workflow", *FROM_THE_HUB],
                kind="huggingface",
                dataset=config["data"]["dataset"],
                entry=json.dumps(LOCK["datasets"].get(config["data"]["dataset"])),
                bad_records=config["data"]["bad_records"],
            ),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --input schema {input.schema:q}"
            " --output records {output.records:q}"
            " -- scripts/acquire_raw.py"

else:
    SOURCES = finished_files(config["data"]["path"])

    rule acquire_curated:
        """Check splits that somebody has curated already, and take them as they are."""
        input:
            venv=local(venv("workflow")),
            source=local(plain(SOURCES)),
        output:
            curated=expand("results/curated/law-qa-{split}.jsonl", split=SPLITS),
            ledger="results/curated/ledger.parquet",
        log:
            "logs/acquire_curated.log",
        benchmark:
            "benchmarks/acquire_curated.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            code=code("workflow", "scripts/acquire_curated.py"),
            options=given(
                *["--env", "workflow", "--input", "source", *SOURCES],
                bad_records=config["data"]["bad_records"],
            ),
            others=lambda wildcards: states(SOURCES),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --output curated {output.curated:q} --output ledger {output.ledger:q}"
            " -- scripts/acquire_curated.py"


rule acquire_base:
    """Fetch the base model's files, each checked by its sha256."""
    input:
        venv=local(venv("workflow")),
        source=local(plain(BASE.source_files)),
    output:
        files=BASE.acquired_files,
    log:
        "logs/acquire_base.log",
    benchmark:
        "benchmarks/acquire_base.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        code=code("workflow", "scripts/acquire_base.py"),
        options=given(
            *["--env", "workflow"],
            *(["--input", "source-files", *BASE.source_files] if BASE.source_files else FROM_THE_HUB),
            base=config["base"]["name"],
            entry=json.dumps(BASE.entry),
        ),
        others=lambda wildcards: states(BASE.source_files),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --output files {output.files:q}"
        " -- scripts/acquire_base.py"


if BASE.quantized:

    rule dequantize_base:
        """Turn the GGUF file into the Hugging Face files that NeMo, PEFT and vLLM read."""
        input:
            venv=local(venv("tune")),
            gguf=BASE.acquired_files,
        output:
            files=BASE.files,
        log:
            "logs/dequantize_base.log",
        benchmark:
            "benchmarks/dequantize_base.tsv"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(30),
        params:
            code=code("tune", "scripts/dequantize_base.py"),
            options=given("--env", "tune"),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --input gguf {input.gguf:q}"
            " --output files {output.files:q}"
            " -- scripts/dequantize_base.py"
