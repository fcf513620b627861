"""Actions: everything that a step's result depends on, and its key.

Before a step runs, its result is looked up in the store by the action key: the sha256 of a description of all that
decides its bytes. Who computes the same key has the same bytes to expect, on whatever day and machine.

    scripts/tune_adapter.py ──── what it uses of our files ───▶ code    ┐
    containers/tune/requirements.lock ──────── sha256 ────────▶ lock    │
    --base results/base/x.nemo ── path, sha256 of its bytes ──▶ inputs  │   JSON: keys sorted,    sha256
    --checkpoint results/checkpoints/x.nemo ──── path ────────▶ outputs ├─▶ no blanks, ASCII ──────────▶ key
    --rank 16 --seed 42 ─────────── as typed ─────────────────▶ params  │
    OMP_NUM_THREADS ──────────────────────────────────────────▶ threads │
    the instruction set or the card ──────────────────────────▶ device  ┘

Inputs are in it by their bytes, not by the keys of the steps that made them. So a change stops where it makes no
difference: a curation that was rewritten and leaves the same records trains nothing anew, since tuning's inputs, and
with them its key, are as before.

    edit curate_split.py ─▶ its key is another: it runs ─▶ train.jsonl has the same sha256 ─▶ tuning's key is the same

What only decides how, where or how fast a step runs is left out: with it in the key, a result could not be shared
between a laptop and a cluster. Times are never asked: a checkout or a copy gives files new ones.
"""

import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.closure import code_digest
from adapter_build.hermetic.devices import device_class
from adapter_build.hermetic.environments import lock_digest
from adapter_build.hermetic.input_digests import cached_digest

STORAGE_COPIES = Path(".snakemake/storage")  # local copies of files in a storage of Snakemake (s3://…)
BUILT = ("results", "logs", "benchmarks")


@dataclass(frozen=True)
class Action:
    """One declared run of one script.

    `inputs` and `outputs` map an option of the script to its files, `params` to its values; all keep their order.
    `settings` are params that decide how the script runs and never its result. `keep` is an option of the script that
    takes a folder for resume state (hermetic/resume_state.py). `nodes` of its Slurm job each run the script, which
    divides the work itself. `on_host`: the script starts containers, and so runs in none and in no sandbox. `loopback`:
    its processes communicate by sockets, which takes no network.
    """

    script: Path
    environment: str
    inputs: dict[str, list[Path]]
    outputs: dict[str, list[Path]]
    params: dict[str, list[str]]
    threads: int = 1
    devices: int = 0
    nodes: int = 1
    network: bool = False
    on_host: bool = False
    loopback: bool = False
    secrets: tuple[str, ...] = ()
    settings: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    keep: str | None = None
    input_digests: dict[Path, str] = field(default_factory=dict[Path, str])

    def with_digests(self) -> "Action":
        """Return the action with the sha256 of every input. Raises `BadInput` for a missing one."""
        digests: dict[Path, str] = {}
        for path in dict.fromkeys(path for paths in self.inputs.values() for path in paths):
            if path.is_dir():
                raise BadInput(f"{path}: declared as an input but a folder")
            try:
                digests[path] = cached_digest(path)
            except FileNotFoundError:
                raise BadInput(f"{path}: declared as an input but missing") from None
        return replace(self, input_digests=digests)

    def arguments(self, outputs_under: Path, kept: Path | None) -> list[str]:
        """Return the script's command line, with outputs below `outputs_under` and resume state in `kept`."""
        options: list[str] = []
        for name, paths in self.inputs.items():
            options += [f"--{name}", *map(str, paths)]
        for name, paths in self.outputs.items():
            options += [f"--{name}", *(str(outputs_under / path) for path in paths)]
        for name, values in {**self.params, **self.settings}.items():
            options += [f"--{name}", *values]
        return [*options, f"--{self.keep}", str(kept)] if self.keep else options

    @functools.cached_property
    def description(self) -> dict[str, Any]:
        """Return the description that the key is a digest of: all that the result depends on.

        version  3
        script   the script's file name
        code     `h1:` digest of what the script uses of each file of ours, itself included, by path in the checkout
                 (hermetic/closure.py)
        lock     sha256 of the environment's requirements.lock
        inputs   option → [[path, sha256], …] in the order given: the path in the checkout, for a file outside of it
                 its name alone
        outputs  option → [path, …]
        params   option → [value, …], as on the command line
        threads  how many threads the numeric libraries have
        device   the class of the device (hermetic/devices.py), `any` for a step of one thread

        Not in it: where the checkout lies, the user, the host, the runtime, limits, `--cores`, secrets, the network,
        settings, resume state.
        """
        return {
            "version": 3,
            "script": self.script.name,
            "code": code_digest(self.script),
            "lock": lock_digest(self.environment),
            "inputs": {
                name: [[_named(path), self.input_digests[path]] for path in paths]
                for name, paths in self.inputs.items()
            },
            "outputs": {name: [_named(path) for path in paths] for name, paths in self.outputs.items()},
            "params": self.params,
            "threads": self.threads,
            # Only the bytes of a step in several threads, or on a GPU, depend on the processor.
            "device": device_class(self.devices) if self.devices or self.threads > 1 else "any",
        }

    def key(self) -> str:
        """Return the action key."""
        return key_of(self.description)


def key_of(description: dict[str, Any]) -> str:
    """Return the action key: sha256 over the description as JSON with sorted keys, no spaces, ASCII only."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _named(path: Path) -> str:
    """Return the name that a file has in every checkout."""
    return path.name if path.is_absolute() else name_of(path).as_posix()


def name_of(path: Path) -> Path:
    """Return the path of a file in a checkout without storage: for .snakemake/storage/s3/…/results/x, results/x.

    Raises `StopIteration` for a copy of a file that no build makes.
    """
    if not path.is_relative_to(STORAGE_COPIES):
        return path
    return Path(*path.parts[next(index for index, part in enumerate(path.parts) if part in BUILT) :])
