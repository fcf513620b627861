"""Files of an adapter as PEFT reads them, for either backend: adapter_config.json and the model card's front matter."""

import argparse
from pathlib import Path
from typing import Any

import yaml


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the options that the export of either backend takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the adapter's .nemo file")
    parser.add_argument("--metrics", type=Path, required=True, help="losses by step")
    parser.add_argument("--model", required=True, help="the base's true name")
    parser.add_argument("--licence", default="", help="the base's licence")
    parser.add_argument("--revision", default="", help="the commit of the base's repository, if it came from one")
    parser.add_argument("--adapter", required=True, help="the adapter's name")
    parser.add_argument("--config", type=Path, required=True, help="adapter_config.json to write")
    parser.add_argument("--weights", type=Path, required=True, help="adapter_model.safetensors to write")
    parser.add_argument("--card", type=Path, required=True, help="README.md to write")
    return parser


def base_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return model, licence and revision of the base, as the adapter's files name them."""
    return {"model": options.model, "licence": options.licence or "other", "revision": options.revision or None}


def adapter_config(settings: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Return the content of adapter_config.json: the keys that PEFT, vLLM and NIM need, and no library's version."""
    return {
        "base_model_name_or_path": base["model"],
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": settings["alpha"],
        "lora_dropout": settings["dropout"],
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": settings["rank"],
        "revision": base["revision"],
        "target_modules": settings["target_modules"],
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def front_matter(base: dict[str, Any]) -> str:
    """Return the YAML that a model card begins with."""
    return yaml.safe_dump(
        {
            "base_model": base["model"],
            "library_name": "peft",
            "license": base["licence"].lower(),
            "pipeline_tag": "text-generation",
            "tags": ["lora", "nemo"],
        },
        sort_keys=True,
    )
