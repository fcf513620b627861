"""Open each path as a regular file of its folder, print what is refused, and see that no descriptor is left."""

import os
import sys
from pathlib import Path

from adapter_build.core.regular_file import open_regular

before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the descriptor of iterdir is closed late
for name in sys.argv[1:]:
    try:
        open_regular(name, below=Path(name).parents[1]).close()
    except Exception as error:
        print(error)
assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
