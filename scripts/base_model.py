"""Which files the configured base model consists of, and where each step finds them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import BadInput

HUGGING_FACE_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True)
class BaseModel:
    """A base model: its true name and its files.

    `source_files` lie in the user's own folder, `acquired_files` are what is fetched, `files` are the Hugging Face
    files that steps read; they differ from the acquired ones where that is one GGUF file (`quantized`). `entry` is
    what data.lock.yaml says of it.
    """

    model: str
    entry: dict[str, Any]
    source_files: list[str]
    acquired_files: list[str]
    files: list[str]

    @property
    def quantized(self) -> bool:
        """Whether the Hugging Face files are made from a GGUF file."""
        return self.files != self.acquired_files

    @property
    def named(self) -> dict[str, str]:
        """What an adapter's card says of its base: true name, licence and revision; the latter two may be empty."""
        return {
            "model": self.model,
            "licence": self.entry.get("licence") or "",
            "revision": self.entry.get("revision") or "",
        }

    @property
    def config(self) -> str:
        """The base's config.json."""
        return next(path for path in self.files if Path(path).name == "config.json")


def base_model(base: dict[str, Any], lock: dict[str, Any]) -> BaseModel:
    """Return config's `base`, by data.lock.yaml or, with base.path, by what lies in that folder."""
    folder = Path("results/base") / base["name"]
    if base["path"]:
        names = sorted(path.name for path in Path(base["path"]).iterdir() if _is_model_file(path))
        if not any(name.endswith(".safetensors") for name in names) or "tokenizer.json" not in names:
            raise BadInput(f"config: base.path: {base['path']} has no *.safetensors or no tokenizer.json")
        files = [str(folder / name) for name in names]
        sources = [str(Path(base["path"]) / name) for name in names]
        entry = {"source": "path", "files": {name: {} for name in names}}
        return BaseModel(base["model"] or Path(base["path"]).name, entry, sources, files, files)
    entry = lock["bases"][base["name"]]
    names = sorted(entry["files"])
    acquired = files = [str(folder / name) for name in names]
    if len(names) == 1 and names[0].endswith(".gguf"):
        acquired = [str(folder.with_name(f"{folder.name}-gguf") / names[0])]
        files = [str(folder / name) for name in HUGGING_FACE_FILES]
    return BaseModel(entry["model"], entry, [], acquired, files)


def _is_model_file(path: Path) -> bool:
    return (
        path.name in HUGGING_FACE_FILES
        or path.suffix == ".safetensors"
        or path.name.endswith(".safetensors.index.json")
    )
