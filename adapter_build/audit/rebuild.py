"""Rebuild steps one by one, each from the inputs that lie here, and compare their outputs byte by byte.

The step runner runs each step without a store, in a checkout of its own below results/.attempts that has links to the
step's declared inputs, a copy of our code, and nothing else. So a difference is that step's own, and none that it
inherited.
"""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from filecmp import cmp
from pathlib import Path

from adapter_build.audit.rebuild_causes import attested, cause, explanation, untouched
from adapter_build.core.faults import BadInput, say
from adapter_build.core.processes import ended_by_signals
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import attempt
from adapter_build.hermetic.execution import RunFacts, child
from adapter_build.hermetic.terminal import StatusLine
from adapter_build.lineage.guarantees import unrepeatable
from adapter_build.workflow.config_schema import did_you_mean
from adapter_build.workflow.planned_steps import plan
from adapter_build.workflow.step_runner import action_of, parse

# Variables of the step runner that are emptied: nothing is taken from a store, kept or signed.
UNSET = ("STEP_STORE", "STEP_STORE_URL", "STEP_KEY", "STEP_CERTIFICATES", "STEP_TRUSTED")


@dataclass(frozen=True)
class Verdict:
    """The outcome of one step and its reasons: same, within tolerance, may differ, differs, could not run."""

    outcome: str
    reasons: list[str] = field(default_factory=list)


def rebuild(wanted: Sequence[str], snakemake: Sequence[str], keep: Path | None, diffoscope: bool) -> bool:
    """Rebuild the steps named (a rule's name stands for all its steps; none: all), and print each one's outcome.

    `snakemake` are options that name targets and configuration. Rebuilt files that differ are left under `keep`. Return
    True if all are the same. Raises `BadInput` for a step that is not among those of the targets.
    """
    if keep and keep.exists() and any(keep.iterdir()):
        raise BadInput(f"--keep {keep}: not empty: name a new folder")
    if diffoscope and not shutil.which("diffoscope"):
        raise BadInput("--diffoscope: no such command on this machine: apt-get install diffoscope")
    planned = plan(snakemake)
    if not planned.calls:
        raise BadInput("these targets have no steps: name files of results/, or none for all")
    steps = _chosen(list(planned.calls), wanted)
    judge = _Judge(planned.settings, keep, diffoscope)
    status, verdicts = StatusLine(), {}
    with ended_by_signals(), attempt("rebuild") as private:
        for number, step in enumerate(steps, 1):
            status.show(f"  {number} of {len(steps)}: {step} …")
            began = time.monotonic()
            root = private.scratch / step.replace("/", ".")
            verdicts[step] = judge.verdict(step, planned.calls[step], root)
            shutil.rmtree(root, ignore_errors=True)
            status.finish()
            say(f"{verdicts[step].outcome:<18}{time.monotonic() - began:8.1f} s  {step}")
    for step, verdict in verdicts.items():
        if verdict.reasons:
            print(f"\n{step} {verdict.outcome}:")
            for line in "\n".join(verdict.reasons).splitlines():
                say(f"  {line}")
    return all(verdict.outcome in ("same", "within tolerance", "may differ") for verdict in verdicts.values())


def _chosen(steps: Sequence[str], wanted: Sequence[str]) -> list[str]:
    names = {name: [step for step in steps if f"{step}/".startswith(f"{name}/")]
             for name in dict.fromkeys([*(step.split("/")[0] for step in steps), *steps])}  # fmt: skip
    if unknown := [name for name in wanted if name not in names]:
        raise BadInput(f"no step of these targets is named {unknown[0]!r}{did_you_mean(unknown[0], names)}")
    chosen = {step for name in wanted or names for step in names[name]}
    return [step for step in steps if step in chosen]


@dataclass(frozen=True)
class _Judge:
    """The comparison of steps, run again with the variables `settings`; `keep`, `diffoscope`: as in `rebuild`."""

    settings: dict[str, str]
    keep: Path | None
    diffoscope: bool

    def verdict(self, step: str, call: list[str], root: Path) -> Verdict:
        """Run one step again, below `root`, and compare its outputs with those that lie here."""
        action = action_of(parse(call))
        inputs, outputs = ([path for paths in files.values() for path in paths]
                           for files in (action.inputs, action.outputs))  # fmt: skip
        if absent := [path for path in [*inputs, *outputs] if not path.is_file()]:
            return Verdict("could not run", [f"{absent[0]} is not there: make"])
        checkout = prepare(action, root)
        if failure := _run(call, self.settings, checkout):
            return Verdict("could not run", [failure])
        differ = {path: checkout / path for path in outputs if not cmp(path, checkout / path, shallow=False)}
        if not differ:
            return Verdict("same")
        last = attested(step)
        allowed = float(self.settings["STEP_TOLERANCE"]) if last and last.circumstances["devices"] else 0.0
        reasons, within = [], allowed > 0
        for path, rebuilt in differ.items():
            lines, apart = explanation(path, rebuilt, self.diffoscope)
            reasons += [*lines, *cause(path, rebuilt, action, last)]
            within = within and apart <= allowed  # never for a NaN
            if self.keep:
                (self.keep / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(rebuilt, self.keep / path)
        if last and (option := unrepeatable(last)) and all(untouched(path, action, last) for path in differ):
            what = f"{option}: other bytes are no sign of an edit, and these are not proven"
            return Verdict("may differ", [what, *reasons])
        return Verdict("within tolerance" if within else "differs", reasons)


def prepare(action: Action, root: Path) -> Path:
    """Make a checkout for one step, so deep below `root` that an input above it (`../data.json`) is in `root` too."""
    inputs = [Path(os.path.normpath(path)) for paths in action.inputs.values() for path in paths]
    above = max((path.parts.count("..") for path in inputs), default=0)
    checkout = root.joinpath(*["above"] * above, "checkout")
    checkout.mkdir(parents=True)
    for name in ("adapter_build", "scripts"):
        shutil.copytree(name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("containers", ".venvs"):
        (checkout / name).symlink_to(Path(name).absolute())
    for path in inputs:
        link = Path(os.path.normpath(checkout / path))
        if not link.exists():  # one of scripts/ is, and a path from the root of the file system
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())
    return checkout


def _run(call: list[str], settings: dict[str, str], checkout: Path) -> str | None:
    """Call the step runner in a checkout; return the reason of its failure, or None."""
    if "--bundle" in call:  # of attestations that only the whole build has
        at = call.index("--bundle")
        call = call[:at] + call[at + 2 :]
    command = ["env", "--chdir", str(checkout), sys.executable, "scripts/step.py", *call]
    with child(command, {**os.environ, **settings, **dict.fromkeys(UNSET, "")}, RunFacts("host", "none")) as runner:
        said = b"".join(runner.lines).decode(errors="replace").strip().splitlines()
        code = runner.wait()
    errors = [line.removeprefix("error: ").split(" (log: ")[0] for line in said if line.startswith("error: ")]
    return (errors or said or [f"the step runner ended with exit code {code}"])[-1] if code else None
