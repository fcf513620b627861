"""Write a small file whole or not at all, whoever else writes it, on whichever machine."""

import tempfile
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` under a name that no other writer has, and rename it into place. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix=f".{path.name}.", dir=path.parent, delete=False
    ) as part:
        try:
            part.write(text)
            part.flush()
            Path(part.name).chmod(0o644)
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
