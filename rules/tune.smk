# Tune: nemo_toolkit trains the adapter on the .nemo base; what it leaves is exported as Hugging Face PEFT files.

from hermetic.nodes import asked_of_slurm, step_options


rule tune_adapter:
    """LoRA on the answers' tokens; the checkpoint is that of the best validation loss."""
    input:
        venv=local(venv(TUNING)),
        base=expand("results/base/{base}.nemo", base=config["base"]["name"]),
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
        **asked_of_slurm(config["nodes"]),
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        code=code(TUNING, "scripts/tune_adapter.py"),
        environment=TUNING,
        rank=lookup("adapters/{adapter}/rank", within=config),
        alpha=lookup("adapters/{adapter}/alpha", within=config),
        dropout=lookup("adapters/{adapter}/dropout", within=config),
        target_modules=lookup("adapters/{adapter}/target_modules", within=config),
        learning_rate=lookup("adapters/{adapter}/learning_rate", within=config),
        max_steps=lookup("adapters/{adapter}/max_steps", within=config),
        micro_batch_size=lookup("adapters/{adapter}/micro_batch_size", within=config),
        global_batch_size=lookup("adapters/{adapter}/global_batch_size", within=config),
        sequence_length=lookup("adapters/{adapter}/sequence_length", within=config),
        pack_length=lookup("adapters/{adapter}/pack_length", within=config),
        kernels=lookup("adapters/{adapter}/kernels", within=config),
        products=lookup("adapters/{adapter}/products", within=config),
        activations=lookup("adapters/{adapter}/activations", within=config),
        weights=lookup("adapters/{adapter}/weights", within=config),
        attention=lookup("adapters/{adapter}/attention", within=config),
        validation_interval=lookup("adapters/{adapter}/validation_interval", within=config),
        validation_limit=lookup("adapters/{adapter}/validation_limit", within=config),
        patience=lookup("adapters/{adapter}/patience", within=config),
        seed=lookup("adapters/{adapter}/seed", within=config),
        checkpoint_interval=lookup("adapters/{adapter}/checkpoint_interval", within=config),
        devices=ON_GPUS,
        spread=step_options(config["nodes"]),
        nodes=lookup("nodes", within=config),
        threads=lookup("threads", within=config),
    shell:
        "python scripts/step.py --env {params.environment:q} {params.devices:q} {params.spread:q} --threads {params.threads:q} --memory {resources.mem_mb} --log {log:q}"
        " --input base {input.base:q} --input train {input.train:q} --input validation {input.validation:q}"
        " --output checkpoint {output.checkpoint:q} --output metrics {output.metrics:q}"
        " --param rank {params.rank:q} --param alpha {params.alpha:q} --param dropout {params.dropout:q}"
        " --param target-modules {params.target_modules:q} --param learning-rate {params.learning_rate:q}"
        " --param max-steps {params.max_steps:q} --param micro-batch-size {params.micro_batch_size:q}"
        " --param global-batch-size {params.global_batch_size:q}"
        " --param sequence-length {params.sequence_length:q} --param pack-length {params.pack_length:q}"
        " --param kernels {params.kernels:q} --param products {params.products:q}"
        " --param activations {params.activations:q} --param weights {params.weights:q}"
        " --param attention {params.attention:q}"
        " --param validation-interval {params.validation_interval:q}"
        " --param validation-limit {params.validation_limit:q} --param patience {params.patience:q}"
        " --param seed {params.seed:q} --param threads {params.threads:q} --param nodes {params.nodes:q}"
        " --keep resume --setting checkpoint-interval {params.checkpoint_interval:q}"
        " -- scripts/tune_adapter.py"


rule export_adapter:
    """Write the adapter as PEFT, vLLM and NIM read it, with a model card."""
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
        code=code("tune", "scripts/export_adapter.py"),
        model=BASE.model,
        licence=BASE.entry.get("licence") or "",
        revision=BASE.entry.get("revision") or "",
    shell:
        "python scripts/step.py --env tune --memory {resources.mem_mb} --log {log:q}"
        " --input checkpoint {input.checkpoint:q} --input metrics {input.metrics:q}"
        " --output config {output.config:q} --output weights {output.weights:q} --output card {output.card:q}"
        " --param adapter {wildcards.adapter:q} --param model {params.model:q}"
        " --param licence {params.licence:q} --param revision {params.revision:q}"
        " -- scripts/export_adapter.py"
