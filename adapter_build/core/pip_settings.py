"""The package indexes that pip is set up with on this machine, for programs that read none of pip's configuration."""

import functools
import re
import subprocess
from pathlib import Path

# torch's `+cpu` builds are on PyTorch's own index, unless the configured one mirrors them.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


@functools.cache
def pip_settings(python: str | Path) -> dict[str, str]:
    """Return pip's settings by name, as `python -m pip config list` merges them; the last one of a name counts."""
    listed = subprocess.run([str(python), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return dict(re.findall(r"^(?:.*\.)?([\w-]+)='(.*)'$", listed.stdout, re.MULTILINE))


def wheel_folders(settings: dict[str, str]) -> list[str]:
    """Return the folders of wheels that pip also looks into."""
    return [link for link in settings.get("find-links", "").split() if Path(link).is_dir()]


def index_urls(settings: dict[str, str]) -> list[str]:
    """Return the extra indexes. uv takes none from a folder; find-links serves there."""
    return [index for index in settings.get("extra-index-url", "").split() if index.startswith("http")]
