"""The tiny chain as a DVC pipeline: the same commands with the same declared files, for comparison alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def install(folder: Path) -> Path:
    """Install DVC into a folder of its own, and return its command."""
    uv = str(ROOT / ".venvs/workflow/bin/uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), "dvc"], check=True)
    return folder / "bin/dvc"


def repro(dvc: Path, folder: Path, options: list[str], targets: list[str]) -> int:
    """Describe the pipeline anew, bring it up to date, and return how many stages DVC ran."""
    environment = {**os.environ, "STEP_STORE": "", "DVC_NO_ANALYTICS": "1"}
    # In a process of its own: which modules a script consists of is asked of the checkout's own code.
    planned = subprocess.run(
        [ROOT / ".venvs/workflow/bin/python", ROOT / "bench/dvc_stages.py", *options, "--", *targets],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (folder / "dvc.yaml").write_text(json.dumps(json.loads(planned), indent=1))  # JSON is YAML
    if not (folder / ".dvc").exists():
        subprocess.run([dvc, "init", "--quiet", "--no-scm"], cwd=folder, env=environment, check=True)
    done = subprocess.run([dvc, "repro"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return len(re.findall(r"^Running stage ", done.stdout, re.MULTILINE))
