"""Choice of the runtime: `docker`, `apptainer`, `host`, or `auto`, which takes the first that works and says so."""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from adapter_build.core.digests import combine
from adapter_build.core.faults import BadInput
from adapter_build.hermetic import apptainer, docker, docker_engine, host, isolation
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.closure import code_digest
from adapter_build.hermetic.engine_kind import engine_kind
from adapter_build.hermetic.environments import lock_digest, venv_marker
from adapter_build.hermetic.execution import Execution, Limits
from adapter_build.hermetic.images import Image, image_of

Runner = Callable[[Action, Attempt, Limits], AbstractContextManager[Execution]]
RUNNERS: dict[str, Runner] = {"docker": docker.running, "apptainer": apptainer.running, "host": host.running}


class Runtime:
    """The runtime of a build, and its part in each rule. `reason` says why it was taken."""

    def __init__(self, wanted: str, environments: Iterable[str], sent: bool = False, isolated: str = "best") -> None:
        """Take the `wanted` runtime, or in a job that a build has `sent` the runtime of that build.

        Raises `BadInput` if the wanted runtime is missing or lacks an image by digest, and if there is no isolation
        where it is `required`. In a job each step's runner checks that on its own node.
        """
        self._take(wanted, environments, sent)
        if isolated == "required" and not sent and self.name == "host" and isolation.kind() == isolation.NONE:
            raise BadInput(isolation.refusal())

    def _take(self, wanted: str, environments: Iterable[str], sent: bool) -> None:
        self.name, self.reason = wanted, "as configured"
        if sent and "STEP_RUNTIME" in os.environ:  # a node may have another engine than the machine of the build
            self.name, self.reason = os.environ["STEP_RUNTIME"], "as the build decided that sent this job"
            return
        if wanted == "auto":
            self.name, self.reason = _whatever_is_there(environments)
            return
        if wanted in ("docker", "apptainer"):
            for environment in environments:
                image_of(environment)
        if wanted == "apptainer" and not shutil.which("apptainer"):
            raise BadInput("runtime: apptainer: no such command on this machine: install it, or set runtime: auto")
        if wanted == "docker":
            docker_engine.ping()

    def __str__(self) -> str:
        """Return its name, its isolation, and why it was taken."""
        return f"{self.name}{f' ({held})' if (held := self.isolation) else ''}: {self.reason}"

    @property
    def isolation(self) -> str:
        """Return the isolation of steps in words, where the runtime's name does not tell it."""
        if self.name == "host":
            return isolation.described()
        if self.name == "docker":
            with docker_engine.engine() as client:
                return engine_kind(client).described
        return ""

    def venv(self, environment: str) -> list[Path]:
        """Return the files that a rule waits for: the marker of its venv, or none where it runs in an image."""
        return [venv_marker(environment)] if self.name == "host" else []

    def code(self, environment: str, script: str) -> str:
        """Return `code` and one digest of all that a rule runs, so that Snakemake notices a change in any of it.

        That is its environment's lock, its image if it runs in one, and the script with every module of ours in it.
        """
        parts = {"lock": lock_digest(environment), "script": code_digest(script).removeprefix("h1:")}
        if self.name != "host":
            parts["image"] = image_of(environment).digest or ""
        return f"code {combine(parts)}"


def _whatever_is_there(environments: Iterable[str]) -> tuple[str, str]:
    images: list[Image] = []
    for environment in environments:
        try:
            images.append(image_of(environment))
        except BadInput:
            return "host", f"no image of {environment} is known by digest (make images)"
    if docker_engine.answers(images):
        return "docker", "an engine answers and has every image"
    return "host", "no Docker engine answers that has every image"
