"""How fast a large artifact is restored and verified, against `openssl dgst -sha256` on the same file.

    .venvs/workflow/bin/python bench/restore_rate.py [GIGABYTES]

By turns, medians of 3; the file is in the page cache for both. Writes bench/restore_rate.md.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from hermetic.store import Store  # noqa: E402

RUNS = 3
CHUNK = 2**26


def main() -> None:
    """Store a file of random bytes, then take both by turns."""
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        source, target = Path(scratch) / "artifact", Path(scratch) / "restored"
        with open(source, "wb") as file:
            for _ in range(int(gigabytes * 1e9 / CHUNK)):
                file.write(os.urandom(CHUNK))
        openssl = ["openssl", "dgst", "-sha256", "-r", str(source)]
        digest = subprocess.run(openssl, capture_output=True, text=True, check=True).stdout.split()[0]
        store = Store(Path(scratch) / "store")
        store.put(source, digest)
        taken: dict[str, list[tuple[float, float]]] = {"openssl": [], "restore": []}
        for _ in range(RUNS):
            taken["openssl"].append(_timed(lambda: subprocess.run(openssl, capture_output=True, check=True)))
            target.unlink(missing_ok=True)
            taken["restore"].append(_timed(lambda: _restored(store, digest, target)))
        size = source.stat().st_size
    walls = {name: statistics.median(wall for wall, _ in runs) for name, runs in taken.items()}
    cpus = {name: statistics.median(cpu for _, cpu in runs) for name, runs in taken.items()}
    lines = [
        "# Restoring a large artifact",
        "",
        f"{size / 1e9:.1f} GB from the local store, verified as it is copied; medians of {RUNS}, by turns.",
        "",
        "| | GB/s | of openssl's rate | CPU s |",
        "|---|---:|---:|---:|",
        *(
            f"| {label} | {size / 1e9 / walls[name]:.2f} | {walls['openssl'] / walls[name]:.0%} | {cpus[name]:.1f} |"
            for name, label in (("openssl", "`openssl dgst -sha256`"), ("restore", "restore and verify"))
        ),
        "",
    ]
    (ROOT / "bench/restore_rate.md").write_text("\n".join(lines))
    print("\n".join(lines))


def _restored(store: Store, digest: str, target: Path) -> None:
    if not store.get(digest, target):
        raise SystemExit("not restored")


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds, children included."""
    before, began = _cpu(), time.monotonic()
    work()
    return time.monotonic() - began, _cpu() - before


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
