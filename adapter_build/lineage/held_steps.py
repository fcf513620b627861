"""The hold on steps, to what they declare, in the words of an audit, where that was less than a sandbox."""

from collections.abc import Iterable, Iterator

from adapter_build.core.printable import printable
from adapter_build.lineage.lineage import Step

SANDBOXES = ("bubblewrap", "container", "apptainer")


def less_held(steps: Iterable[Step]) -> Iterator[tuple[str, str]]:
    """Yield (steps, how they were held) for each way that is less than a sandbox; one step by its name."""
    found: dict[str, list[str]] = {}
    for step in steps:
        held = str(step.ran.get("isolation"))
        if not held.startswith(SANDBOXES):
            found.setdefault(held, []).append(step.name)
    for held, names in sorted(found.items()):
        which = names[0] if len(names) == 1 else f"{len(names)} steps"
        told = "by nothing to what it declares" if held.startswith("none") else f"by {printable(held)}"
        yield which, f"held {told}"
