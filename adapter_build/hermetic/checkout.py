"""Commit of the checkout: its id and whether tracked files differ from it, or the reason why none can be attested."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from adapter_build import ROOT
from adapter_build.core.printable import printable

SECONDS_TO_TELL = 30  # `git status` of a small project takes milliseconds; of a huge one on a slow disk, minutes
NOTHING_RUNS = {"core.fsmonitor": "false", "core.hooksPath": "/dev/null", "protocol.allow": "never"}
FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE")
CLONE = "git clone gives a checkout with its commit"


@dataclass(frozen=True)
class Commit:
    """The commit of a checkout, and whether tracked files differ from it.

    `id` None: `reason` says why there is none, `mend` how to get one.
    """

    id: str | None
    altered: bool = False
    reason: str = ""
    mend: str = ""


def own_commit(root: Path = ROOT) -> Commit:
    """Return the commit of the checkout `root`: of its own repository, never of one that encloses it."""
    if not os.path.lexists(root / ".git"):
        return Commit(None, reason="the checkout is no git repository", mend=CLONE)
    try:
        top = Path(os.fsdecode(_asked(root, "rev-parse", "--show-toplevel")))
        if not (top.exists() and top.samefile(root)):
            return Commit(None, reason=f"git takes {printable(str(top))} for the checkout", mend=CLONE)
        if git(root, "rev-parse", "--verify", "--quiet", "HEAD").returncode:
            return Commit(None, reason="the repository has no commit yet", mend="git commit")
        commit = _asked(root, "rev-parse", "--verify", "HEAD^{commit}").decode()
        status = "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty"
        return Commit(commit, altered=bool(_asked(root, *status)))
    except FileNotFoundError:
        return Commit(None, reason="git is not installed", mend="install git")
    except OSError as error:
        return Commit(None, reason=f"git cannot be run ({error.strerror})", mend="install git")
    except subprocess.TimeoutExpired:
        return Commit(None, reason=f"git took more than {SECONDS_TO_TELL} s", mend="git status shows why")
    except subprocess.CalledProcessError as refusal:
        said = refusal.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {refusal.returncode}"]
        foreign = "ownership" in said[0] or "unsafe repository" in said[0]
        mend = f"git config --global --add safe.directory {quote(str(root))}" if foreign else "git status shows it"
        return Commit(None, reason=f"git says: {printable(said[0]).removeprefix('fatal: ').rstrip('.')}", mend=mend)


def ignored_git_variables() -> str:
    """Return a line that names the set variables of git that would choose another repository or index; or nothing.

    Nothing here follows them.
    """
    names = [name for name in FOREIGN if name in os.environ]
    return f"{', '.join(names)}: not followed, lineage names this checkout's own commit or none" if names else ""


def git(root: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in the checkout `root`, whoever owns it, and ignore GIT_DIR and the like.

    Nothing that a foreign repository configures is run: hooks, monitors, filters. Raises `OSError` where git cannot be
    run, `subprocess.TimeoutExpired` where it takes too long.
    """
    settings = {**NOTHING_RUNS, "safe.directory": str(root.resolve())}
    if (root / ".git").exists() and (root / ".git").stat().st_uid != os.geteuid():
        found = _run(root, settings, "config", "--name-only", "--null", "--get-regexp", r"^filter\.").stdout
        settings |= dict.fromkeys(filter(None, os.fsdecode(found).split("\0")), "")
    return _run(root, settings, *words)


def _run(root: Path, settings: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for number, (name, value) in enumerate(settings.items()):
        kept |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    told = {
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_CEILING_DIRECTORIES": str(root.resolve().parent),
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    return subprocess.run(
        ["git", *words], cwd=root, env={**kept, **told}, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=SECONDS_TO_TELL, check=False,
    )  # fmt: skip


def _asked(root: Path, *words: str) -> bytes:
    """Return the output of git without its line end. Raises `subprocess.CalledProcessError`."""
    done = git(root, *words)
    done.check_returncode()
    return done.stdout.removesuffix(b"\n")
