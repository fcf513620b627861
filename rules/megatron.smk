# Megatron: with tune.backend nemo-24.07 these four take the place of convert, tune and stage: NVIDIA's own programs, in
# its container by digest, make the base's .nemo and the adapter's, and NIM 1.x gets that as it is.


# A container even where the other steps run on the host.
IN_CONTAINER = ["--runtime", "apptainer" if RUNTIME.name == "apptainer" else "docker"]
# Of the base's Hugging Face files, what its .nemo names by its repository.
TOKENIZER = [path for path in BASE.files if path.endswith((".json", ".model")) and ".safetensors" not in path]
STAGED = ["results/loras/{adapter}/{adapter}.nemo"]


if config["base"]["nemo"]:

    rule convert_base:
        """Take the base's .nemo that NGC gave: nothing of it is converted."""
        input:
            venv=local(venv("workflow")),
            source=local(config["base"]["nemo"]),
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
            sha256=lookup("base/nemo_sha256", within=config),
        shell:
            "python scripts/step.py --env workflow --memory {resources.mem_mb} --log {log:q}"
            " --input source {input.source:q}"
            " --output nemo {output.nemo:q}"
            " --param sha256 {params.sha256:q}"
            " -- scripts/take_megatron.py"

else:

    rule convert_base:
        """Make the base's .nemo of its Hugging Face files, by the container's own converter."""
        input:
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
            mem_mb=growing(100000),
            runtime=growing(60),
        params:
            code=code(NEMO.name, "scripts/convert_megatron.py"),
            environment=NEMO.name,
            image=NEMO.reference,
            container=IN_CONTAINER,
            devices=ON_GPUS,
            threads=lookup("threads", within=config),
        shell:
            "python scripts/step.py --env {params.environment:q} {params.container:q} {params.devices:q} --threads {params.threads:q} --memory {resources.mem_mb} --log {log:q}"
            " --input files {input.files:q}"
            " --output nemo {output.nemo:q}"
            " --param image {params.image:q}"
            " -- scripts/convert_megatron.py"


rule tune_adapter:
    """The tutorial's own run: LoRA by megatron_gpt_finetuning.py; the weights of the best validation loss."""
    input:
        base=expand("results/base/{base}.nemo", base=config["base"]["name"]),
        tokenizer=TOKENIZER,
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
        environment=NEMO.name,
        image=NEMO.reference,
        container=IN_CONTAINER,
        devices=ON_GPUS,
        gpus=lookup("devices", within=config),
        threads=lookup("threads", within=config),
        rank=lookup("adapters/{adapter}/rank", within=config),
        alpha=lookup("adapters/{adapter}/alpha", within=config),
        dropout=lookup("adapters/{adapter}/dropout", within=config),
        target_modules=lookup("adapters/{adapter}/target_modules", within=config),
        learning_rate=lookup("adapters/{adapter}/learning_rate", within=config),
        max_steps=lookup("adapters/{adapter}/max_steps", within=config),
        micro_batch_size=lookup("adapters/{adapter}/micro_batch_size", within=config),
        global_batch_size=lookup("adapters/{adapter}/global_batch_size", within=config),
        sequence_length=lookup("adapters/{adapter}/sequence_length", within=config),
        validation_interval=lookup("adapters/{adapter}/validation_interval", within=config),
        validation_limit=lookup("adapters/{adapter}/validation_limit", within=config),
        patience=lookup("adapters/{adapter}/patience", within=config),
        products=lookup("adapters/{adapter}/products", within=config),
        seed=lookup("adapters/{adapter}/seed", within=config),
    shell:
        "python scripts/step.py --env {params.environment:q} {params.container:q} {params.devices:q} --threads {params.threads:q} --memory {resources.mem_mb} --log {log:q}"
        " --input base {input.base:q} --input tokenizer {input.tokenizer:q}"
        " --input train {input.train:q} --input validation {input.validation:q}"
        " --output checkpoint {output.checkpoint:q} --output metrics {output.metrics:q}"
        " --param image {params.image:q} --param devices {params.gpus:q}"
        " --param rank {params.rank:q} --param alpha {params.alpha:q} --param dropout {params.dropout:q}"
        " --param target-modules {params.target_modules:q} --param learning-rate {params.learning_rate:q}"
        " --param max-steps {params.max_steps:q} --param micro-batch-size {params.micro_batch_size:q}"
        " --param global-batch-size {params.global_batch_size:q}"
        " --param sequence-length {params.sequence_length:q}"
        " --param validation-interval {params.validation_interval:q}"
        " --param validation-limit {params.validation_limit:q} --param patience {params.patience:q}"
        " --param products {params.products:q} --param seed {params.seed:q}"
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
        model=BASE.model,
        licence=BASE.entry.get("licence") or "",
        revision=BASE.entry.get("revision") or "",
        rank=lookup("adapters/{adapter}/rank", within=config),
        alpha=lookup("adapters/{adapter}/alpha", within=config),
        target_modules=lookup("adapters/{adapter}/target_modules", within=config),
    shell:
        "python scripts/step.py --env tune --memory {resources.mem_mb} --log {log:q}"
        " --input checkpoint {input.checkpoint:q} --input metrics {input.metrics:q}"
        " --output config {output.config:q} --output weights {output.weights:q} --output card {output.card:q}"
        " --param adapter {wildcards.adapter:q} --param model {params.model:q}"
        " --param licence {params.licence:q} --param revision {params.revision:q}"
        " --param rank {params.rank:q} --param alpha {params.alpha:q}"
        " --param target-modules {params.target_modules:q}"
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
        base=lookup("base/name", within=config),
        model=BASE.model,
        max_rank=lookup("deploy/max_rank", within=config),
        bundle="results/loras/{adapter}",
    shell:
        "python scripts/step.py --env workflow --memory {resources.mem_mb} --log {log:q}"
        " --input checkpoint {input.checkpoint:q} --input config {input.config:q} --input weights {input.weights:q}"
        " --input base-config {input.base_config:q}"
        " --output staged {output.staged:q} --bundle {params.bundle:q}"
        " --param adapter {wildcards.adapter:q} --param base {params.base:q}"
        " --param base-model {params.model:q} --param max-rank {params.max_rank:q}"
        " -- scripts/stage_megatron.py"
