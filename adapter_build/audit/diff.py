"""Changes between two adapters: data, records, parameters, code, images, metrics, files; as JSON or as lines."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapter_build.audit.diff_records import compare_records, files_read
from adapter_build.core.strict_json import read_object
from adapter_build.hermetic.devices import cpu_named
from adapter_build.lineage.attested_steps import Step, made, outside
from adapter_build.lineage.built_adapter import Build, built_adapter
from adapter_build.lineage.guarantees import unrepeatable
from adapter_build.report.summaries import loss

WHOSE = ("base", "adapter", "difference")
# In the name of a step or a file, the part before the name of its adapter.
NAMED = "(results/(?:prompts|checkpoints|adapters|evaluation|loras)|[a-z]+_(?:prompts|adapter))/"
SHOWN = 20  # records
SIGNS = {"in": "+", "out": "-", "moved": ">", "edited": "~", "unused": "."}


def diff(before: str, after: str) -> dict[str, Any]:
    """Return the changes between two builds (see `built_adapter`): a list a section, empty if nothing changed.

    An entry has `name`, `before` and `after` (null where absent), and `steps` where it concerns some steps only. An
    unexplained entry has `expected` where an option lets its step give other bytes, and `processors` where the two
    steps ran on processors of two kinds. Adapters of different names are compared as if they had one name.
    """
    a, b = (built_adapter(name) for name in (before, after))
    for build in (a, b):
        build.check([*files_read(build.results, build.adapter), *_scores(build)])
    renamed = a.adapter != b.adapter
    neutral = _neutral(a, renamed), _neutral(b, renamed)
    scripts = [{f"step {name}": step.script for name, step in steps.items()} for steps in neutral]
    counts, rows = compare_records((a.results, a.adapter), (b.results, b.adapter))
    return {
        "before": {"results": str(a.results), "adapter": a.adapter, "digest": a.digest},
        "after": {"results": str(b.results), "adapter": b.adapter, "digest": b.digest},
        "data": [*_changed(*map(outside, neutral)), *counts],
        "records": rows,
        "parameters": [*_changed(*scripts), *_by_step(*neutral, _parameters)],
        "code": _by_step(*neutral, _code),
        "images": _by_step(*neutral, _runtime),
        "metrics": _changed(_metrics(a), _metrics(b)),
        "files": _changed(*map(made, neutral)),
        "unexplained": _unexplained(*neutral),
    }


def _neutral(side: Build, rename: bool) -> dict[str, Step]:
    """Return the steps by name; with `rename`, a star replaces the adapter's name in names of steps and files."""
    if not rename:
        return side.steps
    named = re.compile(f"^{NAMED}{re.escape(side.adapter)}(?=[./]|$)")

    def files(digests: Mapping[str, str]) -> dict[str, str]:
        return {named.sub(r"\1/*", name): digest for name, digest in digests.items()}

    steps = {}
    for name, step in side.steps.items():
        options = {key: ["*"] if values == [side.adapter] else values for key, values in step.parameters.items()}
        steps[named.sub(r"\1/*", name)] = replace(
            step, made=files(step.made), read=files(step.read), parameters=options
        )
    return steps


def _parameters(step: Step) -> dict[str, Any]:
    return {"environment": step.environment, **step.parameters, **step.circumstances}


def _code(step: Step) -> dict[str, Any]:
    altered = " and what was not committed" if step.altered else ""
    return {**step.code, "commit": step.commit and f"{step.commit[:12]}{altered}"}


def _runtime(step: Step) -> dict[str, Any]:
    return {
        **(step.ran.get("gpu") or {}),
        "runtime": step.ran["runtime"],
        "image": step.image,
        "image id": step.ran["imageId"],
    }


def _scores(side: Build) -> tuple[Path, Path]:
    checkpoint = side.results / "checkpoints" / f"{side.adapter}.metrics.jsonl"
    return side.results / "evaluation" / f"{side.adapter}.json", checkpoint


def _metrics(side: Build) -> dict[str, float | None]:
    scores, losses = _scores(side)
    found = read_object(scores, "make")
    curves = loss(losses)
    best = curves["best"] or (None, None)
    return {
        **{f"{name} of {whose}": found[whose][name]["mean"] for whose in WHOSE for name in found[whose]},
        "test records": found["records"],
        "least validation loss": best[1],
        "at step": best[0],
        "last training loss": curves["train"][-1][1] if curves["train"] else None,
    }


def _unexplained(a: dict[str, Step], b: dict[str, Step]) -> list[dict[str, Any]]:
    """Return the files that differ although the action of their step, which is all that they depend on, does not."""
    found = []
    for name in sorted(a.keys() & b.keys()):
        if a[name].key == b[name].key:
            why = {"expected": option} if (option := unrepeatable(a[name])) else {}
            ran_on = [cpu_named(side[name].ran.get("cpu") or {}) for side in (a, b)]
            why |= {"processors": " → ".join(ran_on)} if len({*ran_on}) == 2 else {}
            found += [{**entry, "steps": [name], **why} for entry in _changed(a[name].made, b[name].made)]
    return found


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an entry per key whose value differs or which one side lacks."""
    names = [*after, *(name for name in before if name not in after)]
    entries = ({"name": name, "before": before.get(name), "after": after.get(name)} for name in names)
    return [entry for entry in entries if entry["before"] != entry["after"]]


def _by_step(a: dict[str, Step], b: dict[str, Step], facts: Callable[[Step], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the changed facts of the steps that both sides have; steps with the same change share an entry."""
    steps = defaultdict(list)
    for name in sorted(a.keys() & b.keys()):
        for entry in _changed(facts(a[name]), facts(b[name])):
            steps[json.dumps(entry)].append(name)
    return [{**json.loads(entry), "steps": names} for entry, names in steps.items()]


def changes(found: dict[str, Any]) -> Iterator[str]:
    """Yield lines for a terminal on the result of `diff`."""
    a, b = found["before"], found["after"]
    yield f"{a['adapter']} in {a['results']} → {b['adapter']} in {b['results']}"
    if not any(found[section] for section in found if section not in ("before", "after")):
        yield f"nothing changed: {a['digest']}"
        return
    for section in ("data", "records", "parameters", "code", "images", "metrics"):
        if found[section]:
            yield section
            yield from _records(found[section]) if section == "records" else map(_line, found[section])
    same = "the same adapter" if a["digest"] == b["digest"] else f"adapter {a['digest'][:13]} → {b['digest'][:13]}"
    yield f"files: {len(found['files'])} differ; {same}"
    for entry in found["unexplained"]:
        expected = f": {entry['expected']} lets it" if "expected" in entry else ""
        expected += f" (on {entry['processors']})" if "processors" in entry else ""
        yield f"  of the same inputs, code and parameters {entry['steps'][0]} made another {entry['name']}{expected}"


def _line(entry: dict[str, Any]) -> str:
    before, after = (_short(entry[side]) for side in ("before", "after"))
    steps = entry.get("steps", [])
    of = f"  ({steps[0]}{f' and {len(steps) - 1} more' if len(steps) > 1 else ''})" if steps else ""
    return f"  {entry['name']}  {before} → {after}{of}"


def _records(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows[:SHOWN]:
        edited = [what for what in ("raw", "prompt") if row[what] == "edited"]
        uses = list(dict.fromkeys(row[side] or "not in the raw data" for side in ("before", "after")))
        note = f"  ({' and '.join(edited)} edited)" if edited else ""
        yield f"  {SIGNS[row['change']]} {row['record_id']}  {' → '.join(uses)}{note}"
    if len(rows) > SHOWN:
        yield f"    and {len(rows) - SHOWN:,} more: --json lists all"


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(value) if isinstance(value, list) else str(value)
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", text)  # a digest, or a commit
    return text if len(text) <= 60 else f"{text[:57]}..."
