"""pip: its settings on this machine, for programs that read none of them, and wheels that it fetches.

Needs nothing but Python's own library: `install_environment` runs on a bare Python.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.stall_timeout import Stalled, bytes_at, unless_stalled

# torch's `+cpu` builds are on PyTorch's own index, unless the configured one mirrors them.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TIMEOUT = "PIP_DEFAULT_TIMEOUT"  # pip's own variable: seconds that it waits for a byte, 15 unless it says otherwise


@functools.cache
def pip_settings(python: str | Path) -> dict[str, str]:
    """Return pip's settings by name, as `python -m pip config list` merges them; the last one of a name counts."""
    listed = subprocess.run([str(python), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return dict(re.findall(r"^(?:.*\.)?([\w-]+)='(.*)'$", listed.stdout, re.MULTILINE))


def wheel_folders(settings: dict[str, str]) -> list[str]:
    """Return the folders of wheels that pip also looks into."""
    return [link for link in settings.get("find-links", "").split() if Path(link).is_dir()]


def index_urls(settings: dict[str, str]) -> list[str]:
    """Return the URLs of the extra indexes. uv takes no index from a folder; find-links serves there."""
    return [index for index in settings.get("extra-index-url", "").split() if index.startswith("http")]


def pip_download(what: str, options: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `pip download` into `folder` and return how it ended.

    Raises `BadInput` that names `what` is fetched where an index is silent, or sends a byte a minute.
    """
    scratch = folder / "pip"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *options]
    with subprocess.Popen(
        [*command, "--dest", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    ) as pip:
        try:
            out, error = unless_stalled(
                pip.communicate, 4 * float(os.environ.get(TIMEOUT) or 15), lambda: bytes_at(folder)
            )
        except Stalled as stalled:
            pip.kill()
            raise BadInput(
                f"{what}: pip cannot fetch it: {stalled}: check the network and pip's index, or raise {TIMEOUT}"
            ) from None
    return subprocess.CompletedProcess(command, pip.returncode, out, error)
