"""Put a Megatron adapter into the model store, `loras/<name>/<name>.nemo` as NIM 1.x reads it, if it is sound.

Its numbers are checked in the PEFT files that were made of it, as those of any other adapter are.
"""

import argparse
from pathlib import Path

import find_package  # noqa: F401
from adapter_build.core.atomic_file import copy_atomically
from adapter_build.core.faults import BadInput, run
from adapter_build.megatron.nemo_files import check_adapter
from adapter_build.megatron.programs import fused
from adapter_build.models.adapter_checks import check_config, check_name, check_weights
from adapter_build.models.llama_shape import llama_modules


def main() -> None:
    """Check the adapter whole, then copy its .nemo byte for byte."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True, help="the adapter's name")
    parser.add_argument("--checkpoint", required=True, type=Path, help="its Megatron .nemo")
    parser.add_argument("--config", required=True, type=Path, help="the adapter_config.json made of it")
    parser.add_argument("--weights", required=True, type=Path, help="the adapter_model.safetensors made of it")
    parser.add_argument("--base", required=True, help="the name under which the base is served")
    parser.add_argument("--base-config", required=True, type=Path, help="that base's config.json")
    parser.add_argument("--base-model", required=True, help="the base's true name")
    parser.add_argument("--max-rank", required=True, type=int, help="greatest rank the server takes (deploy.max_rank)")
    parser.add_argument("--staged", required=True, type=Path, help="where the copy goes: alone in a folder of its name")
    options = parser.parse_args()
    name = options.adapter
    check_name(name, options.base)
    modules, layers = llama_modules(options.base_config)
    config = check_config(options.config, options.base_model, modules, options.max_rank, name, "nim-1")
    network = check_adapter(options.checkpoint, config["r"], config["lora_alpha"], fused(config["target_modules"]))
    if network["num_layers"] != layers:
        raise BadInput(f"{options.checkpoint}: has {network['num_layers']} layers, its base {layers}: check base.nemo")
    check_weights(options.weights, config, modules, layers, name)
    copy_atomically({options.checkpoint: options.staged})


if __name__ == "__main__":
    run(main)
