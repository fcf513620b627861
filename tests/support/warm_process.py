"""Processes that begin with an environment's libraries loaded: each is forked from one that loaded them.

NeMo takes eleven seconds of a processor to load, and Snakemake two; tests start them again and again. What is run is
what a fresh interpreter would run: our own modules are loaded anew; working folder, variables, arguments, output and
exit are a process's own. A build's steps start their scripts afresh.
"""

import atexit
import functools
import json
import os
import select
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from measured import python_path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SECONDS = 1800  # none of them takes a tenth of it
LIBRARIES = {
    "tune": ("datasets", "peft", "safetensors", "torch", "transformers", "yaml", "nemo.collections.llm"),
    "workflow": ("snakemake.cli",),
}


def run_warm(name: str, arguments: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script in the environment `name`: `arguments[0]`, with arguments; return how it ended and its output."""
    path = [str(Path(arguments[0]).parent), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        asked = {
            "argv": arguments, "cwd": str(cwd), "env": env, "path": path,
            "stdout": str(out), "stderr": str(err),
        }  # fmt: skip
        server = _server(name)
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], SECONDS)[0]:
            server.kill()
        answer = server.stdout.readline()
        assert answer, "the process that forks has ended, or what it forked did not end"
        return subprocess.CompletedProcess(arguments, int(answer), out.read_text(), err.read_text())


@functools.cache
def _server(name: str) -> Any:
    """Return the one that forks. Its variables are those of tiny_chain.run, which libraries read as they are loaded."""
    home = tempfile.TemporaryDirectory()
    variables = {
        "PATH": os.environ["PATH"], "HOME": home.name, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", **python_path(),
    }  # fmt: skip
    server = subprocess.Popen(
        [ROOT / f".venvs/{name}/bin/python", HERE / "fork_server.py", *LIBRARIES[name]], env=variables,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=home.name,
    )  # fmt: skip
    assert server.stdout.readline() == "ready\n"

    def end() -> None:
        server.communicate()
        home.cleanup()

    atexit.register(end)
    return server
