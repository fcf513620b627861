# Megatron: with tune.backend nemo-24.07 these four take the place of convert, tune and stage: NVIDIA's own programs, in
# its container by digest, make the base's .nemo and the adapter's, and NIM 1.x gets that as it is.


# A container even where the other steps run on the host.
IN_CONTAINER = ["--runtime", "apptainer" if RUNTIME.name == "apptainer" else "docker"]
IN_NEMO = ["--env", NEMO.name, *IN_CONTAINER, *ON_GPUS, "--threads", config["threads"]]
# Of the base's Hugging Face files, what its .nemo names by its repository.
TOKENIZER = [path for path in BASE.files if path.endswith((".json", ".model")) and ".safetensors" not in path]
STAGED = ["results/loras/{adapter}/{adapter}.nemo"]
# What of an adapter's settings its programs are told.
# fmt: off
TUNED = [
    "rank", "alpha", "dropout", "target_modules", "learning_rate", "max_steps", "micro_batch_size", "global_batch_size",
    "sequence_length", "validation_interval", "validation_limit", "patience", "products", "seed",
]
# fmt: on
if config["base"]["nemo"]:

    rule convert_base:
        """Take the base's .nemo that NGC gave: nothing of it is converted."""
        input:
            venv=local(venv("workflow")),
            source=local(plain([config["base"]["nemo"]])),
            compared=FACTS,  # nothing is tuned on a base that would be served as something else
        output:
            nemo="results/base/{base}.nemo",
        log:
            "logs/convert_base/{base}.log",
        benchmark:
            "benchmarks/convert_base/{base}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(60),
        params:
            code=code("workflow", "scripts/take_megatron.py"),
            options=given(
                *["--env", "workflow", "--input", "source", config["base"]["nemo"]],
                sha256=config["base"]["nemo_sha256"],
            ),
            others=lambda wildcards: states([config["base"]["nemo"]]),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --output nemo {output.nemo:q}"
            " -- scripts/take_megatron.py"

else:

    rule convert_base:
        """Make the base's .nemo of its Hugging Face files, by the container's own converter."""
        input:
            files=BASE.files,
            compared=FACTS,
        output:
            nemo="results/base/{base}.nemo",
        log:
            "logs/convert_base/{base}.log",
        benchmark:
            "benchmarks/convert_base/{base}.tsv"
        threads: config["threads"]
        resources:
            **GPUS,
            mem_mb=growing(100000),
            runtime=growing(60),
        params:
            code=code(NEMO.name, "scripts/convert_megatron.py"),
            options=given(*IN_NEMO, image=NEMO.reference),
        shell:
            "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
            " --input files {input.files:q}"
            " --output nemo {output.nemo:q}"
            " -- scripts/convert_megatron.py"


rule tune_adapter:
    """The tutorial's own run: LoRA by megatron_gpt_finetuning.py; the weights of the best validation loss."""
    input:
        base=expand("results/base/{base}.nemo", base=config["base"]["name"]),
        tokenizer=TOKENIZER,
        facts=FACTS,
        train="results/prompts/{adapter}/train.jsonl",
        validation="results/prompts/{adapter}/val.jsonl",
    output:
        checkpoint="results/checkpoints/{adapter}.nemo",
        metrics="results/checkpoints/{adapter}.metrics.jsonl",
    log:
        "logs/tune_adapter/{adapter}.log",
    benchmark:
        "benchmarks/tune_adapter/{adapter}.tsv"
    threads: config["threads"]
    resources:
        **GPUS,
        mem_mb=growing(100000),
        runtime=growing(240),
    params:
        code=code(NEMO.name, "scripts/tune_megatron.py"),
        options=given(
            *IN_NEMO,
            image=NEMO.reference,
            devices=config["devices"],
            **of_adapter(config, TUNED),
        ),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input base {input.base:q} --input tokenizer {input.tokenizer:q}"
        " --input base-facts {input.facts:q}"
        " --input train {input.train:q} --input validation {input.validation:q}"
        " --output checkpoint {output.checkpoint:q} --output metrics {output.metrics:q}"
        " -- scripts/tune_megatron.py"


rule export_adapter:
    """Write the adapter's numbers as PEFT reads them too, for evaluation and checks."""
    input:
        venv=local(venv("tune")),
        checkpoint="results/checkpoints/{adapter}.nemo",
        metrics="results/checkpoints/{adapter}.metrics.jsonl",
    output:
        config="results/adapters/{adapter}/adapter_config.json",
        weights="results/adapters/{adapter}/adapter_model.safetensors",
        card="results/adapters/{adapter}/README.md",
    log:
        "logs/export_adapter/{adapter}.log",
    benchmark:
        "benchmarks/export_adapter/{adapter}.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("tune", "scripts/export_megatron.py"),
        options=given(
            *["--env", "tune"],
            **BASE.named,
            **of_adapter(config, ["rank", "alpha", "target_modules"]),
        ),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input checkpoint {input.checkpoint:q} --input metrics {input.metrics:q}"
        " --output config {output.config:q} --output weights {output.weights:q} --output card {output.card:q}"
        " --param adapter {wildcards.adapter:q}"
        " -- scripts/export_megatron.py"


rule stage_adapter:
    """Check the adapter as any other; its .nemo alone goes into the model store, as NIM 1.x reads it."""
    input:
        venv=local(venv("workflow")),
        checkpoint="results/checkpoints/{adapter}.nemo",
        config="results/adapters/{adapter}/adapter_config.json",
        weights="results/adapters/{adapter}/adapter_model.safetensors",
        base_config=BASE.config,
    output:
        staged=STAGED,
    log:
        "logs/stage_adapter/{adapter}.log",
    benchmark:
        "benchmarks/stage_adapter/{adapter}.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        code=code("workflow", "scripts/stage_megatron.py"),
        options=given(
            *["--env", "workflow", "--bundle", lambda wildcards: f"results/loras/{wildcards.adapter}"],
            base=config["base"]["name"],
            base_model=BASE.model,
            max_rank=config["deploy"]["max_rank"],
        ),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input checkpoint {input.checkpoint:q} --input config {input.config:q} --input weights {input.weights:q}"
        " --input base-config {input.base_config:q}"
        " --output staged {output.staged:q}"
        " --param adapter {wildcards.adapter:q}"
        " -- scripts/stage_megatron.py"
