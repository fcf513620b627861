"""Run one of the container's own programs: its words to the log, and the last thing that it complained of."""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from adapter_build.core.faults import BadInput

COMPLAINT = re.compile(r"\s*(\[rank\d+\]: *)?((\w+\.)*\w*(Error|Exception)\b.*|Could not override.*)")
LAUNCHER = "ChildFailedError"  # torchrun's own: it comes last and says nothing of why
MENDS = {
    "OutOfMemoryError": "lower adapters.<name>.micro_batch_size or sequence_length",
    "Could not override": "another NeMo than 24.07's: check containers/images.yaml",
}


def run_program(name: str, command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
    """Run a command line to its end. Raises `BadInput` where it is not there or fails, with its last complaint."""
    print(shlex.join(command), flush=True)
    said = ""
    try:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(variables or {})},
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout
            for line in process.stdout:
                # The step runner takes such a line for our own.
                print(f"  {line}" if line.startswith("error: ") else line, end="", flush=True)
                if (complaint := COMPLAINT.fullmatch(line.rstrip())) and LAUNCHER not in line:
                    said = complaint[2]
    except FileNotFoundError:
        raise BadInput(f"{command[0]}: no such program in this container: is it NeMo 24.07's (make pin)?") from None
    if process.returncode:
        mend = next((mend for sign, mend in MENDS.items() if sign in said), "its log has what it said")
        raise BadInput(f"{name} ended with exit code {process.returncode}{f': {said}' if said else ''}: {mend}")
