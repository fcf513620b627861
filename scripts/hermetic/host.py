"""Runtime `host`: the step runs in its environment's venv, with a small environment and no terminal."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from child_group import end_group, ended_by_signals
from hermetic.action import Action
from hermetic.environments import interpreter

# OpenBLAS's own settings and the certificates belong to the machine; everything else a step may see is set below.
PASSED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PASSED_WITH_NETWORK = (
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE", "HF_ENDPOINT",
)  # fmt: skip
PASSED_WITH_DEVICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
SECONDS_TO_END = 15
PR_SET_PDEATHSIG = 1


def environment(action: Action, scratch: Path, python: Path) -> dict[str, str]:
    """Return the variables a step sees: an allow-list, threads pinned, HOME and TMPDIR in its private scratch."""
    threads = str(action.threads)
    passed = (
        *PASSED,
        *action.secrets,
        *(PASSED_WITH_NETWORK if action.network else ()),
        *(name for name in os.environ if action.network and name.startswith("PIP_")),
        *(PASSED_WITH_DEVICES if action.devices else ()),
    )
    return {
        **{name: os.environ[name] for name in passed if name in os.environ},
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": threads,
        # Threads that wait would spin; on a machine that does anything else that made tuning five times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "STEP_PROGRESS": "1",
        **({} if action.network else {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}),
        **({} if action.devices else {"CUDA_VISIBLE_DEVICES": ""}),
    }


@contextlib.contextmanager
def running(action: Action, out: Path, scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the script in a process group of its own; end that whole group on leaving, and on TERM or INT."""
    python = interpreter(action.environment)
    with (
        ended_by_signals(),
        subprocess.Popen(
            [str(python), str(action.script), *action.arguments(out)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(action, scratch, python),
            start_new_session=True,
            preexec_fn=_die_with_parent,
        ) as process,
    ):
        try:
            yield process
        finally:
            end_group(process, SECONDS_TO_END)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
