"""A fuzzer on make serve: schemathesis on schemas/openapi.json, and damaged HTTP over plain sockets, both at once.

    .venvs/workflow/bin/python bench/fuzz_server.py [SECONDS] [SEED]

SECONDS is 600 by default. The server is serve.py with a real vLLM on the tests' two-layer base. It must end no engine,
answer no 5xx but 503, keep its memory, and give the answers that it gave before. Writes bench/fuzz_server.md.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "tests/support", "bench")]

from adapter_samples import adapter_tensors  # noqa: E402
from damaged_http import Damaged  # noqa: E402
from engine_usage import resident_mebibytes  # noqa: E402
from running_server import PROMPT, Serving, served  # noqa: E402

from adapter_build.core.faults import BadInput, run  # noqa: E402
from adapter_build.serving.inference_client import complete, get  # noqa: E402

SECONDS = 600.0
WARM = 0.2  # of the time, after which memory is not to grow
GROWTH = 1.1  # at the most, and
SPARE = 48.0  # MiB
CONNECTIONS = 3  # of the damaged kind at once
STATUS = re.compile(r'HTTP/1\.[01]" (\d{3}) ')
STARTED_AGAIN = "it is started again"


def main() -> None:
    """Run both fuzzers and write the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        adapters = {"law": adapter_tensors(seed=1), "tax": adapter_tensors(seed=2)}
        with served(Path(folder), adapters, connections_per_address=64) as serving:
            found = fuzz(serving, seconds, seed)
    lines = [
        "# A fuzzer on the embedded engine",
        "",
        f"schemathesis (seed {seed}) on `schemas/openapi.json` and {CONNECTIONS} connections of damaged HTTP, for",
        f"{seconds:.0f} s at once, on `serve.py` with vLLM and the tests' two-layer base; {os.cpu_count()} processors.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in found.items()),
        "",
    ]
    (ROOT / "bench/fuzz_server.md").write_text("\n".join(lines))
    print("\n".join(lines))
    if faults := wrong(found):
        raise BadInput(f"bench/fuzz_server.md: {', '.join(faults)}")


def fuzz(serving: Serving, seconds: float, seed: int) -> dict[str, int | str]:
    """Return what both fuzzers saw of a server."""
    names = ("tiny", "law", "tax")
    before = {name: complete(serving.url, name, PROMPT) for name in names}
    skipped = len(serving.log)
    memory: list[float] = []
    began = time.monotonic()
    damaged = [Damaged(serving.url, list(names), seed * 100 + number) for number in range(CONNECTIONS)]
    over = threading.Event()
    threads = [threading.Thread(target=one.run, args=(over,)) for one in damaged]
    for thread in threads:
        thread.start()
    tool = _schemathesis(serving, names, seconds, seed)
    try:
        while time.monotonic() - began < seconds:
            time.sleep(min(1.0, seconds / 30))
            memory.append(_mebibytes(serving))
    finally:
        over.set()
        said, _ = tool.communicate(timeout=120)
        for thread in threads:
            thread.join(60)
    again = {name: complete(serving.url, name, PROMPT) for name in names}
    ready = get(serving.url, "/v1/health/ready")[0]
    logged = Counter(STATUS.findall(serving.log[skipped:]))
    answered = sum((one.statuses for one in damaged), Counter())
    warm = memory[int(WARM * len(memory)) :]
    return {
        "requests of schemathesis, and damaged ones whose head could be read": logged.total(),
        "their answers": ", ".join(f"{count} x {code}" for code, count in sorted(logged.items())),
        "connections with damaged requests": sum(one.sent for one in damaged),
        "first answers that were waited for": ", ".join(f"{n} x {code}" for code, n in sorted(answered.items())),
        "engines that ended": serving.printed.count(STARTED_AGAIN),
        "5xx but 503": sum(n for code, n in (logged + answered).items() if code >= "500" and code != "503"),
        "schemathesis says": _last(said),
        "MiB after a fifth of the time": round(max(warm[: max(1, len(warm) // 8)])),
        "MiB at the end": round(max(warm[-max(1, len(warm) // 8) :])),
        "MiB at the most": round(max(memory)),
        "answers that changed": sum(again[name] != before[name] for name in names) + (ready != 200),
    }


def wrong(found: dict[str, int | str]) -> list[str]:
    """Return what must not be."""
    first, last = found["MiB after a fifth of the time"], found["MiB at the end"]
    grown = int(last) > max(GROWTH * int(first), int(first) + SPARE)
    none = ("engines that ended", "5xx but 503", "answers that changed")
    return [f"{name}: {found[name]}" for name in none if found[name]] + ["memory grows"] * grown


def _schemathesis(serving: Serving, models: tuple[str, ...], seconds: float, seed: int) -> "subprocess.Popen[str]":
    description = json.loads((ROOT / "schemas/openapi.json").read_text())
    for name in ("Completion", "Chat"):
        # Names that are served: else every request would end there.
        description["components"]["schemas"][name]["properties"]["model"]["enum"] = list(models)
    file = serving.root / "openapi.json"
    file.write_text(json.dumps(description))
    command = [
        ROOT / ".venvs/checks/bin/schemathesis", "run", file, "--url", serving.url, "--workers", "2",
        "--checks", "not_a_server_error", "--max-time", str(int(seconds)), "--phases", "examples,coverage,fuzzing",
        "--request-timeout", "60", "--seed", str(seed), "--continue-on-failure", "--no-shrink", "--warnings", "off",
        "--suppress-health-check", "all", "--max-examples", "1000000",
    ]  # fmt: skip
    environment = {**os.environ, "NO_COLOR": "1", "HOME": str(serving.root)}
    return subprocess.Popen(
        list(map(str, command)), cwd=serving.root, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def _last(said: str) -> str:
    """Return what schemathesis says of its run in the end."""
    lines = [line.strip(" =") for line in said.splitlines() if line.strip(" =")]
    found = [line for line in lines if "generated" in line or "failure" in line]
    return "; ".join(found[-2:]) or (lines[-1] if lines else "nothing")


def _mebibytes(serving: Serving) -> float:
    """Return the resident memory of serve.py and of its engine's group."""
    own = int(Path(f"/proc/{serving.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    children = Path(f"/proc/{serving.process.pid}/task/{serving.process.pid}/children").read_text().split()
    return own + sum(resident_mebibytes(int(child)) for child in children)


if __name__ == "__main__":
    run(main)
