# Megatron: with tune.backend nemo-24.07 these four take the place of convert, tune and stage: NVIDIA's own programs, in
# its container by digest, make the base's .nemo and the adapter's, and NIM 1.x gets that as it is.


# A container even where the other steps run on the host.
IN_NEMO = {**COMPUTING, "runtime": "apptainer" if RUNTIME.name == "apptainer" else "docker"}
# Of the base's Hugging Face files, what its .nemo names by its repository.
TOKENIZER = [path for path in BASE.files if path.endswith((".json", ".model")) and ".safetensors" not in path]
STAGED = ["results/loras/{adapter}/{adapter}.nemo"]
# fmt: off
# The settings of an adapter that its programs are told.
TUNED = of_adapter(config, [
    "rank", "alpha", "dropout", "target_modules", "learning_rate", "max_steps", "micro_batch_size", "global_batch_size",
    "sequence_length", "validation_interval", "validation_limit", "patience", "products", "seed",
])
# fmt: on
SHAPE = of_adapter(config, ["rank", "alpha", "target_modules"])
PINNED = {"sha256": config["base"]["nemo_sha256"]}
IMAGE = {"image": NEMO.reference}
DEVICES = {"devices": config["devices"]}
SERVED = {"base": config["base"]["name"], "base_model": BASE.model, "max_rank": config["deploy"]["max_rank"]}

if config["base"]["nemo"]:

    rule convert_base:
        """Take the base's .nemo that NGC gave: nothing of it is converted."""
        input:
            local(venv("workflow")),
            FACTS,  # nothing is tuned on a base that would be served as something else
            source=local(plain([config["base"]["nemo"]])),
        output:
            nemo="results/base/{base}.nemo",
        log:
            "logs/convert_base/{base}.log",
        benchmark:
            "benchmarks/convert_base/{base}.tsv"
        threads: 1
        resources:
            **raised_by_retry(mem_mb=2000, runtime=60),
        params:
            **step("workflow", "take_megatron.py", PINNED, user_files={"source": [config["base"]["nemo"]]}),
        shell:
            STEP

else:

    rule convert_base:
        """Make the base's .nemo of its Hugging Face files, by the container's own converter."""
        input:
            FACTS,
            files=BASE.files,
        output:
            nemo="results/base/{base}.nemo",
        log:
            "logs/convert_base/{base}.log",
        benchmark:
            "benchmarks/convert_base/{base}.tsv"
        threads: config["threads"]
        resources:
            **GPUS,
            **raised_by_retry(mem_mb=100000, runtime=60),
        params:
            **step(NEMO.name, "convert_megatron.py", IMAGE, **IN_NEMO),
        shell:
            STEP


rule tune_adapter:
    """The tutorial's own run: LoRA by megatron_gpt_finetuning.py; the weights of the best validation loss."""
    input:
        base=expand("results/base/{base}.nemo", base=config["base"]["name"]),
        tokenizer=TOKENIZER,
        base_facts=FACTS,
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
        **raised_by_retry(mem_mb=100000, runtime=240),
    params:
        **step(NEMO.name, "tune_megatron.py", IMAGE, DEVICES, TUNED, **IN_NEMO),
    shell:
        STEP


rule export_adapter:
    """Write the adapter's numbers as PEFT reads them too, for evaluation and checks."""
    input:
        local(venv("tune")),
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
        **raised_by_retry(mem_mb=2000, runtime=10),
    params:
        **step("tune", "export_megatron.py", BASE.named, SHAPE, wildcards=["adapter"]),
    shell:
        STEP


rule stage_adapter:
    """Check the adapter as any other; its .nemo alone goes into the model store, as NIM 1.x reads it."""
    input:
        local(venv("workflow")),
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
        **raised_by_retry(mem_mb=2000, runtime=10),
    params:
        **step("workflow", "stage_megatron.py", SERVED, wildcards=["adapter"], bundle="results/loras/{adapter}"),
    shell:
        STEP
