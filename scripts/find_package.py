"""Put the checkout's root on the path, so that a step script finds adapter_build whoever calls it, from anywhere."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
