"""Secrets as a step reads them: from the step runner's file, or, in a script run by hand, from the variable."""

import os
from pathlib import Path

from adapter_build.core.faults import BadInput


def secret(name: str, required: bool = False) -> str | None:
    """Return the secret `name`, or None if it is not set. Raises `BadInput` for a missing one that is `required`."""
    file = Path(os.environ.get("SECRETS", "/run/secrets")) / name
    if file.is_file():
        return file.read_text().strip()
    if not os.environ.get(name) and required:
        raise BadInput(f"secret {name}: not given to this step: export {name}, and declare --secret {name} in its rule")
    return os.environ.get(name) or None
