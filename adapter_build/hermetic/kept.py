"""Resume state of a killed step: never an input, and in no key.

results/.kept/STEP-KEY/ is the runner's (hermetic/resume_state.py); it goes when the action has ended well.
"""

from collections.abc import Container, Iterator
from pathlib import Path

from adapter_build.hermetic.attestation import LINEAGE

KEPT = Path("results/.kept")


def kept_folder(step: str, key: str) -> Path:
    """Return where the action of this key keeps what its next run may take up."""
    return KEPT.absolute() / f"{step.replace('/', '.')}-{key}"


def outlived(steps: Container[str]) -> Iterator[Path]:
    """Yield every file kept by a step that is not among `steps`, or that has ended since, as another action."""
    ended = {path.relative_to(LINEAGE).with_suffix("").as_posix().replace("/", "."): path
             for path in LINEAGE.rglob("*.json")}  # fmt: skip
    wanted = {step.replace("/", ".") for step in steps}
    for folder in KEPT.glob("*"):
        name = folder.name.rpartition("-")[0]
        over = name in ended and ended[name].stat().st_mtime > folder.stat().st_mtime
        if name not in wanted or over:
            if folder.is_symlink():  # not followed: what it leads to is nobody's resume state
                yield folder
            else:
                yield from (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
