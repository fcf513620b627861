"""Put an adapter into the model store, `loras/<name>/` as NIM reads it, if servers will serve it as it was trained."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import find_package  # noqa: F401
from adapter_build.core.atomic_file import copy_atomically
from adapter_build.core.faults import BadInput, run
from adapter_build.models.adapter_checks import ENGINES, check_config, check_name, check_weights
from adapter_build.models.adapter_size import BaseNorms
from adapter_build.models.llama_shape import llama_modules

FILES = ("adapter_config.json", "adapter_model.safetensors", "README.md")


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
    copy_atomically({sources[file]: staged[file] for file in FILES})


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


if __name__ == "__main__":
    run(main)
