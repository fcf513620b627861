"""Where a step's bytes are promised to come out the same, in the words of an audit."""

from adapter_build.lineage.lineage import Step

# Options of a step's script by which its bytes are not promised anywhere, and the value that does it.
UNREPEATABLE = {"attention": "fastest"}  # gradients that are added in any order


def unrepeatable(step: Step) -> str | None:
    """Return the option of a step, with its value, by which a rebuild may give other bytes; None if there is none."""
    found = [f"{name}: {value}" for name, value in UNREPEATABLE.items() if step.parameters.get(name) == [value]]
    return found[0] if found else None


def promises(step: Step) -> list[str]:
    """Return what a reader of a step's bytes should know, in lines; none for a step that is the same everywhere."""
    told = []
    device = step.circumstances["device"]
    if device.startswith("gpu-"):
        gpu = step.ran.get("gpu") or {}  # attestations of before have none
        beside = ", ".join(f"{name} {gpu[name]}" for name in sorted(gpu) if name != "card")
        card = gpu.get("card") or device.removeprefix("gpu-")
        doing = "tuned" if step.name.startswith("tune_adapter/") else "computed"
        told.append(
            f"{doing} on {card}{f' ({beside})' if beside else ''}: same bytes are promised on this card type alone"
        )
    if option := unrepeatable(step):
        told.append(f"{option}: a rebuild may give other bytes")
    if resumed := step.ran.get("resumed"):
        signed = "" if resumed["signed"] else ", by a state that no key vouches for"
        told.append(f"a killed run of it was taken up at step {resumed['step']}{signed}")
    return told
