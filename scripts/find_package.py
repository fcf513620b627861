"""Put the checkout's root on sys.path, so that step scripts find adapter_build in any interpreter and folder."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
