"""Attestations of steps: an in-toto Statement v1 with a SLSA provenance v1 predicate, in a DSSE envelope."""

import contextlib
import datetime
import hashlib
import json
import os
import platform
import pwd
import socket
import uuid
from pathlib import Path
from typing import Any

from adapter_build import ROOT
from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.action import Action, name_of
from adapter_build.hermetic.attestation_schema import (
    BUILD_TYPE,
    PROVENANCE,
    STATEMENT_TYPE,
    check_declaration,
    check_statement,
)
from adapter_build.hermetic.checkout import Commit, own_commit
from adapter_build.hermetic.closure import code_of
from adapter_build.hermetic.devices import cpu_facts, gpu_facts
from adapter_build.hermetic.envelope import payload, read_statement, seal, unseal
from adapter_build.hermetic.environments import lock_digest, lock_file
from adapter_build.hermetic.execution import RunFacts
from adapter_build.hermetic.keys import private_key

LINEAGE = Path("results/lineage")


def now() -> datetime.datetime:
    """Return the present in UTC."""
    return datetime.datetime.now(datetime.UTC)


def declaration(step: str, action: Action) -> dict[str, Any]:
    """Return the declaration of a step. Raises `BadInput` for a name that no attestation can hold."""
    declared = {
        "step": step,
        "script": action.script.name,
        "inputs": _names(action.inputs),
        "outputs": _names(action.outputs),
        "parameters": action.params,
    }
    try:
        check_declaration(declared)
    except Malformed as error:
        raise BadInput(f"cannot be attested: {error}: rename it") from None
    return declared


def statement(
    step: str,
    action: Action,
    outputs: dict[Path, str],
    started: datetime.datetime,
    ran: RunFacts,
    resumed: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the statement that `outputs` (path → sha256) were made by `action`, which ran as `ran` says.

    `resumed`: the training step at which it resumed, the state's sha256, and if this builder's key signed the state.
    """
    gpu: dict[str, str] = {}
    commit = own_commit()
    with contextlib.suppress(BadInput):  # a driver that fails now does not undo the outputs
        gpu = gpu_facts(action.devices, action.environment)
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [_resource(path, digest) for path, digest in sorted(outputs.items())],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": declaration(step, action),
                "internalParameters": {
                    "actionKey": action.key(),
                    "action": action.description,
                    "environment": action.environment,
                    "threads": action.threads,
                    "devices": action.devices,
                    "network": action.network,
                    "onHost": action.on_host,
                },
                "resolvedDependencies": [*_dependencies(action), *_commit(commit), *_image(ran)],
            },
            "runDetails": {
                "builder": {
                    "id": f"urn:hermetic-step-runner:{ran.runtime}",
                    "version": {"python": platform.python_version(), "platform": platform.platform()},
                },
                "metadata": _metadata(started),
                "byproducts": [
                    {
                        "name": "run",
                        "annotations": {
                            "runtime": ran.runtime,
                            "isolation": ran.isolation,
                            "imageId": ran.image_id,
                            "host": socket.gethostname(),
                            "user": _user(),
                            "slurmJob": os.environ.get("SLURM_JOB_ID"),
                            "cpu": cpu_facts(),
                            **({} if commit.id else {"noCommit": f"{commit.reason}: {commit.mend}"}),
                            **({"gpu": gpu} if gpu else {}),
                            **({"resumed": resumed} if resumed else {}),
                        },
                    }
                ],
            },
        },
    }
    try:
        check_statement(document)
    except Malformed as error:
        raise BadInput(f"cannot be attested: {error}") from None
    return document


def reused(original: dict[str, Any], outputs: dict[Path, str], started: datetime.datetime) -> dict[str, Any]:
    """Return the statement that `outputs` were restored: the statement of the run that made them, with its reference.

    `original` is that run's envelope. Only subject, metadata and the reference (invocation id, sha256 of the original's
    payload) are new.
    """
    document = unseal(original)
    document["subject"] = [_resource(path, digest) for path, digest in sorted(outputs.items())]
    run = document["predicate"]["runDetails"]
    reference = {
        "invocationId": run["metadata"]["invocationId"],
        "sha256": hashlib.sha256(payload(original)).hexdigest(),
    }
    run["byproducts"].append({"name": "reused", "annotations": reference})
    run["metadata"] = _metadata(started)
    return document


def read(step: str) -> dict[str, Any] | None:
    """Return the statement of a step's last run; None if there is none that can be read."""
    try:
        return read_statement(LINEAGE / f"{step}.json")
    except (OSError, Malformed):
        return None


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the envelope of a statement, signed with the key that STEP_KEY names, if it names one."""
    path = os.environ.get("STEP_KEY")
    return seal(document, private_key(Path(path)) if path else None)


def write(step: str, envelope: dict[str, Any]) -> Path:
    """Write the attestation of a step atomically and return its path."""
    path = LINEAGE / f"{step}.json"
    write_atomically(path, json.dumps(envelope, sort_keys=True) + "\n")
    return path


def _dependencies(action: Action) -> list[dict[str, Any]]:
    """Return inputs, files of ours and lock by their bytes; of a file of ours, what of it is in the key, too.

    That is its `code`, and by name its `parts`, which say what of it changed.
    """
    code = {
        path.relative_to(ROOT): {"code": code.digest, "parts": code.parts}
        for path, code in code_of(action.script).items()
    }
    files = {
        **action.input_digests,
        **{path: file_digest(ROOT / path) for path in code},
        lock_file(action.environment): lock_digest(action.environment),
    }
    return [
        {**_resource(path, digest), **({"annotations": code[path]} if path in code else {})}
        for path, digest in sorted(files.items())
    ]


def _image(ran: RunFacts) -> list[dict[str, Any]]:
    """Return the executed image, by its manifest's digest, as a dependency; none without an image."""
    if not ran.image:
        return []
    repository, _, digest = ran.image.partition("@sha256:")
    return [{"name": "image", "uri": f"docker://{repository}", "digest": {"sha256": digest}}]


def _commit(commit: Commit | None = None) -> list[dict[str, Any]]:
    """Return the checkout's own commit, and whether its tracked files were altered; nothing where it has none."""
    commit = commit or own_commit()
    if not commit.id:
        return []
    return [{"name": "checkout", "digest": {"gitCommit": commit.id}, "annotations": {"altered": commit.altered}}]


def _user() -> str:
    """Return the name of this process's user; `uid N` for a user without a name, as in a container."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


def _resource(path: Path, digest: str) -> dict[str, Any]:
    return {"name": name_of(path).as_posix(), "digest": {"sha256": digest}}


def _names(files: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {option: [name_of(path).as_posix() for path in paths] for option, paths in files.items()}


def _metadata(started: datetime.datetime) -> dict[str, str]:
    return {"invocationId": str(uuid.uuid4()), "startedOn": _timestamp(started), "finishedOn": _timestamp(now())}


def _timestamp(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
