"""The ancestry of an artifact, back to the raw data: as a tree for a terminal, as JSON, as a graph of the steps."""

from collections.abc import Iterator
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.lineage.attested_steps import Step, origins, producers
from adapter_build.lineage.guarantees import promises, unconfined


def tree(steps: dict[str, Step], artifact: str) -> dict[str, Any]:
    """Return the artifact's ancestry: path, sha256, the step that made it, and of each input the same.

    A file that no step made (raw data, a prompt's program, the user's own base) has no step. Where a step read other
    bytes than the producer left, the node has both digests: `sha256` and `producer_sha256`.
    """
    made_by = producers(steps)
    if artifact not in made_by:
        raise BadInput(f"{artifact}: no step made it; the last steps of this build made: {', '.join(_last(steps))}")
    return _node(artifact, made_by[artifact].made[artifact], made_by)


def _node(path: str, digest: str, made_by: dict[str, Step]) -> dict[str, Any]:
    node: dict[str, Any] = {"path": path, "sha256": digest}
    if step := made_by.get(path):
        if step.made[path] != digest:
            node["producer_sha256"] = step.made[path]
        node["step"] = step.name
        node["inputs"] = [_node(source, read, made_by) for source, read in step.read.items()]
    return node


def _last(steps: dict[str, Step]) -> list[str]:
    read = {path for step in steps.values() for path in step.read}
    return sorted(path for step in steps.values() for path in step.made if path not in read)


def drawn(node: dict[str, Any]) -> Iterator[str]:
    """Yield the tree's lines. Inputs of a step are drawn under its first file; its other files refer back to that."""
    yield from _drawn(node, "", "", set())


def _drawn(node: dict[str, Any], first: str, rest: str, drawn_steps: set[str]) -> Iterator[str]:
    digests = f"  {node['sha256'][:12]}"
    if "producer_sha256" in node:
        digests += f", but {node['step']} left {node['producer_sha256'][:12]}"
    inputs = node.get("inputs", [])
    again = node.get("step") in drawn_steps
    origin = f"  by {node['step']}" if "step" in node else "  (from outside)"
    yield f"{first}{node['path']}{digests}{origin}{' (above)' if again else ''}"
    if again:
        return
    drawn_steps |= {node["step"]} if "step" in node else set()
    for number, source in enumerate(inputs, 1):
        last = number == len(inputs)
        yield from _drawn(source, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), drawn_steps)


def promised(steps: dict[str, Step], node: dict[str, Any]) -> Iterator[str]:
    """Yield a line on each limit of the guarantees of the tree's steps."""
    names = {name for edge in edges(node) for name in edge} | {node["step"]}
    found = [steps[name] for name in sorted(names & steps.keys())]
    yield from (f"{step.name}: {limit}" for step in found for limit in promises(step))
    yield from (f"{name}: {confinement}" for name, confinement in unconfined(found))


def committed(steps: dict[str, Step], node: dict[str, Any]) -> Iterator[str]:
    """Yield a line on each commit that ran in the tree, and one on the steps without a commit."""
    names = {name for edge in edges(node) for name in edge} & steps.keys() | {node["step"]}
    for origin, found in origins(steps[name] for name in sorted(names)).items():
        yield f"{origin}: {found[0] if len(found) == 1 else f'{len(found)} steps'}"


def edges(node: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (from, to) of the graph in which a step, or a file from outside, feeds a step; sorted, each once."""
    found: set[tuple[str, str]] = set()
    waiting = [node]
    while waiting:
        target = waiting.pop()
        for source in target.get("inputs", []):
            found.add((source.get("step", source["path"]), target["step"]))
            waiting.append(source)
    return sorted(found)


def dot(node: dict[str, Any]) -> Iterator[str]:
    """Yield the graph in Graphviz's language."""
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    for source, target in edges(node):
        yield f'  "{source}" -> "{target}";'
    yield "}"


def mermaid(node: dict[str, Any]) -> Iterator[str]:
    """Yield the graph in Mermaid's language."""
    names = sorted({name for edge in edges(node) for name in edge} or {node["step"]})
    numbers = {name: f"n{number}" for number, name in enumerate(names)}
    yield "flowchart LR"
    yield from (f'  {numbers[name]}["{name}"]' for name in names)
    yield from (f"  {numbers[source]} --> {numbers[target]}" for source, target in edges(node))
