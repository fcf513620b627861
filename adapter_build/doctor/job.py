"""What doctor.py looks at everything for: one configuration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_build.models.base_model import BaseModel

Finding = tuple[str, str]  # ok | warn | FAIL, and what is said


@dataclass(frozen=True)
class Job:
    """What is to be built and served: a checked configuration, what data.lock.yaml says, and the base."""

    config: dict[str, Any]
    base: BaseModel
    lock: dict[str, Any]
    results: Path = Path("results")

    @property
    def nim(self) -> dict[str, Any] | None:
        """deploy.nim, if NIM is the engine."""
        return self.config["deploy"]["nim"] if self.config["deploy"]["engine"] == "nim" else None

    @property
    def base_bytes(self) -> int | None:
        """The size of the base's files; None where the lock does not say."""
        if self.base.source_files:
            return sum(Path(path).stat().st_size for path in self.base.source_files)
        sizes = [(file or {}).get("bytes") for file in self.base.entry["files"].values()]
        return None if None in sizes else sum(sizes)
