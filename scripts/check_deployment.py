"""Serve every staged adapter beside its base, ask both, and write the sentinel if every check passes.

The sentinel holds the findings and the digests that they are about, but no time, port or host. The engine is stopped
in the end, however the checks went.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import find_package  # noqa: F401
from adapter_build.core.atomic_file import replacing
from adapter_build.core.digests import set_digest
from adapter_build.core.faults import BadInput, run
from adapter_build.core.strict_json import read_object
from adapter_build.nim import engine as nim_engine
from adapter_build.nim.settings import from_text
from adapter_build.serving import embedded_engine
from adapter_build.serving.deployment_checks import CHECKS, CheckTerms, check, served_length, special_tokens
from adapter_build.serving.deployment_prompts import PREDICTIONS, Row, deployment_prompts
from adapter_build.serving.engine_command import MAX_MODEL_LEN, SEQUENCES, context_length
from adapter_build.serving.inference_client import MAX_TOKENS
from adapter_build.serving.request_schema import FILE as DESCRIPTION


def main() -> None:
    """Start the engine, make every check, stop the engine, write the sentinel."""
    parser = argparse.ArgumentParser(description=__doc__)
    paths = {"required": True, "nargs": "+", "type": Path, "metavar": "PATH"}
    parser.add_argument("--engine", required=True, choices=["embedded", "nim"])
    parser.add_argument("--nim", help="engine nim: its settings, as nim.settings.NimSettings.text() gives them")
    parser.add_argument("--base", required=True, help="the name the base is served under")
    parser.add_argument("--files", **paths, help="the base's Hugging Face files")
    parser.add_argument("--staged", **paths, help="the files of every staged adapter, in a folder of its name")
    parser.add_argument("--predictions", **paths, help=f"one ADAPTER{PREDICTIONS} per adapter, from its evaluation")
    parser.add_argument(
        "--description", type=Path, default=DESCRIPTION, help="engine embedded: schemas/openapi.json, which it reads"
    )
    parser.add_argument("--port", required=True, type=int, help="TCP port on loopback; 0: any free one (deploy.port)")
    parser.add_argument("--timeout", required=True, type=float, help="seconds to become ready (deploy.timeout)")
    parser.add_argument("--threads", required=True, type=int, help="threads of the engine")
    parser.add_argument(
        "--context-length", type=int, default=MAX_MODEL_LEN, help="engine embedded: deploy.embedded.context_length"
    )
    parser.add_argument("--max-new-tokens", type=int, default=MAX_TOKENS, help="of an answer, as in its evaluation")
    parser.add_argument(
        "--differing-answers", type=int, default=0, help="that may not be evaluation's (deploy.differing_answers)"
    )
    parser.add_argument("--ready", required=True, type=Path, help="the sentinel to write")
    arguments = parser.parse_args()
    if (arguments.engine == "nim") != bool(arguments.nim):
        parser.error("--nim: NIM's settings, for --engine nim alone")

    if not arguments.description.samefile(DESCRIPTION):
        parser.error(f"--description: the engine reads {DESCRIPTION}, and no other")

    adapters = _by_adapter(arguments.staged)
    specials = special_tokens(arguments.files)
    folders = {name: files[0].parent for name, files in adapters.items()}
    settings = from_text(arguments.nim) if arguments.engine == "nim" else None
    config = _base_config(arguments.files)
    positions, length = config["max_position_embeddings"], context_length(config, arguments.context_length)

    def asked(length: int, longest: int = 0) -> dict[str, list[Row]]:
        return {
            name: deployment_prompts(_predictions(arguments.predictions, name), name, length, most, longest)
            for name in sorted(adapters)
        }

    most = arguments.max_new_tokens
    prompts = asked(positions if settings else length, 0 if settings else positions)
    how = {"port": arguments.port, "timeout": arguments.timeout}
    with (
        nim_engine.serving(arguments.base, folders, settings, **how)
        if settings
        else embedded_engine.serving(
            arguments.base, arguments.files, folders, threads=arguments.threads, context=length, **how
        )
    ) as server:
        if settings:  # NIM may say how long a prompt can be; if not, the embedded engine's length is safe
            prompts = asked(min(positions, served_length(server.url, arguments.base) or MAX_MODEL_LEN))
        # On a GPU, answers that are made together may be rounded differently.
        asking = CheckTerms(most, 1 if settings else SEQUENCES, arguments.differing_answers)
        checked = check(server.url, arguments.base, prompts, specials, asking)
    sentinel = {
        "engine": arguments.engine,
        "engine_version": f"nim {server.version}" if settings else server.version,
        "image_digest": settings.digest if settings else None,
        "base": {"name": arguments.base, "digest": _digest(arguments.files)},
        "adapters": [{"name": name, "digest": _digest(adapters[name]), **checked[name]} for name in sorted(adapters)],
        "checks": list(CHECKS),
        "max_new_tokens": most,
        "differing_answers_allowed": arguments.differing_answers,
    }
    _write(arguments.ready, sentinel)


def _by_adapter(staged: Sequence[Path]) -> dict[str, list[Path]]:
    adapters = defaultdict(list)
    for path in staged:
        if not path.is_file():
            raise BadInput(f"{path}: no such file: run `make`")
        adapters[path.parent.name].append(path)
    return dict(adapters)


def _predictions(paths: Sequence[Path], adapter: str) -> Path:
    """Return the file of an adapter's predictions."""
    found = next((path for path in paths if path.name == f"{adapter}{PREDICTIONS}"), None)
    if found is None:
        raise BadInput(f"--predictions: none is named {adapter}{PREDICTIONS}")
    return found


def _base_config(files: Sequence[Path]) -> dict[str, Any]:
    """Return the content of the base's config.json."""
    path = next((path for path in files if path.name == "config.json"), None)
    if path is None:
        raise BadInput("--files: the base has no config.json: check base.name")
    return read_object(path, "run: make")


def _digest(files: Sequence[Path]) -> str:
    return set_digest({path.name: path for path in files})


def _write(path: Path, sentinel: dict[str, Any]) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(sentinel, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
