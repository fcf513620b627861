"""Names of adapters: each is a folder, a part of a URL and a model's name at once."""

import re

from adapter_build.core.faults import BadInput

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str, base: str) -> None:
    """Refuse a name that is no safe folder name or that the base already has."""
    if not SAFE_NAME.fullmatch(name):
        raise BadInput(f"adapters.{name}: a name holds letters, digits, '.', '_' and '-' only: rename it in config")
    if name == base:
        raise BadInput(f"adapters.{name}: has the base's own name, which a server refuses: rename it in config")
