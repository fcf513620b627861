"""Serve every staged adapter beside its base, ask both, and write the sentinel if all is as it must be.

The sentinel says what was seen and of what: no time, no port, no host. Whatever was started is stopped again.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import embedded_engine
import nim_engine
from deployment_checks import CHECKS, check, special_tokens
from faults import BadInput, run
from hermetic.digests import set_digest
from jsonl import read_jsonl
from nim_settings import from_text

PREDICTIONS = ".predictions.jsonl"


def main() -> None:
    """Start the engine, make every check, stop the engine, write the sentinel."""
    parser = argparse.ArgumentParser(description=__doc__)
    paths = {"required": True, "nargs": "+", "type": Path, "metavar": "PATH"}
    parser.add_argument("--engine", required=True, choices=["embedded", "nim"])
    parser.add_argument("--nim", help="engine nim: its settings, as nim_settings.NimSettings.text() gives them")
    parser.add_argument("--base", required=True, help="the name the base is served under")
    parser.add_argument("--files", **paths, help="the base's Hugging Face files")
    parser.add_argument("--staged", **paths, help="the files of every staged adapter, in a folder of its name")
    parser.add_argument("--predictions", **paths, help=f"one ADAPTER{PREDICTIONS} per adapter, from its evaluation")
    parser.add_argument("--port", required=True, type=int, help="TCP port on loopback; 0: any free one (deploy.port)")
    parser.add_argument("--timeout", required=True, type=float, help="seconds to become ready (deploy.timeout)")
    parser.add_argument("--threads", required=True, type=int, help="threads of the engine")
    parser.add_argument("--ready", required=True, type=Path, help="the sentinel to write")
    arguments = parser.parse_args()
    if (arguments.engine == "nim") != bool(arguments.nim):
        parser.error("--nim: NIM's settings, for --engine nim alone")

    adapters = _by_adapter(arguments.staged)
    golden = _golden(arguments.predictions, adapters)
    specials = special_tokens(arguments.files)
    folders = {name: files[0].parent for name, files in adapters.items()}
    settings = from_text(arguments.nim) if arguments.engine == "nim" else None
    how = {"port": arguments.port, "timeout": arguments.timeout}
    with (
        nim_engine.serving(arguments.base, folders, settings, **how)
        if settings
        else embedded_engine.serving(arguments.base, arguments.files, folders, threads=arguments.threads, **how)
    ) as server:
        checked = check(server.url, arguments.base, golden, specials)
    sentinel = {
        "engine": arguments.engine,
        "engine_version": f"nim {server.version}" if settings else server.version,
        "image_digest": settings.digest if settings else None,
        "base": {"name": arguments.base, "digest": _digest(arguments.files)},
        "adapters": [{"name": name, "digest": _digest(adapters[name]), **checked[name]} for name in sorted(adapters)],
        "checks": list(CHECKS),
    }
    _write(arguments.ready, sentinel)


def _by_adapter(staged: Sequence[Path]) -> dict[str, list[Path]]:
    adapters = defaultdict(list)
    for path in staged:
        if not path.is_file():
            raise BadInput(f"{path}: no such file: run `make`")
        adapters[path.parent.name].append(path)
    return dict(adapters)


def _golden(predictions: Sequence[Path], adapters: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return, per adapter, the first row of its predictions in which base and adapter both answer, and differently."""
    by_name = {path.name.removesuffix(PREDICTIONS): path for path in predictions}
    golden = {}
    for name in sorted(adapters):
        if name not in by_name:
            raise BadInput(f"--predictions: none is named {name}{PREDICTIONS}")
        rows = (row for row in read_jsonl(by_name[name]) if row["adapter"].strip() and row["base"].strip())
        row = next((row for row in rows if row["adapter"].strip() != row["base"].strip()), None)
        if row is None:
            raise BadInput(
                f"{by_name[name]}: in no row does the adapter answer otherwise than its base: "
                f"raise adapters.{name}.max_steps or adapters.{name}.learning_rate"
            )
        golden[name] = row
    return golden


def _digest(files: Sequence[Path]) -> str:
    return set_digest({path.name: path for path in files})


def _write(path: Path, sentinel: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(sentinel, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    run(main)
