"""Lineage's commit is the checkout's own, or none and the reason: on real repositories, each with its twin."""

import dataclasses
import os
import shutil
import string
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT, Checkout
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.audit.verify_attestations import check_commits
from adapter_build.core.digests import file_digest
from adapter_build.hermetic import attestation, checkout
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.checkout import own_commit
from adapter_build.hermetic.execution import RunFacts
from adapter_build.lineage.attested_steps import origins, read_step

WHO = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
STRANGER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")


def git(folder: Path, *words: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *WHO, *words], cwd=folder, env=kept, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def committed(folder: Path, **files: str) -> str:
    """Make a repository with these files in `folder`; return its commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    for name, text in (files or {"a": "a\n"}).items():
        (folder / name).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", f"all of {folder}")
    return git(folder, "rev-parse", "HEAD")


def give(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, uid, uid)


def test_a_checkout_has_its_own_commit_and_altered_is_about_tracked_files(tmp_path):
    commit = committed(tmp_path)
    assert own_commit(tmp_path) == checkout.Commit(commit)
    (tmp_path / "untracked").write_text("")
    assert own_commit(tmp_path) == checkout.Commit(commit)
    (tmp_path / "a").write_text("b\n")
    assert own_commit(tmp_path) == checkout.Commit(commit, altered=True)
    (tmp_path / "a").unlink()
    assert own_commit(tmp_path) == checkout.Commit(commit, altered=True)


def test_an_archive_inside_another_repository_has_none(tmp_path):
    outer = committed(tmp_path / "outer")
    inner = tmp_path / "outer/adapters"
    inner.mkdir()
    (inner / "a").write_text("a\n")
    found = own_commit(inner)
    assert found.id is None and found.reason == "the checkout is no git repository"
    (inner / ".git").mkdir()  # of a repository that was removed by halves
    found = own_commit(inner)
    assert found.id is None and "not a git repository" in found.reason
    shutil.rmtree(inner / ".git")
    assert committed(inner) == own_commit(inner).id != outer


@settings(derandomize=True, deadline=None, max_examples=8)
@given(
    outer=st.text(string.ascii_letters + " '\"äß:*~$=", min_size=1, max_size=8).filter(str.strip),
    inner=st.lists(st.text(string.ascii_letters + " -'ü", min_size=1, max_size=6).filter(str.strip), max_size=2),
    repository=st.booleans(),
    linked=st.booleans(),
)
def test_whatever_the_folders_are_called(outer, inner, repository, linked):
    """The commit is the checkout's own, through a link too; where it has none the outer one never stands in for it."""
    with tempfile.TemporaryDirectory() as scratch:
        others = committed(Path(scratch, f"o{outer}"))
        root = Path(scratch, f"o{outer}", *(f"i{name}" for name in inner), "checkout")
        root.mkdir(parents=True)
        own = committed(root, a="own\n") if repository else None
        if linked:
            Path(scratch, "link").symlink_to(root)
            root = Path(scratch, "link")
        assert own_commit(root).id == own != others


def test_worktrees_submodules_and_shallow_clones_have_theirs(tmp_path):
    commit = committed(tmp_path / "main")
    git(tmp_path / "main", "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    (tmp_path / "tree/a").write_text("tree\n")
    git(tmp_path / "tree", "commit", "-q", "-a", "-m", "in the worktree")
    other = git(tmp_path / "tree", "rev-parse", "HEAD")
    assert own_commit(tmp_path / "tree").id == other and own_commit(tmp_path / "main").id == commit != other
    committed(tmp_path / "super")
    add = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "main"), "sub")
    git(tmp_path / "super", *add)
    assert own_commit(tmp_path / "super/sub").id == commit
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{tmp_path / 'tree'}", "shallow")
    assert own_commit(tmp_path / "shallow").id == other
    shutil.rmtree(tmp_path / "main")  # what the worktree's .git names is gone
    assert own_commit(tmp_path / "tree").reason.startswith("git says: not a git repository")


def test_exported_variables_of_git_are_not_obeyed(tmp_path, monkeypatch):
    commit, other = committed(tmp_path / "mine"), committed(tmp_path / "other", b="b\n")
    assert commit != other
    for name, value in {
        "GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index", "GIT_OBJECT_DIRECTORY": ".git/objects",
        "GIT_NAMESPACE": "x", "GIT_CEILING_DIRECTORIES": ".",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(tmp_path / "other" / value))
    assert own_commit(tmp_path / "mine") == checkout.Commit(commit)
    assert checkout.ignored_git_variables() == (
        "GIT_DIR, GIT_WORK_TREE, GIT_INDEX_FILE, GIT_OBJECT_DIRECTORY, GIT_NAMESPACE: not followed, lineage names this "
        "checkout's own commit or none"
    )
    (tmp_path / "plain").mkdir()
    assert own_commit(tmp_path / "plain").id is None


def test_a_configured_work_tree_elsewhere_is_not_this_checkout(tmp_path):
    committed(tmp_path / "mine")
    (tmp_path / "elsewhere").mkdir()
    git(tmp_path / "mine", "config", "core.worktree", str(tmp_path / "elsewhere"))
    found = own_commit(tmp_path / "mine")
    assert found.id is None and found.reason == f"git takes {tmp_path / 'elsewhere'} for the checkout"


@as_root
def test_a_strangers_checkout_has_its_commit_and_nothing_of_his_runs(tmp_path):
    commit = committed(tmp_path / "c", a="a\n", **{".gitattributes": "* filter=theirs\n"})
    ran = tmp_path / "ran"
    for name in ("core.fsmonitor", "filter.theirs.clean", "filter.theirs.process", "diff.external"):
        git(tmp_path / "c", "config", name, f"touch {ran}; cat")
    (tmp_path / "c/a").write_text("b\n")
    give(tmp_path / "c", STRANGER)
    refused = subprocess.run(["git", "status"], cwd=tmp_path / "c", capture_output=True, text=True, check=False)
    assert refused.returncode and "dubious ownership" in refused.stderr, "a twin that git itself refuses"
    assert own_commit(tmp_path / "c") == checkout.Commit(commit, altered=True)
    assert not ran.exists()
    above = tmp_path / "c/below"
    above.mkdir()
    assert own_commit(above).id is None, "only the checkout is trusted, and nothing above it"


@as_root
def test_where_git_does_not_let_itself_be_told_the_mend_is_named(tmp_path, monkeypatch):
    """As git before 2.38 does not, but in a file of the user's."""
    committed(tmp_path / "c")
    give(tmp_path / "c", STRANGER)
    monkeypatch.setattr(checkout, "_run", _untold)
    found = own_commit(tmp_path / "c")
    assert found.id is None and "dubious ownership" in found.reason
    assert found.mend == f"git config --global --add safe.directory {tmp_path / 'c'}"


def _untold(root, _settings, *words):
    return subprocess.run(["git", *words], cwd=root, capture_output=True, check=False)


def test_without_a_commit_git_or_time_the_reason_is_told(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    assert own_commit(tmp_path).reason == "the repository has no commit yet"
    committed(tmp_path)
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(checkout, "SECONDS_TO_TELL", 0.3)
    assert own_commit(tmp_path).reason == "git took more than 0.3 s"
    program.chmod(0o644)
    monkeypatch.setenv("PATH", str(program.parent))
    assert own_commit(tmp_path).reason == "git cannot be run (Permission denied)"
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert own_commit(tmp_path) == checkout.Commit(None, reason="git is not installed", mend="install git")


def test_the_attestation_carries_the_commit_or_why_there_is_none(tmp_path, monkeypatch):
    action = Action(ROOT / "scripts/join_shards.py", "workflow", {}, {"o": [Path("results/o")]}, {})
    found = {}
    for name in ("with", "without"):
        root = tmp_path / name
        if name == "with":
            commit = committed(root)
        root.mkdir(exist_ok=True)
        monkeypatch.setattr(attestation, "own_commit", lambda root=root: own_commit(root))
        monkeypatch.chdir(ROOT)
        statement = attestation.statement(
            name, action, {Path("results/o"): "0" * 64}, attestation.now(), RunFacts("host", "none")
        )
        found[name] = read_step(attestation.sealed(statement))
    assert found["with"].commit == commit and not found["with"].altered and "noCommit" not in found["with"].ran
    reason = "the checkout is no git repository: git clone gives a checkout with its commit"
    assert found["without"].commit is None and found["without"].ran["noCommit"] == reason
    assert list(origins(found.values())) == [f"commit {commit}", f"no commit ({reason})"]
    note = next(finding for finding in check_commits(found, tmp_path) if finding.name == "commit")
    assert (note.kind, note.what) == ("note", f"no commit ({reason}): without")
    before = dataclasses.replace(found["without"], ran={})
    assert list(origins([before])) == ["no commit (its attestation does not say why)"]


@as_root
def test_a_user_without_a_name(monkeypatch):
    """As the numbers that clusters give to containers."""
    code = "from adapter_build.hermetic.attestation import _user; print(_user())"
    command = ["setpriv", "--reuid", str(STRANGER), "--clear-groups", sys.executable, "-B", "-c", code]
    variables = {name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME", "HOME")}
    done = subprocess.run(
        command, env={**variables, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    if "ermission denied" in done.stderr:
        pytest.skip("this checkout's environment cannot be entered by other users")
    assert done.stdout == f"uid {STRANGER}\n", done.stderr


@pytest.mark.parametrize("attributes", [True, False])
def test_a_clone_with_autocrlf_has_the_same_bytes(tmp_path, attributes):
    """Digests are of bytes. Without .gitattributes, the twin, scripts and locks are others there."""
    made = Checkout(tmp_path / "whole")
    made.fill()
    (made.folder / ".venvs").unlink()
    if not attributes:
        (made.folder / ".gitattributes").unlink()
    git(made.folder, "init", "-q")
    git(made.folder, "add", ".")
    git(made.folder, "commit", "-q", "-m", "all")
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "-q", str(made.folder), "clone")
    names = [Path(name) for name in git(made.folder, "ls-files", "-z").split("\0") if name]
    other = {str(name) for name in names if file_digest(made.folder / name) != file_digest(tmp_path / "clone" / name)}
    if attributes:
        assert not other
    else:
        assert {"scripts/step.py", "containers/tune/requirements.lock", "prompts/law-titlegen.jq"} < other
