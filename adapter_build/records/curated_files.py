"""The three files of finished splits in a folder, plain or packed."""

from pathlib import Path

SPLITS = ("train", "val", "test")
ENDINGS = tuple(f"{kind}{packed}" for kind in (".jsonl", ".json") for packed in ("", ".xz", ".gz", ".bz2"))


def curated_files(folder: str | Path) -> list[str]:
    """Return the file of train, val and test: the first of `ENDINGS` that is there, else the name that is missing."""
    return [_file(f"{folder}/law-qa-{split}") for split in SPLITS]


def split_of(path: Path) -> str | None:
    """Return the split that a file's name says, or None."""
    return next((split for split in SPLITS if path.name in {f"law-qa-{split}{ending}" for ending in ENDINGS}), None)


def _file(stem: str) -> str:
    return next((stem + ending for ending in ENDINGS if Path(stem + ending).is_file()), stem + ENDINGS[0])
