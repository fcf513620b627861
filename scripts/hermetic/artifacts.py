"""Which files of a results folder are artifacts."""

from pathlib import Path

NOT_ARTIFACTS = ("lineage", ".attempts")  # proof of what was done, which holds times, and work in progress


def artifacts(results: Path) -> list[Path]:
    """Return every artifact below `results`, sorted by path."""
    return sorted(
        path
        for path in results.rglob("*")
        if path.is_file() and path.relative_to(results).parts[0] not in NOT_ARTIFACTS
    )
