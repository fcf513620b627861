# Report: one page that says what was built, from what, how good it is and how to check it.

import json

from adapter_build.workflow.configuration import of_the_result

# Where and how steps run are no settings of the result: the same bytes come out of any.
RESULT = {"settings": json.dumps(of_the_result(config), sort_keys=True)}


rule report:
    """Write the report, a single file that needs no network."""
    input:
        local(venv("workflow")),
        template=local("adapter_build/report/page.html.jinja"),
        ledger="results/curated/ledger.parquet",
        checkpoints=expand("results/checkpoints/{adapter}.nemo", adapter=config["adapters"]),
        metrics=expand("results/checkpoints/{adapter}.metrics.jsonl", adapter=config["adapters"]),
        scores=expand("results/evaluation/{adapter}.json", adapter=config["adapters"]),
        predictions=expand("results/evaluation/{adapter}.predictions.jsonl", adapter=config["adapters"]),
        staged=expand(STAGED, adapter=config["adapters"]),
        ready="results/deploy/ready.json",
    output:
        report="results/report/index.html",
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=1000, runtime=10),
    params:
        **step("workflow", "write_report.py", RESULT),
    shell:
        STEP
