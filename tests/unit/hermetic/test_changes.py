"""Reasons for which a step would run: the files of our code that changed for it, and their parts."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from adapter_build.hermetic.action import Action
from adapter_build.hermetic.changes import changes
from adapter_build.hermetic.closure import code_of

JSONL, SCRIPT = "adapter_build/core/jsonl.py", "scripts/split_records.py"


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch) -> Action:
    """An action of a step's own script."""
    monkeypatch.chdir(ROOT)
    return Action(ROOT / SCRIPT, "curate", {}, {"train": [Path("results/train.jsonl")]}, {"seed": ["42"]})


def attested(action: Action) -> dict[str, Any]:
    """Return the parts of an attestation that tell what a step was made of."""
    used = {path.relative_to(ROOT).as_posix(): code for path, code in code_of(action.script).items()}
    dependencies = [
        {"name": name, "annotations": {"code": code.digest, "parts": dict(code.parts)}} for name, code in used.items()
    ]
    definition = {"internalParameters": {"action": dict(action.description)}, "resolvedDependencies": dependencies}
    return {"predicate": {"buildDefinition": definition}}


def _parts(**parts: str | None) -> Callable[[dict[str, Any]], None]:
    """Return a change of the parts of JSONL that were attested."""

    def change(found: dict[str, Any]) -> None:
        found[JSONL]["code"] = "0" * 64
        for name, digest in parts.items():
            if digest is None:
                del found[JSONL]["parts"][name]
            else:
                found[JSONL]["parts"][name] = digest

    return change


def _many(found: dict[str, Any]) -> None:
    found[SCRIPT]["code"] = "0" * 64
    found[SCRIPT]["parts"] = {f"f{number}": "0" * 12 for number in range(9)} | found[SCRIPT]["parts"]


# Each: what was attested otherwise, and what is told of it.
ATTESTED: dict[str, tuple[Callable[[dict[str, Any]], object], list[str]]] = {
    "nothing": (lambda found: None, []),
    "a function": (_parts(read_jsonl="0" * 12), ["read_jsonl changed"]),
    "one more": (_parts(old="0" * 12), ["old is gone"]),
    "one less": (_parts(read_jsonl=None), ["read_jsonl is new"]),
    "several": (_parts(read_jsonl="0" * 12, old="0" * 12), ["read_jsonl changed, old is gone"]),
    "their order": (_parts(), [""]),
    "many": (_many, ["f0 is gone, f1 is gone, f2 is gone, f3 is gone, f4 is gone, 4 more"]),
}


@pytest.mark.parametrize("case", ATTESTED)
def test_parts_are_named(action: Action, case: str) -> None:
    change, told = ATTESTED[case]
    before = attested(action)
    change(
        {item["name"]: item["annotations"] for item in before["predicate"]["buildDefinition"]["resolvedDependencies"]}
    )
    if told:
        before["predicate"]["buildDefinition"]["internalParameters"]["action"]["code"] = "h1:another"
    lines = changes(action, before)
    assert [line.partition(" does something else (code ")[2].partition("…)")[2] for line in lines] == [
        f": {parts}" if parts else "" for parts in told
    ]
    assert all(line.startswith((f"{JSONL} does", f"{SCRIPT} does")) for line in lines)


def test_files_are_named(action: Action) -> None:
    before = attested(action)
    definition = before["predicate"]["buildDefinition"]
    definition["internalParameters"]["action"]["code"] = "h1:another"
    used, imported = {"code": "0" * 64, "parts": {"f": "0" * 12}}, {"code": "0" * 64, "parts": {}}
    definition["resolvedDependencies"] = [
        *(item for item in definition["resolvedDependencies"] if item["name"] != JSONL),
        {"name": "adapter_build/old.py", "annotations": used},
        {"name": "adapter_build/unused.py", "annotations": imported},
    ]
    assert changes(action, before) == [f"{JSONL} is new to it", "adapter_build/old.py is no longer used"]


def test_a_key_of_another_form_is_compared_with_nothing(action: Action) -> None:
    before = attested(action)
    other = copy.deepcopy(before)
    other["predicate"]["buildDefinition"]["internalParameters"]["action"]["version"] = 2
    assert changes(action, other) == ["its key has another form (version 2 → 3)"]
    assert changes(action, before) == [] and changes(action, None) == ["it has not run before"]
