"""Every reader of others' documents on odd shapes: no outcome but success and `BadInput`, and how fast.

    .venvs/workflow/bin/python bench/fuzz_readers.py [SHAPES [SECONDS]]

SHAPES (a million) per reader by the seeded mutator of tests/attacks/document_shapes.py, in a process per processor (a
base's five documents have one reader, and a fifth each); then, where .venvs/checks has atheris, SECONDS (60) of it for
each of four readers, guided by coverage. Writes bench/fuzz_readers.md.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "tests/support", "tests/attacks")]
CHECKS = ROOT / ".venvs/checks/lib/python3.11/site-packages"  # behind this environment's own
AT_ONCE = 10_000
GUIDED = ("attestation", "record", "safetensors", "peft")
DONE = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def main() -> None:
    """Try every reader, then guide some; write the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    from document_shapes import OF_A_BASE, readers

    with tempfile.TemporaryDirectory() as folder:
        names = list(readers(Path(folder)))
    lines = [
        "# Odd shapes of others' documents",
        "",
        f"{count:,} shapes a reader, from seeds, in {os.cpu_count()} processes: each is taken, or refused in one line;"
        " any other outcome would have ended this run.",
        "",
        "| reader | taken | refused | other | shapes/s | CPU us a shape |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for name in names:
            began = time.monotonic()
            wanted = count // len(OF_A_BASE) if name in OF_A_BASE else count
            work = [(name, seed, min(AT_ONCE, wanted)) for seed in range(max(1, wanted // AT_ONCE))]
            found = list(pool.map(_some, work))
            taken, refused = (sum(part[key] for part in found) for key in ("taken", "refused"))
            spent = sum(part["cpu"] for part in found)
            rate, each = (taken + refused) / (time.monotonic() - began), 1e6 * spent / (taken + refused)
            lines.append(f"| {name} | {taken:,} | {refused:,} | 0 | {rate:,.0f} | {each:.0f} |")
            print(lines[-1], flush=True)
    lines += ["", *_guided(seconds), ""]
    (ROOT / "bench/fuzz_readers.md").write_text("\n".join(lines))
    print("\n".join(lines))


def _some(work: tuple[str, int, int]) -> dict[str, float]:
    from document_shapes import outcomes, readers

    name, seed, count = work
    with tempfile.TemporaryDirectory() as folder:
        reader = readers(Path(folder))[name]
        began = time.process_time()
        return {**outcomes(reader, seed, count), "cpu": time.process_time() - began}


def _guided(seconds: int) -> list[str]:
    if not (CHECKS / "atheris").is_dir():
        return ["atheris was not there."]
    lines = [f"atheris, {seconds} s a reader, begun with a sound document:", "", "| reader | inputs | other outcomes |"]
    lines.append("|---|---:|---:|")
    for name in GUIDED:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--guided", name, folder, str(seconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        lines.append(f"| {name} | {int(DONE.search(done.stderr)[1]):,} | 0 |")
        print(lines[-1], flush=True)
    return lines


def _guide(name: str, folder: Path, seconds: int) -> None:
    """Run atheris on one reader; ends the process."""
    sys.path.append(str(CHECKS))
    import atheris

    with atheris.instrument_imports(
        include=["strict_json", "hermetic", "safetensors_file", "adapter_checks", "lineage"]
    ):
        from document_shapes import readers

        from adapter_build.core.faults import BadInput

    reader = readers(folder)[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    import json

    (corpus / "sound").write_bytes(reader.written(json.dumps(reader.sample).encode()))

    def one(content: bytes) -> None:
        try:
            reader.read(content)
        except BadInput as fault:
            assert "\n" not in str(fault)

    limits = [f"-max_total_time={seconds}", "-print_final_stats=1", "-max_len=20000", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--guided"]:
        _guide(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
