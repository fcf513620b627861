"""Log of a running step: lines go to its file, progress and warnings to the terminal, a failure to one error line."""

import re
from collections import deque
from pathlib import Path

from tqdm import tqdm

from adapter_build.core import strict_json
from adapter_build.core.document_shape import check_document, integer, mapping, null_or, number, record, text
from adapter_build.core.faults import BadInput
from adapter_build.core.printable import printable
from adapter_build.core.progress import EVENT
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic import attestation
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.changes import changes
from adapter_build.hermetic.execution import Execution
from adapter_build.hermetic.failure_reason import full_disk, undeclared
from adapter_build.hermetic.terminal import StatusLine

RESUMED = re.compile(r"resumed at step ([1-9]\d{0,14})")  # as tuning prints it
_EVENT = record(
    {
        "description": text("[^\x00-\x1f\x7f]*", "a line of text"),
        "total": null_or(integer(0, 2**63)),
        "unit": text("[^\x00-\x1f\x7f]*", "a line of text"),
        "done": integer(0, 2**63),
        "figures": mapping(text("\\w*", "a word"), text("[^\x00-\x1f\x7f]*", "a line of text"), 16),
        "elapsed": number,
    }
)
LINES_TO_EXPLAIN = 40  # at the end of the log: a traceback's last lines name what a step lacked


def follow_step(
    step: str, action: Action, attempt: Attempt, execution: Execution, log: Path, status: StatusLine
) -> int | None:
    """Write the lines of a script to its log until it ends; return the training step at which it resumed, or None.

    Raises `BadInput` with the script's own last error line, and with the declaration that its rule seems to lack.
    """
    error, resumed = "", None
    ending: deque[str] = deque(maxlen=LINES_TO_EXPLAIN)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as lines:
        lines.writelines(f"{step}: {change}\n" for change in changes(action, attestation.read(step)))
        for raw in execution.lines:
            line = raw.decode("utf-8", errors="replace")
            if line.startswith(EVENT):
                status.show(_bar(step, line.removeprefix(EVENT)))
                continue
            # Bars that foreign programs redraw with \r become a line each time.
            shown = printable(line.rstrip("\r\n").replace("\r", "\n"), kept="\n\t")
            lines.write(f"{shown}\n")
            lines.flush()
            if found := RESUMED.fullmatch(line.rstrip("\n")):
                resumed = int(found[1])
            if line.startswith("warning: "):
                status.finish(f"{step}: {line.strip()}")
            if line.startswith("error: "):
                error = line.removeprefix("error: ").strip()
            if line.strip():
                ending.append(line.strip())
        code = execution.wait()
    if code:
        said = error if code == 2 and error else f"ended with exit code {code}: {ending[-1] if ending else ''}"
        if lack := full_disk(attempt, ending, stated=code == 2 and bool(error)):
            raise BadInput(lack)
        hint = undeclared(ending, action)
        if hint and said.startswith(("Permission denied: ", "Read-only file system: ")):
            # The declaration is the mend, not the command that the refusal suggests.
            said = ": ".join(said.split(": ")[:2])
        raise BadInput(f"{said}: {hint}" if hint else said)
    return resumed


def _bar(step: str, event: str) -> str:
    """Return a step's progress bar; empty for a malformed event: a step prints what it will."""
    try:
        state = strict_json.loads(event)
        check_document(_EVENT, state, "it")
    except Malformed:
        return ""
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
