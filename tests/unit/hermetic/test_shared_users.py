"""A store in a folder that two users share by their group: two real users, and one who is not of the group."""

import contextlib
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attestation_samples import statement

from adapter_build.core.digests import file_digest
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.envelope import seal
from adapter_build.hermetic.reuse import Reuse
from adapter_build.hermetic.store import Hit, Store

ROOT = Path(__file__).parents[3]
ANNA, BEN, EVE, TEAM = 20001, 20002, 20003, 20010
KEY = "ab" * 32
ENVELOPE = seal(statement("o", "results/o"), None)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which alone can become other users")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def shared(place: Path, mode: int) -> Path:
    """Make the store's folder as an administrator does: chgrp team, chmod g+ws."""
    folder = place / "store"
    folder.mkdir()
    os.chown(folder, ANNA, TEAM)
    folder.chmod(mode)
    return folder


def as_user(uid: int, groups: list[int], umask: int, work: Callable[[], Any]) -> str:
    """Return what `work` prints and what it returns, in a process of that user."""
    end, begin = os.pipe()
    if not (child := os.fork()):
        said = io.StringIO()
        try:
            os.setgroups(groups)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.umask(umask)
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                print(work())
        except BaseException as error:
            print(repr(error), file=said)
        finally:
            os.write(begin, said.getvalue().encode())
            os._exit(0)
    os.close(begin)
    with open(end) as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found


def own(place: Path, name: str, uid: int) -> Path:
    """Make a file that only its user may read."""
    path = place / name
    path.write_text(f"made by {uid}")
    os.chown(path, uid, uid)
    path.chmod(0o400)
    return path


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_two_users_of_a_group_share_a_store(place: Path, umask: int) -> None:
    """Whatever their umask: the folder says that it is the group's."""
    folder = shared(place, 0o2770)
    for maker, taker in ((ANNA, BEN), (BEN, ANNA)):
        source = own(place, f"source-{maker}", maker)
        digest, key = file_digest(source), f"{maker:064x}"
        target = place / f"of-{taker}"
        target.mkdir()
        os.chown(target, taker, taker)

        def make(source: Path = source, digest: str = digest, key: str = key) -> str:
            store = Store(folder)
            store.open()
            store.put(source, digest)
            store.record(key, Hit({"out": [digest]}, ENVELOPE))
            store.record(KEY, Hit({"out": [digest]}, ENVELOPE))  # in the same folder as the other's, in its place
            store.close()
            return "made"

        def take(target: Path = target, digest: str = digest, key: str = key) -> Any:
            store = Store(folder)
            store.open()
            found = store.find(key), store.find(KEY), store.get(digest, target / "out")
            store.close()
            return all(found)

        assert as_user(maker, [TEAM], umask, make) == "made\n"
        assert as_user(taker, [TEAM], umask, take) == "True\n"
        assert (target / "out").read_text() == f"made by {maker}"
    for path in folder.rglob("*"):
        mode = path.stat().st_mode
        assert path.stat().st_gid == TEAM
        wanted = 0o2070 if path.is_dir() else 0o060 if path.name == "in-use" else 0o444
        assert stat.S_IMODE(mode) & wanted == wanted, f"{path}: {stat.S_IMODE(mode):o}"
    for path in folder.rglob("*/*/*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_a_damaged_object_of_the_other_is_removed(place: Path) -> None:
    folder = shared(place, 0o2770)
    source = own(place, "source", ANNA)
    digest = file_digest(source)
    as_user(ANNA, [TEAM], 0o022, lambda: Store(folder).put(source, digest))
    [path] = folder.glob("objects/*/*")
    path.chmod(0o644)
    path.write_text("rotten")
    (place / "out").mkdir()
    os.chown(place / "out", BEN, BEN)
    said = as_user(BEN, [TEAM], 0o022, lambda: Store(folder).get(digest, place / "out/x"))
    assert "was not what its name says, and is removed\nFalse\n" in said and not path.exists()


def test_a_store_of_ones_own_stays_so(place: Path) -> None:
    """In a folder that is not its group's, nothing is."""
    folder = shared(place, 0o755)
    source = own(place, "source", ANNA)
    as_user(ANNA, [TEAM], 0o022, lambda: (Store(folder).open(), Store(folder).put(source, file_digest(source))))
    assert not any(path.stat().st_mode & stat.S_IWGRP for path in [folder, *folder.rglob("*")])


@pytest.mark.parametrize(("mode", "may_read"), [(0o2770, False), (0o2775, True)])
def test_who_is_not_of_the_group_is_told_in_one_line(place: Path, mode: int, may_read: bool) -> None:
    folder = shared(place, mode)
    source = own(place, "source", ANNA)
    digest = file_digest(source)

    def fill() -> None:
        store = Store(folder)
        store.open()
        store.put(source, digest)
        store.record(KEY, Hit({"o": [digest]}, ENVELOPE))

    as_user(ANNA, [TEAM], 0o022, fill)
    action = Action(ROOT / "scripts/join_shards.py", "workflow", {}, {"o": [Path("results/o")]}, {})
    action.key()
    home = place / "eve"
    (home / "results").mkdir(parents=True)
    (home / "results/o").write_text("o")
    for path in (home, home / "results", home / "results/o"):
        os.chown(path, EVE, EVE)
    made = {Path("results/o"): file_digest(home / "results/o")}

    def build() -> bool:
        os.environ.update({"STEP_STORE": str(folder), "STEP_STORE_URL": "", "STEP_TRUSTED": "", "STEP_KEY": ""})
        with Reuse("o", action, enabled=True) as reuse:
            here: Any = SimpleNamespace(out=home)
            reuse.restored(here, None)  # type: ignore[arg-type]
            reuse.remember(here, made, ENVELOPE)
            reuse.remember(here, made, ENVELOPE)
        return Store(folder).get(digest, home / "got") if may_read else True

    *said, result = as_user(EVE, [], 0o022, build).splitlines()
    assert result == "True"
    [line] = said
    assert line.startswith(f"  store {folder} cannot be used: Permission denied (mode {mode:o}, of uid {ANNA}): join")
    assert not [path for path in folder.rglob("*") if path.stat().st_uid == EVE]
