"""A secret: from the file that the step runner gives, or, where a script is run by hand, from the variable."""

import os
from pathlib import Path

from adapter_build.core.faults import BadInput


def secret(name: str, required: bool = False) -> str | None:
    """Return the secret `name`, or None. Raises `BadInput` where a required one is missing."""
    file = Path(os.environ.get("SECRETS", "/run/secrets")) / name
    if file.is_file():
        return file.read_text().strip()
    if not os.environ.get(name) and required:
        raise BadInput(f"secret {name}: not given to this step: export {name}, and declare --secret {name} in its rule")
    return os.environ.get(name) or None
