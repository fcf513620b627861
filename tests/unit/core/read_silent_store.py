"""Print whether a shared store has an action, with a time-out of a second."""

import sys
from pathlib import Path

from adapter_build.hermetic.shared_store import SharedStore

print(SharedStore(sys.argv[1], 1).read("actions/x", Path(sys.argv[2])))
