"""The images of others that a configuration runs, each by a digest that its registry has confirmed."""

from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.images import Image, confirmed_image
from adapter_build.nim.settings import NimSettings, nim_settings
from adapter_build.workflow.config_checks import MEGATRON


def published(config: dict[str, Any], model: str) -> tuple[NimSettings | None, Image | None]:
    """Return NIM's settings and the image that tunes, each None where the configuration runs none.

    `model` is the base's true name. Raises `BadInput` for an image that is not pinned or does not fit the rest.
    """
    nim = nim_settings(config, model) if config["deploy"]["engine"] == "nim" else None
    try:
        return nim, confirmed_image(MEGATRON) if config["tune"]["backend"] == MEGATRON else None
    except BadInput as fault:
        raise BadInput(f"tune.backend {MEGATRON}: {fault}") from None
