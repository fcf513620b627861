# Convert: the Hugging Face files become the one .nemo file that tuning starts from.


rule convert_base:
    """Pack the base model into a .nemo archive, the same bytes every time."""
    input:
        local(venv("tune")),
        FACTS,  # nothing is made of a base that would be served as something else
        files=BASE.files,
    output:
        nemo="results/base/{base}.nemo",
    log:
        "logs/convert_base/{base}.log",
    benchmark:
        "benchmarks/convert_base/{base}.tsv"
    threads: 1
    resources:
        **raised_by_retry(mem_mb=4000, runtime=60),
    params:
        **step("tune", "convert_base.py"),
    shell:
        STEP
