# Report: one page that says what was built, from what, how good it is and how to check it.

import json

from adapter_build.workflow.configuration import of_the_result


rule report:
    """Write the report, a single file that needs no network."""
    input:
        venv=local(venv("workflow")),
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
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("workflow", "scripts/write_report.py"),
        # Where and how steps run are no settings of the result: the same bytes come out of any.
        options=given("--env", "workflow", settings=json.dumps(of_the_result(config), sort_keys=True)),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input template {input.template:q} --input ledger {input.ledger:q}"
        " --input checkpoints {input.checkpoints:q} --input metrics {input.metrics:q}"
        " --input scores {input.scores:q} --input predictions {input.predictions:q}"
        " --input staged {input.staged:q} --input ready {input.ready:q}"
        " --output report {output.report:q}"
        " -- scripts/write_report.py"
