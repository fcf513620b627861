"""A built adapter: its results folder, and the steps that made and measured it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from adapter_build.core.digests import combine, file_digest
from adapter_build.core.faults import BadInput
from adapter_build.core.printable import removal
from adapter_build.lineage.attested_steps import Step, chain, made, read_lineage, staged_adapters


@dataclass(frozen=True)
class Build:
    """An adapter in a results folder; `steps` are its chain, `made` is file → sha256 of every step's outputs there."""

    results: Path
    adapter: str
    steps: dict[str, Step]
    made: dict[str, str]

    @property
    def staged(self) -> list[str]:
        """The names of the adapter's files."""
        return sorted(self.steps[f"stage_adapter/{self.adapter}"].made)

    @property
    def digest(self) -> str:
        """The adapter's own digest."""
        return combine({Path(name).name: self.made[name] for name in self.staged})

    def exported(self, option: str) -> str:
        """Return an option of the adapter's export: the base's true name (model), licence or revision; may be empty."""
        return " ".join(self.step(f"export_adapter/{self.adapter}").parameters.get(option, []))

    def step(self, name: str) -> Step:
        """Return a step of the chain. Raises `BadInput` where its attestation is missing."""
        if name not in self.steps:
            raise BadInput(f"{self.results / 'lineage' / name}.json: no such attestation: make builds it anew")
        return self.steps[name]

    def file(self, name: str) -> Path:
        """Return the path of an artifact from its name in an attestation, results/…."""
        return self.results / Path(name).relative_to("results")

    def check(self, files: Iterable[Path]) -> None:
        """Raise `BadInput` for a file that is missing or not as its step left it."""
        for file in files:
            if not file.is_file():
                raise BadInput(f"{file}: no such file: make")
            if file_digest(file) != self.made.get(f"results/{file.relative_to(self.results).as_posix()}"):
                raise BadInput(f"{file}: not what its step made: {removal(file)}")


def built_adapter(name: str) -> Build:
    """Return the build that a results folder, or a staged adapter's folder in one, names.

    Raises `BadInput` for any other folder, and for a results folder without exactly one adapter.
    """
    path = Path(name)
    staged = path.absolute().parent.name == "loras"
    results = Path(os.path.normpath(path / "../..")) if staged else path
    steps = read_lineage(results)
    known = staged_adapters(steps)
    if not staged and len(known) != 1:
        raise BadInput(f"{path}: has {len(known)} adapters ({', '.join(known)}): name one, as in {path}/loras/NAME")
    return _build(results, path.absolute().name if staged else known[0], steps)


def build_of(results: Path, adapter: str) -> Build:
    """Return the build of an adapter in a results folder. Raises `BadInput` where it was not staged."""
    return _build(results, adapter, read_lineage(results))


def _build(results: Path, adapter: str, steps: dict[str, Step]) -> Build:
    return Build(results, adapter, chain(steps, adapter), made(steps))
