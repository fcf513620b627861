"""Turn a GGUF file into the Hugging Face files that NeMo, PEFT and vLLM read: weights in float32, and one end token."""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.models.base_checks import check_base, named


def main() -> None:
    """Read the options, convert in scratch, check, and put the files in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="the Hugging Face files to write")
    options = parser.parse_args()
    fields = read_fields(options.gguf)
    from adapter_build.models.gguf_base import convert  # PyTorch and transformers

    with tempfile.TemporaryDirectory() as scratch:
        convert(options.gguf, fields, Path(scratch))
        made = named(Path(scratch).iterdir())
        if wrong := sorted(set(made) ^ set(named(options.files))):
            raise BadInput(f"--files: {wrong[0]} is made from a GGUF file or asked for, but not both")
        check_base(made.values())
        for path in options.files:
            shutil.copyfile(made[path.name], path)


def read_fields(gguf: Path) -> dict[str, Any]:
    """Return a GGUF file's metadata, key → value. Raises `BadInput` if it is not whole, or of no Llama-shaped model."""
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


if __name__ == "__main__":
    run(main)
