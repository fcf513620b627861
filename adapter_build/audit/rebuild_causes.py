"""Explanations of a rebuilt file that differs from the one that lies here: the differences, and their likely cause."""

import subprocess
from pathlib import Path

from adapter_build.audit.compare_files import KINDS, file_differences
from adapter_build.core.digests import file_digest
from adapter_build.hermetic import attestation
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.changes import changes
from adapter_build.hermetic.devices import cpu_facts, cpu_named
from adapter_build.hermetic.envelope import unseal
from adapter_build.lineage.attested_steps import Step, read_attestation

SHOWN = 5  # differences of a file
SHOWN_OF_DIFFOSCOPE = 60  # lines


def attested(step: str) -> Step | None:
    """Return the attested last run of a step; None without an attestation that can be read."""
    try:
        return read_attestation(attestation.LINEAGE.parent, attestation.LINEAGE / f"{step}.json")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def explanation(here: Path, rebuilt: Path, diffoscope: bool) -> tuple[list[str], float]:
    """Return the differences of two files in lines, and the largest size among them (see `Difference.size`).

    With `diffoscope`, that command explains files of other kinds than `KINDS`.
    """
    found = file_differences(here, rebuilt)
    lines = [f"{here}: {len(found):,} difference{'s' if len(found) > 1 else ''}"]
    lines += [f"    {one.where}: {one.what}" for one in found[:SHOWN]]
    lines += [f"    … and {len(found) - SHOWN:,} more"] if len(found) > SHOWN else []
    if diffoscope and here.suffix not in KINDS:
        command = ["diffoscope", "--text", "-", "--text-color", "never", str(here), str(rebuilt)]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        lines += [f"    {line}" for line in said[:SHOWN_OF_DIFFOSCOPE]]
    return lines, max((one.size for one in found), key=lambda size: (size != size, size))  # a NaN is the greatest


def untouched(here: Path, action: Action, last: Step) -> bool:
    """Tell whether the file here is as its step left it, and the step's action is unchanged."""
    same = last.made.get(here.as_posix()) == file_digest(here)
    return same and not changes(action.with_digests(), unseal(last.envelope))


def cause(here: Path, rebuilt: Path, action: Action, last: Step | None) -> list[str]:
    """Return the cause in lines: the file here was altered, something that it is made of has changed, or neither."""
    if not last:
        return ["    no attestation that can be read says what it was made from"]
    made = last.made.get(here.as_posix())
    if made != file_digest(here) and made == file_digest(rebuilt):
        return ["    it was altered here: what was rebuilt is what its step left"]
    altered = ["    it was altered here, or its attestation was"] if made != file_digest(here) else []
    changed = [f"    since it was made, {change}" for change in changes(action.with_digests(), unseal(last.envelope))]
    unchanged = "its inputs, code and settings have not changed"
    if another := another_processor(last, cpu_facts()):
        return [*altered, *(changed or [f"    {unchanged}, but its processor has"]), f"    {another}"]
    return altered + (changed or [f"    {unchanged}: its step does not make the same bytes twice"])


def another_processor(last: Step, here: dict[str, str]) -> str | None:
    """Return a line on a step that ran on another kind of processor, a possible cause; None if it was the same kind."""
    there = last.ran.get("cpu")
    if not there:  # older attestations name no processor
        return f"its attestation does not name the processor that made it; this one is {cpu_named(here)}"
    kind = ("vendor", "family", "model") if "vendor" in here else ("name",)
    if all(there.get(name) == here.get(name) for name in kind):
        return None
    made, rebuilt = cpu_named(there), cpu_named(here)
    return f"made on {made}, rebuilt on {rebuilt}: libraries compute by the processor, and may round otherwise"
