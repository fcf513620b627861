"""The configured base model: its files, as given, as acquired, and as steps read them."""

import contextlib
import tempfile
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import open_regular, refuse_pointer
from adapter_build.models.weight_files import INDEX, weight_files

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

    `source_files` lie in the user's own folder, `acquired_files` are those that acquire_base writes, `files` are the
    Hugging Face files that steps read; they differ from the acquired ones where that is one GGUF file (`quantized`).
    `entry` is the base's in data.lock.yaml. `left_out` are *.safetensors in the user's folder that are no part of the
    base.
    """

    model: str
    entry: dict[str, Any]
    source_files: list[str]
    acquired_files: list[str]
    files: list[str]
    left_out: list[str] = field(default_factory=list)

    @property
    def quantized(self) -> bool:
        """True if the Hugging Face files are made from a GGUF file."""
        return self.files != self.acquired_files

    @property
    def named(self) -> dict[str, str]:
        """Name, licence and revision of the base for an adapter's card; the latter two may be empty."""
        return {
            "model": self.model,
            "licence": self.entry.get("licence") or "",
            "revision": self.entry.get("revision") or "",
        }

    @property
    def config(self) -> str:
        """Path of the base's config.json."""
        return next(path for path in self.files if Path(path).name == "config.json")


def base_model(base: dict[str, Any], lock: dict[str, Any]) -> BaseModel:
    """Return the base of config's `base`, by data.lock.yaml or, with base.path, by the files in that folder."""
    folder = Path("results/base") / base["name"]
    if base["path"]:
        names, others = _names(Path(base["path"]))
        files = [str(folder / name) for name in names]
        sources = [str(Path(base["path"]) / name) for name in names]
        entry = {"source": "path", "files": {name: {} for name in names}}
        return BaseModel(base["model"] or Path(base["path"]).name, entry, sources, files, files, others)
    entry = lock["bases"][base["name"]]
    names = sorted(entry["files"])
    acquired = files = [str(folder / name) for name in names]
    if len(names) == 1 and names[0].endswith(".gguf"):
        acquired = [str(folder.with_name(f"{folder.name}-gguf") / names[0])]
        files = [str(folder / name) for name in HUGGING_FACE_FILES]
    return BaseModel(entry["model"], entry, [], acquired, files)


def _names(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of a base's files in the user's own folder, and of *.safetensors there that are none of them."""
    where = f"config: base.path: {folder}"
    try:
        found = {path.name for path in folder.iterdir() if path.is_file() or _meant(path)}
    except OSError as error:
        raise BadInput(f"{where}: {error.strerror}: set it to a folder of Hugging Face files") from None
    for name in ("config.json", "tokenizer.json"):
        if name not in found:
            raise BadInput(f"{where} has no {name}: save the tokenizer and the model there (save_pretrained)")
    weights = weight_files(found, folder / INDEX, where)
    kept = sorted({*weights.names, *found.intersection(HUGGING_FACE_FILES) - {"model.safetensors"}})
    for name in kept:
        open_regular(folder / name, links=True, mend=f"check {where}").close()
        refuse_pointer(folder / name)
    return kept, weights.others


def _meant(path: Path) -> bool:
    """Tell if a path that is no file has the name of one of a base's files: it is refused, not overlooked."""
    return path.name in HUGGING_FACE_FILES and path.exists()


def link_base_files(files: Iterable[Path], folder: Path) -> Path:
    """Make `folder` with a link to each file and nothing else, and return it. Raises `BadInput` for a missing file.

    For readers that take whatever lies in the folder they are given.
    """
    folder.mkdir()
    for file in files:
        if not file.is_file():
            raise BadInput(f"{file}: no such file: run `make`")
        (folder / file.name).symlink_to(file.absolute())
    return folder


@contextlib.contextmanager
def base_folder(files: Iterable[Path]) -> Generator[Path]:
    """Yield a temporary folder as `link_base_files` makes it."""
    with tempfile.TemporaryDirectory() as scratch:
        yield link_base_files(files, Path(scratch) / "files")
