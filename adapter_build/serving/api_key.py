"""API key that clients of the embedded engine show: SERVE_API_KEY, in no configuration, command line or log."""

import re

from adapter_build.core.faults import BadInput
from adapter_build.core.secret import secret

KEY = "SERVE_API_KEY"
SOUND = re.compile(r"[!-~]{16,256}")


def api_key() -> str | None:
    """Return the key, or None where there is none. Raises `BadInput` for one too short, or that no header can hold."""
    key = secret(KEY)
    if key and not SOUND.fullmatch(key):
        raise BadInput(
            f"{KEY}: it takes 16 to 256 printable ASCII characters, no blank: export {KEY}=$(openssl rand -hex 32)"
        )
    return key


def authorization() -> dict[str, str]:
    """Return the header of a request to the server; none where there is no key."""
    key = api_key()
    return {"Authorization": f"Bearer {key}"} if key else {}
