# Prompts: a jq program per adapter turns a curated record into {input, output}.

# Its name may hold braces, so that it is no input of Snakemake's where it does.
PROGRAM = lambda wildcards: [config["adapters"][wildcards.adapter]["prompt"]]


rule format_prompts:
    """Run the adapter's jq program over one split."""
    input:
        venv=local(venv("workflow")),
        program=lambda wildcards: local(plain(PROGRAM(wildcards))),
        curated="results/curated/law-qa-{split}.jsonl",
        facts=FACTS,
    output:
        prompts="results/prompts/{adapter}/{split}.jsonl",
    log:
        "logs/format_prompts/{adapter}/{split}.log",
    benchmark:
        "benchmarks/format_prompts/{adapter}/{split}.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("workflow", "scripts/format_prompts.py"),
        options=given("--env", "workflow", "--input", "program", PROGRAM),
        others=lambda wildcards: states(PROGRAM(wildcards)),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input curated {input.curated:q} --input base-facts {input.facts:q}"
        " --output prompts {output.prompts:q}"
        " -- scripts/format_prompts.py"
