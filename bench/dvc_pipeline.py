"""The tiny chain as a DVC pipeline: the same commands with the same declared files, for comparison alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# In a process of its own: which modules a script consists of is asked of the checkout's own code.
PLAN = """
import json, shlex, sys
sys.path[:0] = [".", "scripts"]
from adapter_build.workflow.planned_steps import planned_steps
from adapter_build.workflow.step_runner import action_of
from adapter_build.hermetic.closure import SCRIPTS, closure
stages = {}
for step, planned in planned_steps(sys.argv[1:]).items():
    action = action_of(planned)
    deps = [str(path) for paths in action.inputs.values() for path in paths]
    deps += [str(path.relative_to(SCRIPTS.parent)) for path in closure(action.script)]
    deps += [f"containers/{action.environment}/requirements.lock"]
    words = ["--env", planned.env, "--log", str(planned.log), "--threads", str(planned.threads)]
    for name, files in action.inputs.items():
        words += ["--input", name, *map(str, files)]
    for name, files in action.outputs.items():
        words += ["--output", name, *map(str, files)]
    for name, values in action.params.items():
        words += ["--param", name, *values]
    command = shlex.join([sys.executable, "scripts/step.py", *words, "--", str(planned.script)])
    outs = [str(path) for paths in action.outputs.values() for path in paths]
    stages[step.replace("/", "--")] = {"cmd": command, "deps": sorted(set(deps)), "outs": outs}
print(json.dumps({"stages": stages}))
"""


def install(folder: Path) -> Path:
    """Install DVC into a folder of its own, and return its command."""
    uv = str(ROOT / ".venvs/workflow/bin/uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), "dvc"], check=True)
    return folder / "bin/dvc"


def repro(dvc: Path, folder: Path, options: list[str], targets: list[str]) -> int:
    """Describe the pipeline anew, bring it up to date, and return how many stages DVC ran."""
    environment = {**os.environ, "STEP_STORE": "", "DVC_NO_ANALYTICS": "1"}
    planned = subprocess.run(
        [str(ROOT / ".venvs/workflow/bin/python"), "-c", PLAN, *options, "--", *targets],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (folder / "dvc.yaml").write_text(json.dumps(json.loads(planned), indent=1))  # JSON is YAML
    if not (folder / ".dvc").exists():
        subprocess.run([dvc, "init", "--quiet", "--no-scm"], cwd=folder, env=environment, check=True)
    done = subprocess.run([dvc, "repro"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return len(re.findall(r"^Running stage ", done.stdout, re.MULTILINE))
