"""The action: everything a step's result depends on, and its key."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from faults import BadInput
from hermetic.closure import code_digest
from hermetic.digests import file_digest
from hermetic.environments import lock_digest


@dataclass(frozen=True)
class Action:
    """One declared run of one script.

    `inputs` and `outputs` map an option of the script to its files, `params` to its values; all keep their order.
    """

    script: Path
    environment: str
    inputs: dict[str, list[Path]]
    outputs: dict[str, list[Path]]
    params: dict[str, list[str]]
    threads: int = 1
    devices: int = 0
    network: bool = False
    secrets: tuple[str, ...] = ()
    input_digests: dict[Path, str] = field(default_factory=dict)

    def with_digests(self) -> "Action":
        """Return the action with the sha256 of every input. Raises `BadInput` for a missing one."""
        digests = {}
        for path in dict.fromkeys(path for paths in self.inputs.values() for path in paths):
            if not path.is_file():
                raise BadInput(f"{path}: declared as an input but {'a folder' if path.is_dir() else 'missing'}")
            digests[path] = file_digest(path)
        return replace(self, input_digests=digests)

    def arguments(self, outputs_under: Path) -> list[str]:
        """Return the script's command line, with each output placed below `outputs_under`."""
        options: list[str] = []
        for name, paths in self.inputs.items():
            options += [f"--{name}", *map(str, paths)]
        for name, paths in self.outputs.items():
            options += [f"--{name}", *(str(outputs_under / path) for path in paths)]
        for name, values in self.params.items():
            options += [f"--{name}", *values]
        return options

    def description(self) -> dict[str, object]:
        """Return what the key covers. Files stand under their base names, which is how a script tells them apart."""
        return {
            "version": 1,
            "script": self.script.name,
            "code": code_digest(self.script),
            "lock": lock_digest(self.environment),
            "inputs": {
                name: [[path.name, self.input_digests[path]] for path in paths] for name, paths in self.inputs.items()
            },
            "outputs": {name: [path.name for path in paths] for name, paths in self.outputs.items()},
            "params": self.params,
            "threads": self.threads,
            "devices": self.devices,
        }

    def key(self) -> str:
        """Return the action key: sha256 over the description as JSON with sorted keys, no spaces, ASCII only."""
        text = json.dumps(self.description(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()
