"""The guarantees of a step, in the words of an audit: where its bytes come out the same, and its confinement."""

from collections.abc import Iterable, Iterator

from adapter_build.core.printable import printable
from adapter_build.lineage.attested_steps import Step

# Values of a script's options with which the same inputs may give other bytes, on whatever machine.
UNREPEATABLE = {"attention": "fastest"}  # gradients are added in any order
SANDBOXES = ("bubblewrap", "container", "apptainer")


def unrepeatable(step: Step) -> str | None:
    """Return the option of a step, with its value, by which a rebuild may give other bytes; None if there is none."""
    found = [f"{name}: {value}" for name, value in UNREPEATABLE.items() if step.parameters.get(name) == [value]]
    return found[0] if found else None


def promises(step: Step) -> list[str]:
    """Return the limits of a step's reproducibility, in lines; none for a step that is the same everywhere."""
    limits = []
    device = step.circumstances["device"]
    if device.startswith("gpu-"):
        gpu = step.ran.get("gpu") or {}  # older attestations do not have it
        beside = ", ".join(f"{name} {gpu[name]}" for name in sorted(gpu) if name != "card")
        card = gpu.get("card") or device.removeprefix("gpu-")
        doing = "tuned" if step.name.startswith("tune_adapter/") else "computed"
        limits.append(
            f"{doing} on {card}{f' ({beside})' if beside else ''}: same bytes are promised on this card type alone"
        )
    if option := unrepeatable(step):
        limits.append(f"{option}: a rebuild may give other bytes")
    if resumed := step.ran.get("resumed"):
        signed = "" if resumed["signed"] else ", from a state that no key vouches for"
        limits.append(f"a killed run of it was resumed at step {resumed['step']}{signed}")
    return limits


def unconfined(steps: Iterable[Step]) -> Iterator[tuple[str, str]]:
    """Yield (step, confinement) for each confinement weaker than a sandbox; several steps are counted, not named."""
    found: dict[str, list[str]] = {}
    for step in steps:
        isolation = str(step.ran.get("isolation"))
        if not isolation.startswith(SANDBOXES):
            found.setdefault(isolation, []).append(step.name)
    for isolation, names in sorted(found.items()):
        steps_named = names[0] if len(names) == 1 else f"{len(names)} steps"
        confined = (
            "not confined to what it declares"
            if isolation.startswith("none")
            else f"confined by {printable(isolation)}"
        )
        yield steps_named, confined
