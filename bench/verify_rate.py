"""Rate of `audit verify` on a large build, against one `openssl dgst -sha256` process on the same files.

    .venvs/workflow/bin/python bench/verify_rate.py [GIGABYTES]

By turns, medians of 3; the files are in the page cache for both. Writes bench/verify_rate.md.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]

from attestation_samples import LOCK, SCRIPT, statement  # noqa: E402
from by_turns import RUNS, by_turns, rates  # noqa: E402

from adapter_build.core.digests import file_digest  # noqa: E402
from adapter_build.hermetic.envelope import seal  # noqa: E402
from adapter_build.hermetic.keys import make_key, private_key, public_half  # noqa: E402

FILES = 10
CHUNK = 2**24
CODE = (f"scripts/{SCRIPT}", LOCK)


def main() -> None:
    """Make a build of random files with one attestation, then take both by turns."""
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        files = build(Path(scratch), gigabytes)
        size = sum(file.stat().st_size for file in files)
        public = public_half(Path(scratch, "key.pem"))
        verify = [sys.executable, "-m", "adapter_build.cli.audit", "verify", Path(scratch) / "results", "--key", public]
        openssl = ["openssl", "dgst", "-sha256", *files]
        taken = by_turns(
            {"one `openssl dgst -sha256`": lambda: run(openssl), "`audit verify`": lambda: run(verify)},
        )
    lines = [
        "# Verifying a large build",
        "",
        f"{size / 1e9:.1f} GB in {FILES} files, {os.cpu_count()} processors; medians of {RUNS}, by turns. The whole"
        " command: its start, the signature and the attestation included.",
        "",
        *rates(size, taken),
        "",
    ]
    (ROOT / "bench/verify_rate.md").write_text("\n".join(lines))
    print("\n".join(lines))


def build(root: Path, gigabytes: float) -> list[Path]:
    """Make results/blobs/* of random bytes, and the attestation of a step that made them; return the files."""
    folder = root / "results/blobs"
    folder.mkdir(parents=True)
    files = [folder / f"{number}.bin" for number in range(FILES)]
    for path in files:
        with open(path, "wb") as file:
            for _ in range(int(gigabytes * 1e9 / CHUNK / FILES)):
                file.write(os.urandom(CHUNK))
    for name in CODE:
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(name)
    made = {f"results/blobs/{path.name}": file_digest(path) for path in files}
    document = statement("blobs", made)
    for item in document["predicate"]["buildDefinition"]["resolvedDependencies"]:
        item["digest"]["sha256"] = file_digest(root / item["name"])
    make_key(str(root / "key.pem"))
    lineage = root / "results/lineage/blobs.json"
    lineage.parent.mkdir()
    lineage.write_text(json.dumps(seal(document, private_key(root / "key.pem"))))
    return files


def run(command: list[object]) -> None:
    """Run a command, which must succeed."""
    subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
