"""The lineage of a build, from its attestations: which step made a file, of which files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import BadInput
from hermetic.envelope import unseal


@dataclass(frozen=True)
class Step:
    """One step as its attestation tells it; files are path → sha256, paths as in the checkout that built them."""

    name: str
    made: dict[str, str]
    read: dict[str, str]
    code: dict[str, str]  # its scripts and its lock
    environment: str
    ran: dict[str, Any]  # runtime, isolation, image id, host, user
    image: str | None  # repository@sha256:… of the container that it ran in
    invocation: str
    commit: str | None
    altered: bool  # whether the checkout differed from the commit
    reused: str | None  # the invocation whose outputs were restored
    envelope: dict[str, Any]  # what was read, and may be signed


def read_lineage(results: Path) -> dict[str, Step]:
    """Return the steps of a results folder by name. Raises `BadInput` where there are none or one cannot be read."""
    folder = results / "lineage"
    steps = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            steps[_name(folder, path)] = read_attestation(results, path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{path}: not an attestation of a step ({error!r}): make clean, then make (its store stays)"
            ) from None
    if not steps:
        raise BadInput(f"{folder}: no attestations there: run `make` first")
    return steps


def read_attestation(results: Path, path: Path) -> Step:
    """Return the step of one attestation of a results folder. Raises as `read_step` does, and `OSError`."""
    step = read_step(json.loads(path.read_text(encoding="utf-8")))
    if step.name != _name(results / "lineage", path):
        raise ValueError(f"it is about {step.name}")
    return step


def producers(steps: dict[str, Step]) -> dict[str, Step]:
    """Return path → the step that made it."""
    return {path: step for step in steps.values() for path in step.made}


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def read_step(envelope: dict[str, Any]) -> Step:
    """Return a step from its envelope. Raises `KeyError`, `TypeError` or `ValueError` for what is none."""
    statement = unseal(envelope)
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    found = {item["name"]: item for item in definition["resolvedDependencies"]}
    digests = {path: item["digest"]["sha256"] for path, item in found.items() if "sha256" in item["digest"]}
    declared = {path for paths in definition["externalParameters"]["inputs"].values() for path in paths}
    runs = {item["name"]: item["annotations"] for item in details["byproducts"]}
    checkout, image = found.get("checkout", {}), found.get("image")
    return Step(
        name=definition["externalParameters"]["step"],
        made={item["name"]: item["digest"]["sha256"] for item in statement["subject"]},
        read={path: digests[path] for path in sorted(declared)},
        code={path: digest for path, digest in digests.items() if path not in declared and path != "image"},
        environment=definition["internalParameters"]["environment"],
        ran=runs["run"],
        image=f"{image['uri'].removeprefix('docker://')}@sha256:{image['digest']['sha256']}" if image else None,
        invocation=details["metadata"]["invocationId"],
        commit=checkout.get("digest", {}).get("gitCommit"),
        altered=bool(checkout.get("annotations", {}).get("altered")),
        reused=runs.get("reused", {}).get("invocationId"),
        envelope=envelope,
    )
