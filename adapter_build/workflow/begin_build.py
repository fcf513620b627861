"""The beginning of a build, before its first step: its lock, its key, its images, its runtime."""

import contextlib
import getpass
import os
import sys
from typing import Any

from adapter_build.core.faults import BadInput, error_line, say
from adapter_build.hermetic.checkout import ignored_git_variables, own_commit
from adapter_build.hermetic.docker_engine import engine
from adapter_build.hermetic.images import Image, confirmed_image
from adapter_build.hermetic.keys import make_key
from adapter_build.hermetic.runtime import Runtime
from adapter_build.hermetic.variables import set_for_runners
from adapter_build.models.base_model import BaseModel
from adapter_build.nim.settings import NimSettings, nim_settings
from adapter_build.workflow.config_checks import MEGATRON
from adapter_build.workflow.exclusive_build import end_leftover_jobs, take_build_lock
from adapter_build.workflow.restricted_pods import restrict_pods
from adapter_build.workflow.writable_checkout import check_writable

__all__ = ["begin", "check_writable", "pinned_images", "tell_steps"]


def pinned_images(config: dict[str, Any], model: str) -> tuple[NimSettings | None, Image | None]:
    """Return NIM's settings and the image that tunes, each None where the configuration runs none.

    `model` is the base's true name. Raises `BadInput` for an image whose digest its registry has not confirmed, or that
    does not fit the configuration.
    """
    nim = nim_settings(config, model) if config["deploy"]["engine"] == "nim" else None
    try:
        return nim, confirmed_image(MEGATRON) if config["tune"]["backend"] == MEGATRON else None
    except BadInput as fault:
        raise BadInput(f"tune.backend {MEGATRON}: {fault}") from None


def begin(config: dict[str, Any], runtime: Runtime, nim: NimSettings | None, base: BaseModel) -> None:
    """Take the checkout, end what a killed build left running, see to a key, and say how steps will run.

    Files in base.path that are no part of the base are named, and why lineage has no commit where it has none.

    Ends this process with one line if another build runs here, or if an image that it will need could not be started.
    """
    try:
        take_build_lock()
        end_leftover_jobs()
        restrict_pods()
        make_key(config["signing"]["key"])
        if config["tune"]["backend"] == MEGATRON and runtime.name != "apptainer":
            with engine(without="tune.backend: embedded"):
                pass
        if nim:
            from adapter_build.nim.engine import preflight  # no other build needs it

            preflight(nim)
        say(f"  runtime {runtime}", error=True)
    except (BadInput, OSError) as fault:
        sys.exit(error_line(fault))
    if base.left_out:
        say(f"  base.path: {', '.join(base.left_out)}: no file of the base, left out", error=True)
    if warning := ignored_git_variables():
        say(f"  {warning}", error=True)
    commit = own_commit()
    if not commit.id:
        say(f"  lineage has no commit: {commit.reason}: {commit.mend}", error=True)


def name_user() -> None:
    """Set USER for a user without a name, such as a container's numeric uid: Snakemake asks for one."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid-{os.geteuid()}"


def tell_steps(config: dict[str, Any], runtime: Runtime, sent: bool) -> None:
    """Set the variables of step runners; in a job that a build `sent`, name this node's runtime and its isolation."""
    name_user()
    set_for_runners(config, runtime.name)
    if sent:
        with contextlib.suppress(BadInput):  # no engine on this node: a step that needs one says so
            say(f"  runtime {runtime}", error=True)
