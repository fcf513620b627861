"""What every test shares: the project's root and a way to run a step script in its own environment."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `scripts/<name>.py` with an environment's interpreter; option names use underscores, lists give several values."""

    def run(env: str, name: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / ".venvs" / env / "bin" / "python"), str(ROOT / "scripts" / f"{name}.py")]
        for option, value in options.items():
            values = value if isinstance(value, list | tuple) else [value]
            command += [f"--{option.replace('_', '-')}", *map(str, values)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "TMPDIR": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)

    return run
