"""Turn a GGUF file into the Hugging Face files that NeMo, PEFT and vLLM read: weights in float32, and one end token."""

import argparse
import json
import os
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.models.base_checks import check_base, named

# Names of the machine or of transformers' version: nothing of the model.
NOISE = ("_name_or_path", "_model_name_or_path", "_from_model_config", "transformers_version")


def main() -> None:
    """Read the options, convert in scratch, check, and put the files in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="the Hugging Face files to write")
    options = parser.parse_args()
    fields = read_fields(options.gguf)
    with tempfile.TemporaryDirectory() as scratch:
        convert(options.gguf, fields, Path(scratch))
        made = named(Path(scratch).iterdir())
        if wrong := sorted(set(made) ^ set(named(options.files))):
            raise BadInput(f"--files: {wrong[0]} is made from a GGUF file or asked for, but not both")
        check_base(made.values())
        for path in options.files:
            shutil.copyfile(made[path.name], path)


def read_fields(gguf: Path) -> dict[str, Any]:
    """Return the GGUF file's metadata. Raises `BadInput` if it is not a GGUF file of a Llama-shaped model."""
    from gguf import GGUFReader

    try:
        fields = {key: field.contents() for key, field in GGUFReader(gguf).fields.items()}
    except FileNotFoundError:
        raise BadInput(f"{gguf}: no such file") from None
    except (ValueError, IndexError, KeyError) as error:
        raise BadInput(f"{gguf}: not a whole GGUF file ({error})") from None
    if fields.get("general.architecture") != "llama":
        raise BadInput(
            f"{gguf}: architecture {fields.get('general.architecture')!r}, but only Llama-shaped bases can be tuned "
            "and served: set base.name to another base"
        )
    return fields


def convert(gguf: Path, fields: dict[str, Any], folder: Path) -> None:
    """Write the Hugging Face files into `folder`."""
    os.environ["TQDM_DISABLE"] = "1"  # transformers' bar would be drawn into the step's log; read on import
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    from adapter_build.models.gguf_tokenizer import gguf_tokenizer

    tokenizer = gguf_tokenizer(fields, gguf)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, torch_dtype=torch.float32)
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model.config.update(ends)
    model.generation_config = GenerationConfig(**ends)
    # GGUF holds it as float32: 1e-05 came back as 9.999999747378752e-06.
    model.config.rms_norm_eps = shortest_float32(model.config.rms_norm_eps)
    model.save_pretrained(folder, max_shard_size="1000GB")
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    rewrite(folder / "config.json")
    rewrite(folder / "generation_config.json")
    # transformers strips "Fast" from it; only the fast class reads tokenizer.json as it stands, in every version.
    rewrite(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def rewrite(path: Path, **changes: str) -> None:
    """Leave out of a JSON file what says nothing of the model, and make the changes."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {key: value for key, value in content.items() if key not in NOISE}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def shortest_float32(number: float) -> float:
    """Return the shortest decimal that is the same float32."""
    for digits in range(1, 10):
        short = float(f"{number:.{digits}g}")
        if struct.pack("f", short) == struct.pack("f", number):
            return short
    return number


if __name__ == "__main__":
    run(main)
