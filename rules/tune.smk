# Tune: nemo_toolkit trains the adapter on the .nemo base; what it leaves is exported as Hugging Face PEFT files.

from adapter_build.hermetic.nodes import asked_of_slurm, step_options
# What of an adapter's settings decides its weights; how often its state is saved does not.
# fmt: off
TUNED = [
    "rank", "alpha", "dropout", "target_modules", "learning_rate", "max_steps", "micro_batch_size", "global_batch_size",
    "sequence_length", "pack_length", "kernels", "products", "activations", "weights", "attention",
    "validation_interval", "validation_limit", "patience", "seed",
]
# fmt: on
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
        options=given(
            *["--env", TUNING, *ON_GPUS, *step_options(config["nodes"]), "--threads", config["threads"]],
            *["--keep", "resume", "--setting", "checkpoint-interval"],
            lookup("adapters/{adapter}/checkpoint_interval", within=config),
            **of_adapter(config, TUNED),
            threads=config["threads"],
            nodes=config["nodes"],
        ),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input base {input.base:q} --input train {input.train:q} --input validation {input.validation:q}"
        " --output checkpoint {output.checkpoint:q} --output metrics {output.metrics:q}"
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
        options=given("--env", "tune", **BASE.named),
    shell:
        "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q}"
        " --input checkpoint {input.checkpoint:q} --input metrics {input.metrics:q}"
        " --output config {output.config:q} --output weights {output.weights:q} --output card {output.card:q}"
        " --param adapter {wildcards.adapter:q}"
        " -- scripts/export_adapter.py"
