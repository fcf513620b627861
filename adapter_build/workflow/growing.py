"""Resources that grow: a job that is tried again asks for more."""

from collections.abc import Callable
from typing import Any


def growing(amount: int) -> Callable[..., int]:
    """Return a resource, MiB or minutes, that is `amount` at the first attempt, twice that at the second, and so on."""

    def resource(wildcards: Any, attempt: int) -> int:
        return amount * attempt

    return resource
