"""The steps of a build as their attestations tell them, and the graph of files that they made and read."""

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import name_shown
from adapter_build.core.regular_file import read_regular
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.attestation_schema import LONGEST_ENVELOPE
from adapter_build.hermetic.envelope import parse_envelope, unseal
from adapter_build.hermetic.environments import lock_path

CIRCUMSTANCES = ("threads", "devices", "network")


@dataclass(frozen=True)
class Step:
    """A step as its attestation tells it; files are path → sha256, with paths as in the checkout that built them."""

    name: str
    made: dict[str, str]
    read: dict[str, str]
    code: dict[str, str]  # its scripts and its lock
    does: dict[str, str]  # file of ours → sha256 of what the step used of it (hermetic/closure.py)
    environment: str
    ran: dict[str, Any]  # runtime, isolation, image id, host, user
    invocation: str
    commit: str | None
    altered: bool  # the checkout differed from the commit
    reused: str | None  # the invocation whose outputs were restored
    script: str
    parameters: dict[str, list[str]]  # option of the script → its values
    circumstances: dict[str, Any]  # threads, class of the device, devices, network
    key: str  # of the action
    image: str | None  # repository@sha256:… of the image that was executed
    started: str  # as `finished`: UTC, ISO 8601, to the second
    finished: str
    envelope: dict[str, Any]  # the attestation itself, with its signatures, if any


def read_lineage(results: Path) -> dict[str, Step]:
    """Return the steps of a results folder by name. Raises `BadInput` where there are none or one cannot be read."""
    folder = results / "lineage"
    steps = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            steps[_name(folder, path)] = read_attestation(results, path)
        except (OSError, Malformed) as error:
            raise BadInput(
                f"{path}: not an attestation of a step ({error}): make clean, then make (its store stays)"
            ) from None
    if not steps:
        raise BadInput(f"{folder}: no attestations there: run `make` first")
    return steps


def read_attestation(results: Path, path: Path) -> Step:
    """Return the step of one attestation of a results folder. Raises as `read_step` does, and `OSError`."""
    step = read_step(parse_envelope(read_regular(path, LONGEST_ENVELOPE)))
    if step.name != _name(results / "lineage", path):
        raise Malformed(f"it is about {name_shown(step.name)}")
    return step


def producers(steps: dict[str, Step]) -> dict[str, Step]:
    """Return path → the step that made it."""
    return {path: step for step in steps.values() for path in step.made}


def made(steps: dict[str, Step]) -> dict[str, str]:
    """Return path → sha256 of every file that a step made."""
    return {path: digest for step in steps.values() for path, digest in step.made.items()}


def outside(steps: dict[str, Step]) -> dict[str, str]:
    """Return path → sha256 of every file that a step read and no step made."""
    own = made(steps)
    return {path: digest for step in steps.values() for path, digest in step.read.items() if path not in own}


def origins(steps: Iterable[Step]) -> dict[str, list[str]]:
    """Return commit, in words → names of its steps; steps without a commit stand under the reason."""
    found: dict[str, list[str]] = {}
    for step in steps:
        origin = f"commit {step.commit}{' and what was not committed' if step.altered else ''}"
        if not step.commit:
            origin = f"no commit ({step.ran.get('noCommit') or 'its attestation does not say why'})"
        found.setdefault(origin, []).append(step.name)
    return found


def staged_adapters(steps: dict[str, Step]) -> list[str]:
    """Return the names of the adapters that were staged."""
    return sorted(name.removeprefix("stage_adapter/") for name in steps if name.startswith("stage_adapter/"))


def chain(steps: dict[str, Step], adapter: str) -> dict[str, Step]:
    """Return the steps that made and measured an adapter and its ledger, producers before consumers.

    Raises `BadInput` for an adapter that was not staged, a missing attestation, or a cycle.
    """
    if adapter not in (staged := staged_adapters(steps)):
        raise BadInput(f"no adapter {adapter!r} was staged (there are: {', '.join(staged) or 'none'}): make builds it")
    names = (f"stage_adapter/{adapter}", f"evaluate_adapter/{adapter}", "collect_ledger")
    return ancestry(steps, [name for name in names if name in steps])


def ancestry(steps: dict[str, Step], names: Iterable[str]) -> dict[str, Step]:
    """Return the steps named and all of their ancestors, producers before consumers.

    Raises `BadInput` where an attestation is missing or the attestations form a cycle.
    """
    made_by = producers(steps)
    waiting = list(names)
    graph: dict[str, list[str]] = {}
    while waiting:
        name = waiting.pop()
        if name not in graph:
            gaps = [path for path in steps[name].read if path.startswith("results/") and path not in made_by]
            if gaps:
                raise BadInput(
                    f"{gaps[0]}: {name} read it, but no attestation names the step that made it: rm it, then make"
                )
            graph[name] = sorted({made_by[path].name for path in steps[name].read if path in made_by})
            waiting += graph[name]
    try:
        return {name: steps[name] for name in TopologicalSorter(graph).static_order()}
    except CycleError as error:
        circle = ", ".join(error.args[1])
        raise BadInput(f"the attestations of these steps form a cycle: {circle}: make builds them") from None


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def read_step(envelope: dict[str, Any]) -> Step:
    """Return the step that an envelope attests. Raises `Malformed` where it attests none."""
    statement = unseal(envelope)
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    found = {item["name"]: item for item in definition["resolvedDependencies"]}
    digests = {path: item["digest"]["sha256"] for path, item in found.items() if "sha256" in item["digest"]}
    declared = {path for paths in definition["externalParameters"]["inputs"].values() for path in paths}
    runs = {item["name"]: item["annotations"] for item in details["byproducts"]}
    checkout, image = found.get("checkout", {}), found.get("image")
    internal = definition["internalParameters"]
    script = definition["externalParameters"]["script"]
    if not {f"scripts/{script}", str(lock_path(internal["environment"]))} <= digests.keys():
        raise Malformed("no digest of its script, or of its lock")
    return Step(
        name=definition["externalParameters"]["step"],
        made={item["name"]: item["digest"]["sha256"] for item in statement["subject"]},
        read={path: digests[path] for path in sorted(declared)},
        code={path: digest for path, digest in digests.items() if path not in declared and path != "image"},
        does={
            path: item["annotations"]["code"] for path, item in found.items() if "code" in item.get("annotations", {})
        },
        environment=internal["environment"],
        ran=runs["run"],
        invocation=details["metadata"]["invocationId"],
        commit=checkout.get("digest", {}).get("gitCommit"),
        altered=bool(checkout.get("annotations", {}).get("altered")),
        reused=runs.get("reused", {}).get("invocationId"),
        script=script,
        parameters=definition["externalParameters"]["parameters"],
        circumstances={"device": internal["action"]["device"], **{key: internal[key] for key in CIRCUMSTANCES}},
        key=internal["actionKey"],
        image=f"{image['uri'].removeprefix('docker://')}@sha256:{image['digest']['sha256']}" if image else None,
        started=details["metadata"]["startedOn"],
        finished=details["metadata"]["finishedOn"],
        envelope=envelope,
    )
