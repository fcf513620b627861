"""Put an adapter into the model store, `loras/<name>/` as NIM reads it, if a server will serve it as it was trained."""

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from adapter_checks import ENGINES, check_config, check_weights
from adapter_size import BaseNorms
from faults import BadInput, run
from hermetic.regular_file import open_regular
from llama_shape import llama_modules

FILES = ("adapter_config.json", "adapter_model.safetensors", "README.md")
# A name is a folder, a part of a URL and a model's name at once.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def main() -> None:
    """Check the adapter whole, then copy its files byte for byte."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", required=True, help="the adapter's name")
    parser.add_argument("--adapter-files", required=True, nargs="+", type=Path, metavar="PATH", help=", ".join(FILES))
    parser.add_argument("--base", required=True, help="the name under which the base is served")
    parser.add_argument("--base-config", required=True, type=Path, help="that base's config.json")
    parser.add_argument(
        "--base-weights",
        nargs="*",
        default=[],
        type=Path,
        metavar="PATH",
        help="its safetensors, beside which the adapter's products are measured (default: usual weights of its shape)",
    )
    parser.add_argument("--base-model", required=True, help="the base's true name, which its adapters carry")
    parser.add_argument("--max-rank", required=True, type=int, help="greatest rank the server takes (deploy.max_rank)")
    parser.add_argument(
        "--engine", choices=ENGINES, default="embedded", help="what serves it: NIM 1.x, 2.x or vLLM here"
    )
    parser.add_argument("--staged", required=True, nargs="+", type=Path, metavar="PATH", help="where the copies go")
    arguments = parser.parse_args()

    name = arguments.adapter
    check_name(name, arguments.base)
    sources, staged = _by_name(arguments.adapter_files), _by_name(arguments.staged)
    modules, layers = llama_modules(arguments.base_config)
    config = check_config(
        sources["adapter_config.json"], arguments.base_model, modules, arguments.max_rank, name, arguments.engine
    )
    norms = BaseNorms(arguments.base_weights)
    check_weights(sources["adapter_model.safetensors"], config, modules, layers, name, norms)
    copy_whole({sources[file]: staged[file] for file in FILES})


def check_name(name: str, base: str) -> None:
    """Refuse a name that is no safe folder name or that the base already has."""
    if not SAFE_NAME.fullmatch(name):
        raise BadInput(f"adapters.{name}: a name holds letters, digits, '.', '_' and '-' only: rename it in config")
    if name == base:
        raise BadInput(f"adapters.{name}: has the base's own name, which a server refuses: rename it in config")


def _by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the adapter's files by name: exactly FILES."""
    for path in paths:
        if path.name not in FILES:
            raise BadInput(
                f"{path}: not one of {', '.join(FILES)}; a pickle (.bin) runs code when read and is never served: "
                "export the adapter again"
            )
    named = {path.name: path for path in paths}
    if missing := [name for name in FILES if name not in named]:
        raise BadInput(f"{missing[0]}: the adapter has no such file: export the adapter again")
    return named


def copy_whole(pairs: dict[Path, Path]) -> None:
    """Copy every file beside its target, then rename all: a failing copy leaves nothing at the target."""
    parts = {target: target.with_name(f"{target.name}.part") for target in pairs.values()}
    try:
        for source, target in pairs.items():
            with open_regular(source, links=True) as file, open(parts[target], "wb") as part:
                shutil.copyfileobj(file, part)
        for target, part in parts.items():
            part.replace(target)
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror}") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


if __name__ == "__main__":
    run(main)
