"""Follow a running step: lines to its log, progress and warnings to the terminal, one line of reason if it fails."""

import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from adapter_build.core import strict_json
from adapter_build.core.document_shape import check_document, integer, mapping, null_or, number, record, text
from adapter_build.core.faults import BadInput
from adapter_build.core.file_systems import SPARE, free_bytes, why_full
from adapter_build.core.printable import printable
from adapter_build.core.progress import EVENT
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic import attestation
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.changes import changes
from adapter_build.hermetic.execution import Execution
from adapter_build.hermetic.hints import undeclared
from adapter_build.hermetic.terminal import StatusLine

NO_ROOM = re.compile("No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing")
RESUMED = re.compile(r"resumed at step ([1-9]\d{0,14})")  # as tuning_resume says it
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
LINES_TO_EXPLAIN = 40  # of the end of the log: a traceback's last lines say what a step reached for


def follow(
    step: str, action: Action, place: Attempt, execution: Execution, log: Path, status: StatusLine
) -> int | None:
    """Write what the script prints to the log, until it ends; return the step at which it resumed, if it did.

    Raises `BadInput` with the script's own last error line, and with the declaration that it seems to lack.
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
            # What others' programs draw over and over, as bars, is a line each time.
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
        if lack := out_of_room(place, ending, told=code == 2 and bool(error)):
            raise BadInput(lack)
        hint = undeclared(ending, action)
        if hint and said.startswith(("Permission denied: ", "Read-only file system: ")):
            said = ": ".join(said.split(": ")[:2])  # the mend is the declaration, not what the machine would want
        raise BadInput(f"{said}: {hint}" if hint else said)
    return resumed


def out_of_room(place: Attempt, lines: Iterable[str], told: bool) -> str | None:
    """Return which file system has no room for what the step writes, whatever a library made of that; a step that has
    `told` its reason is believed.
    """
    written = [path for path in (place.root, place.kept) if path and path.exists()]
    lacking = any(NO_ROOM.search(line) for line in lines) or (
        not told and any(free_bytes(path) < SPARE for path in written)
    )
    return f"No space left on device: {why_full(written)}" if lacking else None


def _bar(step: str, event: str) -> str:
    """Return a step's bar; nothing for an event that is none: a step prints what it will."""
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
