"""A package's wheel, fetched by pip; an index that is silent, or sends a byte a minute, is left."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.patience import Silent, patiently, size_of

TIMEOUT = "PIP_DEFAULT_TIMEOUT"  # pip's own variable: seconds that it waits for a byte, 15 unless it says otherwise


def pip_download(what: str, options: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `pip download` into `folder` and return how it ended. Raises `BadInput` naming `what` if nothing arrives."""
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
            out, error = patiently(pip.communicate, 4 * float(os.environ.get(TIMEOUT) or 15), lambda: size_of(folder))
        except Silent as silent:
            pip.kill()
            raise BadInput(
                f"{what}: pip cannot fetch it: {silent}: check the network and pip's index, or raise {TIMEOUT}"
            ) from None
    return subprocess.CompletedProcess(command, pip.returncode, out, error)
