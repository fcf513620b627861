# Tune: nemo_toolkit trains the adapter on the .nemo base; what it leaves is exported as Hugging Face PEFT files.
# fmt: off
# The settings of an adapter that decide its weights; how often its state is saved does not.
TUNED = of_adapter(config, [
    "rank", "alpha", "dropout", "target_modules", "learning_rate", "max_steps", "micro_batch_size", "global_batch_size",
    "sequence_length", "pack_length", "kernels", "products", "activations", "weights", "attention",
    "validation_interval", "validation_limit", "patience", "seed",
])
# fmt: on
SAVED = of_adapter(config, ["checkpoint_interval"])
NODES = {"nodes": config["nodes"]}


rule tune_adapter:
    """LoRA on the answers' tokens; the checkpoint is that of the best validation loss."""
    input:
        local(venv(TUNING)),
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
        **raised_by_retry(mem_mb=4000, runtime=240),
    params:
        **step(TUNING, "tune_adapter.py", TUNED, THREADS, NODES, settings=SAVED, keep="resume", **NODES, **COMPUTING),
    shell:
        STEP


rule export_adapter:
    """Write the adapter as PEFT, vLLM and NIM read it, with a model card."""
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
        **step("tune", "export_adapter.py", BASE.named, wildcards=["adapter"]),
    shell:
        STEP
