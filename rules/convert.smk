# Convert: the Hugging Face files become the one .nemo file that tuning starts from.


rule convert_base:
    """Pack the base model into a .nemo archive, the same bytes every time."""
    input:
        venv=local(venv("tune")),
        files=BASE.files,
        compared=FACTS,  # nothing is made of a base that would be served as something else
    output:
        nemo="results/base/{base}.nemo",
    log:
        "logs/convert_base/{base}.log",
    benchmark:
        "benchmarks/convert_base/{base}.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        code=code("tune", "scripts/convert_base.py"),
        options=given("--env", "tune"),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input files {input.files:q}"
        " --output nemo {output.nemo:q}"
        " -- scripts/convert_base.py"
