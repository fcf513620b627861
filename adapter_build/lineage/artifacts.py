"""Which files of a results folder are artifacts."""

from pathlib import Path

# Proof of what was done, which holds times, work in progress, and what is known of files on this machine.
NOT_ARTIFACTS = ("lineage", ".attempts", ".kept", ".digests")
BUNDLE, SIGNATURE = (
    "attestations.intoto.jsonl",
    "model.sig",
)  # beside a staged adapter: adapter_build/lineage/adapter_bundle.py


def artifacts(results: Path) -> list[Path]:
    """Return every artifact below `results`, sorted by path."""
    return sorted(
        path
        for path in results.rglob("*")
        if path.is_file()
        and path.relative_to(results).parts[0] not in NOT_ARTIFACTS
        and path.name not in (BUNDLE, SIGNATURE)
    )
