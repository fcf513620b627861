"""Attestations of steps that never ran, whole in every field: for tests of what reads them."""

from typing import Any

from adapter_build.hermetic.action import key_of
from adapter_build.hermetic.attestation_schema import BUILD_TYPE, PROVENANCE, STATEMENT_TYPE

DIGEST = "0" * 64
SCRIPT, LOCK = "x.py", "containers/workflow/requirements.lock"


def statement(
    name: str, made: dict[str, str] | str, read: dict[str, str] | tuple[str, ...] = (), **params: list[str]
) -> dict[str, Any]:
    """Return the statement of a step that made and read files: path → sha256, or paths whose sha256 is DIGEST."""
    made = {made: DIGEST} if isinstance(made, str) else made
    read = read if isinstance(read, dict) else dict.fromkeys(read, DIGEST)
    action = {
        "version": 3,
        "script": SCRIPT,
        "code": f"h1:{'A' * 43}=",
        "lock": DIGEST,
        "inputs": {"files": [[path, digest] for path, digest in read.items()]} if read else {},
        "outputs": {"made": [*made]},
        "params": params,
        "threads": 1,
        "device": "any",
    }
    files = {**read, f"scripts/{SCRIPT}": DIGEST, LOCK: DIGEST}
    run = {"runtime": "host", "isolation": "none", "imageId": None, "host": "h", "user": "u", "slurmJob": None}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [_resource(path, digest) for path, digest in made.items()],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "step": name,
                    "script": SCRIPT,
                    "inputs": {"files": [*read]} if read else {},
                    "outputs": {"made": [*made]},
                    "parameters": params,
                },
                "internalParameters": {
                    "actionKey": key_of(action),
                    "action": action,
                    "environment": "workflow",
                    "threads": 1,
                    "devices": 0,
                    "network": False,
                    "onHost": False,
                },
                "resolvedDependencies": [_resource(path, digest) for path, digest in files.items()],
            },
            "runDetails": {
                "builder": {"id": "urn:test"},
                "metadata": {
                    "invocationId": name,
                    "startedOn": "2026-01-01T00:00:00Z",
                    "finishedOn": "2026-01-01T00:00:01Z",
                },
                "byproducts": [{"name": "run", "annotations": run}],
            },
        },
    }


def _resource(path: str, digest: str) -> dict[str, Any]:
    return {"name": path, "digest": {"sha256": digest}}
