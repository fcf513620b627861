"""A machine that a build cannot write to, or a user without name or home: said in one line, or seen to."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from adapter_build.core import file_systems
from adapter_build.core.faults import BadInput
from adapter_build.workflow import begin_build
from adapter_build.workflow.writable_checkout import WRITTEN, check_writable

NAMELESS = 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who can be anyone")


def test_a_user_without_a_name_gets_one_for_snakemake(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("uid not found")))
    begin_build.name_user()
    assert os.environ["USER"] == f"uid-{os.geteuid()}"
    monkeypatch.setenv("USER", "law")
    begin_build.name_user()
    assert os.environ["USER"] == "law", "the twin: one who has a name keeps it"


@as_root
@pytest.mark.parametrize(
    ("home", "seen"),
    [
        (None, ("{here}/.snakemake/home", "{here}/.snakemake/cache")),
        ("/nonexistent", ("/nonexistent", "{here}/.snakemake/cache")),
        ("{here}", ("{here}", "")),
    ],
)
def test_make_sees_to_a_home_and_a_cache(tmp_path, home, seen):
    for above in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        above.chmod(above.stat().st_mode | 0o055)
    os.chown(tmp_path, NAMELESS, NAMELESS)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    variables = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    variables |= {"HOME": home.format(here=tmp_path)} if home else {}
    who = ["setpriv", f"--reuid={NAMELESS}", f"--regid={NAMELESS}", "--clear-groups"]
    shows = ["make", "-s", '--eval=show: ; @echo "$$HOME|$$XDG_CACHE_HOME"', "show"]
    done = subprocess.run([*who, *shows], cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "|".join(seen).format(here=tmp_path)


@pytest.mark.parametrize("below", ["", "/raw"])
def test_a_folder_of_ones_own_that_is_closed(tmp_path, monkeypatch, below):
    monkeypatch.chdir(tmp_path)
    for name in WRITTEN:
        Path(name).mkdir()
    closed = Path(f"results{below}")
    closed.mkdir(exist_ok=True)
    check_writable()
    refuses = os.access
    monkeypatch.setattr(os, "access", lambda path, bits, **how: Path(path) != closed and refuses(path, bits, **how))
    with pytest.raises(BadInput, match=rf"results{below}: not writable: .*chmod u\+rwX {tmp_path}/results{below}$"):
        check_writable()


def test_a_full_disk_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("adapter_build.workflow.writable_checkout.free_bytes", lambda _: 1000)
    monkeypatch.setattr(file_systems, "free_bytes", lambda _: 1000)
    with pytest.raises(BadInput, match=r"^the file system /\S* \(0.0 MB left\) is full: free some space there"):
        check_writable()


def test_where_a_path_lies(tmp_path):
    assert file_systems.mount_point(Path("/proc/self/status")) == Path("/proc")
    assert file_systems.mount_point(Path("/proc/none/at/all")) == Path("/proc")
    assert tmp_path.is_relative_to(file_systems.mount_point(tmp_path / "not there yet"))
