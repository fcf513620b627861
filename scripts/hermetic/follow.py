"""Follow a running step: lines to its log, progress and warnings to the terminal, one line of reason if it fails."""

import json
from collections import deque
from pathlib import Path

from tqdm import tqdm

from faults import BadInput
from hermetic import attestation
from hermetic.action import Action
from hermetic.changes import changes
from hermetic.execution import Execution
from hermetic.hints import undeclared
from hermetic.terminal import StatusLine
from progress import EVENT

LINES_TO_EXPLAIN = 40  # of the end of the log: a traceback's last lines say what a step reached for


def follow(step: str, action: Action, execution: Execution, log: Path, status: StatusLine) -> None:
    """Write what the script prints to the log, until it ends.

    Raises `BadInput` with the script's own last error line, and with the declaration that it seems to lack.
    """
    error = ""
    ending: deque[str] = deque(maxlen=LINES_TO_EXPLAIN)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as lines:
        lines.writelines(f"{step}: {change}\n" for change in changes(action, attestation.read(step)))
        for raw in execution.lines:
            line = raw.decode("utf-8", errors="replace")
            if line.startswith(EVENT):
                status.show(_bar(step, line.removeprefix(EVENT)))
                continue
            lines.write(line)
            lines.flush()
            if line.startswith("warning: "):
                status.finish(f"{step}: {line.strip()}")
            if line.startswith("error: "):
                error = line.removeprefix("error: ").strip()
            if line.strip():
                ending.append(line.strip())
        code = execution.wait()
    if code:
        said = error if code == 2 and error else f"ended with exit code {code}: {ending[-1] if ending else ''}"
        hint = undeclared(ending, action)
        raise BadInput(f"{said}: {hint}" if hint else said)


def _bar(step: str, event: str) -> str:
    state = json.loads(event)
    figures = ", ".join(f"{name} {value}" for name, value in state["figures"].items())
    return tqdm.format_meter(
        n=state["done"],
        total=state["total"],
        elapsed=state["elapsed"],
        unit=state["unit"],
        prefix=f"  {step}: {state['description']}",
        postfix=figures,
        ncols=100,
    )
