"""Digests, the closure of a script and the action key."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from adapter_build.core.digests import file_digest, set_digest
from adapter_build.core.faults import BadInput
from adapter_build.hermetic import closure as closure_module
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.closure import closure, code_digest

ROOT = Path(__file__).parents[3]


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_digest(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_set_digest_is_what_the_shell_computes(tmp_path):
    for name in ("xyz", "abc"):
        (tmp_path / name).write_text(f"data for {name}")
    # dirhash.Hash1 of Go's module system, as its documentation gives it for the shell.
    command = "sha256sum abc xyz | openssl dgst -sha256 -binary | openssl base64"
    expected = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert set_digest({name: tmp_path / name for name in ("xyz", "abc")}) == f"h1:{expected.strip()}"


def test_set_digest_knows_name_and_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = set_digest({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert first == set_digest({"b": tmp_path / "b", "a": tmp_path / "a"})
    assert first != set_digest({"b": tmp_path / "a", "a": tmp_path / "b"})
    (tmp_path / "b").write_text("c")
    assert first != set_digest({"a": tmp_path / "a", "b": tmp_path / "b"})


def test_closure_follows_our_imports_only():
    names = {path.relative_to(ROOT).as_posix() for path in closure(ROOT / "scripts/step.py")}
    assert {"scripts/step.py", "adapter_build/core/faults.py", "adapter_build/hermetic/__init__.py"} <= names
    assert "adapter_build/workflow/exclusive_build.py" not in names
    assert not any("site-packages" in name for name in names)


def test_code_digest_changes_with_an_imported_module(tmp_path, monkeypatch):
    scripts, package = tmp_path / "scripts", tmp_path / "adapter_build"
    for folder in (scripts, package):
        shutil.copytree(ROOT / folder.name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(closure_module, "ROOT", tmp_path)
    monkeypatch.setattr(closure_module, "SCRIPTS", scripts)
    before = code_digest(scripts / "step.py")
    (package / "workflow/exclusive_build.py").write_text("# nothing to do with step.py\n")
    assert code_digest(scripts / "step.py") == before
    with open(package / "hermetic/host.py", "a") as module:
        module.write("# a remark\n")
    assert code_digest(scripts / "step.py") == before
    with open(package / "hermetic/host.py", "a") as module:
        module.write("CHANGED = True\n")
    assert code_digest(scripts / "step.py") != before


# Each beside `first`: a module, how it was written, and whether it does the same written so.
first = '"""Says."""\nimport os\n\ndef one(x):\n    """Return one."""\n    return f"{x}" + "1"\n'
REWRITTEN = [
    (first, first.replace("import os", "import os  # for one"), True),
    (first, first.replace("\n\n", "\n\n\n\n"), True),
    (first, first.replace('"1"', "('1')"), True),
    (first, first.replace("Return one.", "Give one.").replace("Says.", "Tells."), True),
    (first, first.replace('    """Return one."""\n', ""), True),
    (first, first.replace('"1"', '"2"'), False),
    (first, first.replace("def one(x)", "def one(x: int)"), False),
    (first, first.replace("return", "return None;"), False),
    (first, first.replace('    """Return one."""\n', '    """Return one."""\n    """Two."""\n'), False),
    # What is read counts: by the module's own name for it, as argparse is given it, or as any function's.
    (f"{first}print(__doc__)\n", f"{first}print(__doc__)\n".replace("Says.", "Tells."), False),
    (f"{first}print(__doc__)\n", f"{first}print(__doc__)\n".replace("Return one.", "Give one."), True),
    (f"{first}print(one.__doc__)\n", f"{first}print(one.__doc__)\n".replace("Return one.", "Give one."), False),
    (f'{first}getattr(one, "__doc__")\n', f'{first}getattr(one, "__doc__")\n'.replace("one.", "1."), False),
    ("import inspect\n" + first + "print(inspect.getdoc(one))\n",
     "import inspect\n" + first.replace("Return one.", "Give one.") + "print(inspect.getdoc(one))\n", False),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "same"), REWRITTEN)
def test_code_is_what_it_does(tmp_path, monkeypatch, before, after, same):
    assert before != after
    monkeypatch.setattr(closure_module, "ROOT", tmp_path)
    monkeypatch.setattr(closure_module, "SCRIPTS", tmp_path)
    digests = []
    for text in (before, after):
        (tmp_path / "script.py").write_text(text)
        digests.append(code_digest(tmp_path / "script.py"))
    assert (digests[0] == digests[1]) is same


def test_a_docstring_that_another_module_reads_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(closure_module, "ROOT", tmp_path)
    monkeypatch.setattr(closure_module, "SCRIPTS", tmp_path)
    (tmp_path / "script.py").write_text("import words\nprint(words.__doc__)\n")
    digests = []
    for said in ("One.", "Two."):
        (tmp_path / "words.py").write_text(f'"""{said}"""\n')
        digests.append(code_digest(tmp_path / "script.py"))
    assert digests[0] != digests[1]


@pytest.fixture
def action(tmp_path, monkeypatch):
    """An action of a real script and lock whose input lies in a folder of its own."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "in.jsonl").write_text("{}\n")
    return Action(
        script=ROOT / "scripts/step.py",
        environment="curate",
        inputs={"records": [tmp_path / "in.jsonl"]},
        outputs={"out": [Path("results/out.jsonl")]},
        params={"seed": ["42"]},
    ).with_digests()


def test_action_key_ignores_where_files_lie(action, tmp_path):
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "in.jsonl", elsewhere)
    moved = dataclasses.replace(action, inputs={"records": [elsewhere / "in.jsonl"]}).with_digests()
    assert moved.key() == action.key()


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"seed": ["43"]}},
        {"environment": "tune"},
        {"threads": 2},
        {"devices": 1},
        {"outputs": {"out": [Path("results/other.jsonl")]}},
        {"script": ROOT / "adapter_build/core/jsonl.py"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_action_key_changes_with(action, change, monkeypatch):
    monkeypatch.setattr(
        "adapter_build.hermetic.action.device_class", lambda devices: f"gpu-{devices}" if devices else "cpu"
    )
    assert dataclasses.replace(action, **change).key() != action.key()


def test_action_key_changes_with_an_inputs_bytes(action, tmp_path):
    (tmp_path / "in.jsonl").write_text("{} \n")
    assert action.with_digests().key() != action.key()


def test_missing_input_is_named(action, tmp_path):
    (tmp_path / "in.jsonl").unlink()
    with pytest.raises(BadInput, match=r"in\.jsonl: declared as an input but missing"):
        action.with_digests()
