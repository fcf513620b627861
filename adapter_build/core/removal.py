"""The command that removes a file, as a suggestion to a person: quoted, and of a name that can be pasted."""

from pathlib import Path, PurePosixPath
from shlex import quote

from adapter_build.core.printable import printable


def removal(name: str | Path, then: str = ", then make") -> str:
    """Return `rm NAME`, and what comes `then`. Of a name that hides something, or leads upwards, there is no command:
    attestations and folders of others give names too.
    """
    text = str(name)
    if printable(text) != text or ".." in PurePosixPath(text).parts or text.startswith(("-", "~")):
        return f"remove that file by hand{then}"
    return f"rm {quote(text)}{then}"
