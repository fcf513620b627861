"""Describe how an action differs from its step's last run."""

from collections.abc import Iterator
from typing import Any

from adapter_build import ROOT
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.closure import Code, code_of
from adapter_build.hermetic.environments import lock_path

SHOWN = 5  # parts of a file


def changes(action: Action, before: dict[str, Any] | None) -> list[str]:
    """Return one phrase per part of the key that changed; `before` is the attestation of the last run, if any."""
    try:
        definition: dict[str, Any] = (before or {})["predicate"]["buildDefinition"]
        last: dict[str, Any] = definition["internalParameters"]["action"]
        code: dict[str, Code] = {
            item["name"]: Code(item["annotations"]["code"], item["annotations"]["parts"])
            for item in definition["resolvedDependencies"]
            if item.get("annotations", {}).get("parts")
        }
    except (KeyError, TypeError):
        return ["it has not run before"]
    return list(_changes(action, last, code))


def _changes(action: Action, last: dict[str, Any], code: dict[str, Code]) -> Iterator[str]:
    now = action.description
    if now["version"] != last["version"]:
        yield f"its key has another form (version {last['version']} → {now['version']})"
        return
    if now["code"] != last["code"]:
        yield from _scripts(action, code)
    if now["lock"] != last["lock"]:
        yield _changed(str(lock_path(action.environment)), last["lock"], now["lock"])
    for name in sorted({*now["inputs"], *last["inputs"]}):
        yield from _inputs(name, dict(last["inputs"].get(name, [])), dict(now["inputs"].get(name, [])))
    for name in sorted({*now["params"], *last["params"]}):
        old, new = last["params"].get(name), now["params"].get(name)
        if old != new:
            yield f"param {name} changed ({_words(old)} → {_words(new)})"
    for name in ("script", "outputs", "threads", "device"):
        if now[name] != last[name]:
            yield f"{name} changed ({last[name]} → {now[name]})"


def _scripts(action: Action, before: dict[str, Code]) -> Iterator[str]:
    """Say which of our own files do something else now, and which of their parts."""
    now = {path.relative_to(ROOT).as_posix(): code for path, code in code_of(action.script).items() if code.parts}
    for name, code in sorted(now.items()):
        if name not in before:
            yield f"{name} is new to it"
        elif code.digest != before[name].digest:
            parts = ", ".join(_parts(before[name].parts, code.parts))
            short = f"code {before[name].digest[:8]}… → {code.digest[:8]}…"
            yield f"{name} does something else ({short}){f': {parts}' if parts else ''}"
    for name in sorted(before):
        if name not in now:
            yield f"{name} is no longer used"


def _parts(old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    """Say which parts of a file differ, SHOWN of them; none where only their order does."""
    found = [f"{name} changed" for name in new if old.get(name, new[name]) != new[name]]
    found += [f"{name} is new" for name in new if name not in old]
    found += [f"{name} is gone" for name in old if name not in new]
    yield from found[:SHOWN]
    if len(found) > SHOWN:
        yield f"{len(found) - SHOWN} more"


def _inputs(option: str, old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in old:
            yield f"input {option}: {name} is new"
        elif name not in new:
            yield f"input {option}: {name} is gone"
        elif old[name] != new[name]:
            yield _changed(f"input {name}", old[name], new[name])


def _changed(what: str, old: str, new: str) -> str:
    return f"{what} changed (sha256 {old[:8]}… → {new[:8]}…)"


def _words(values: list[str] | None) -> str:
    return "unset" if values is None else " ".join(values) or "empty"
