"""Rate of restoring and verifying a large artifact, against `openssl dgst -sha256` on the same file.

    .venvs/workflow/bin/python bench/restore_rate.py [GIGABYTES]

By turns, medians of 3; the file is in the page cache for both. Writes bench/restore_rate.md.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from by_turns import RUNS, by_turns, rates  # noqa: E402

from adapter_build.hermetic.store import Store  # noqa: E402

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
        taken = by_turns(
            {
                "`openssl dgst -sha256`": lambda: subprocess.run(openssl, capture_output=True, check=True),
                "restore and verify": lambda: _restored(store, digest, target),
            },
            prepare=lambda: target.unlink(missing_ok=True),
        )
        size = source.stat().st_size
    lines = [
        "# Restoring a large artifact",
        "",
        f"{size / 1e9:.1f} GB from the local store, verified as it is copied; medians of {RUNS}, by turns.",
        "",
        *rates(size, taken),
        "",
    ]
    (ROOT / "bench/restore_rate.md").write_text("\n".join(lines))
    print("\n".join(lines))


def _restored(store: Store, digest: str, target: Path) -> None:
    if not store.get(digest, target):
        raise SystemExit("not restored")


if __name__ == "__main__":
    main()
