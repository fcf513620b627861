"""Serve what a build left in a folder, as `make serve` does."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from adapter_build.hermetic.environments import interpreter
from adapter_build.serving import embedded_engine
from adapter_build.serving.embedded_engine import Server
from adapter_build.serving.served_build import base_files, checked_base, staged_adapters

THREADS = 2
SECONDS_TO_START = 600.0


def serving(
    results: Path, adapters: Mapping[str, Path] | None = None, port: int = 0, threads: int = THREADS
) -> AbstractContextManager[Server]:
    """Serve the base of `results` with its staged adapters, or with `adapters` (name → folder); port 0: any free one.

    Raises `BadInput` where nothing was built.
    """
    base = checked_base(results / "deploy" / "ready.json")
    return embedded_engine.serving(
        base,
        base_files(results / "base" / base),
        adapters or staged_adapters(results / "loras"),
        port=port,
        threads=threads,
        timeout=SECONDS_TO_START,
        python=interpreter("serve"),
    )
