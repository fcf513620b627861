# Prompts: a jq program per adapter turns a curated record into {input, output}.

PROGRAM = lambda wildcards: [config["adapters"][wildcards.adapter]["prompt"]]


rule format_prompts:
    """Run the adapter's jq program over one split."""
    input:
        local(venv("workflow")),
        program=lambda wildcards: local(plain(PROGRAM(wildcards))),
        curated="results/curated/law-qa-{split}.jsonl",
        base_facts=FACTS,
    output:
        prompts="results/prompts/{adapter}/{split}.jsonl",
    log:
        "logs/format_prompts/{adapter}/{split}.log",
    benchmark:
        "benchmarks/format_prompts/{adapter}/{split}.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=1000, runtime=10),
    params:
        **step("workflow", "format_prompts.py", user_files={"program": PROGRAM}),
    shell:
        STEP
