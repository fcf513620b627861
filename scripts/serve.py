"""Serve every staged adapter beside its base until Ctrl-C, on this machine only, and print a request that works."""

import argparse
import json
import shlex
from pathlib import Path

import embedded_engine
import nim_engine
from base_model import HUGGING_FACE_FILES, base_model
from configuration import check, overlaid
from faults import BadInput, run
from hermetic.environments import interpreter
from inference_client import MAX_TOKENS
from jsonl import read_jsonl
from nim_settings import nim_settings


def main() -> None:
    """Start the engine, say how to ask it, wait for a signal, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", default=Path("results"), type=Path, help="what the build made (default: results)")
    parser.add_argument(
        "--base", default="", help="a folder of results/base (default: the base of the last checked build)"
    )
    parser.add_argument(
        "--config", default=[Path("config.yaml")], nargs="+", type=Path, help="config.yaml, then overlays: for deploy.*"
    )
    parser.add_argument("--port", type=int, help="TCP port on loopback; 0: any free one (default: deploy.port)")
    parser.add_argument("--log", default=Path("logs/serve.log"), type=Path, help="the engine's log")
    arguments = parser.parse_args()

    config = overlaid(*arguments.config)
    lock = check(config)
    deploy = config["deploy"]
    base = arguments.base or checked_base(arguments.results / "deploy" / "ready.json")
    nim = deploy["engine"] == "nim"
    files = [] if nim else base_files(arguments.results / "base" / base)
    adapters = staged_adapters(arguments.results / "loras")
    how = {
        "port": deploy["port"] if arguments.port is None else arguments.port,
        "timeout": deploy["timeout"],
        "log": arguments.log,
    }
    if nim:
        engine = "NIM, the container of deploy.nim.image"
        starting = nim_engine.serving(
            base, adapters, nim_settings(config, base_model(config["base"], lock).model), **how
        )
    else:
        engine = "the embedded engine (vLLM on this CPU)"
        python = interpreter("serve")
        starting = embedded_engine.serving(base, files, adapters, threads=config["threads"], python=python, **how)
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    print(f"starting {engine}, log in {arguments.log} …", flush=True)
    try:
        with starting as server:
            adapter = next(iter(adapters))
            predictions = arguments.results / "evaluation" / f"{adapter}.predictions.jsonl"
            print(f"serving {base} and {', '.join(adapters)} on {server.url}; Ctrl-C stops it. Try:\n")
            print(curl(server.url, adapter, prompt(predictions)) + "\n", flush=True)
            server.wait()
    except SystemExit:  # what TERM and Ctrl-C become: the asked-for end of a server
        print("stopped", flush=True)


def checked_base(sentinel: Path) -> str:
    """Return the base that the sentinel names: the one its adapters were checked on."""
    try:
        return json.loads(sentinel.read_text(encoding="utf-8"))["base"]["name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{sentinel}: no checked build there: run `make` first, or name the base with --base") from None


def base_files(folder: Path) -> list[Path]:
    """Return the base's Hugging Face files, sharded weights included. Raises `BadInput` if it was not built."""
    found = sorted(folder.glob("*")) if folder.is_dir() else []
    names = set(HUGGING_FACE_FILES)
    files = [path for path in found if path.name in names or ".safetensors" in path.suffixes]
    if not any(path.name == "config.json" for path in files):
        raise BadInput(f"{folder}: no base model there: run `make` first, or name another with --base")
    return files


def staged_adapters(folder: Path) -> dict[str, Path]:
    """Return name → folder of every staged adapter. Raises `BadInput` if there is none."""
    adapters = {path.parent.name: path.parent for path in sorted(folder.glob("*/adapter_config.json"))}
    if not adapters:
        raise BadInput(f"{folder}: no staged adapter there: run `make` first")
    return adapters


def prompt(predictions: Path) -> str:
    """Return the shortest prompt that the adapter was evaluated on: it reads as the adapter was trained."""
    if not predictions.is_file():
        raise BadInput(f"{predictions}: no such file: run `make` first")
    return min((row["input"] for row in read_jsonl(predictions)), key=lambda text: (len(text), text))


def curl(url: str, model: str, text: str) -> str:
    """Return a command line that asks `model` to complete `text`."""
    body = {"model": model, "prompt": text, "max_tokens": MAX_TOKENS, "temperature": 0}
    return f"curl -s {url}/v1/completions -H 'content-type: application/json' -d {shlex.quote(json.dumps(body))}"


if __name__ == "__main__":
    run(main)
