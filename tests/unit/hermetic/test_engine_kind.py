"""An engine's kind by what it says of itself, and what containers then get: a step's, and NIM's."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from docker import APIClient
from hypothesis import given, settings
from hypothesis import strategies as st
from test_nim_settings import SETTINGS

from adapter_build.core.faults import BadInput
from adapter_build.hermetic import bubblewrap, docker, landlock, runtime
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.engine_kind import USUAL, EngineKind, engine_kind
from adapter_build.hermetic.execution import Limits
from adapter_build.nim import container as nim_container

ROOTLESS, REMAPPED, SELINUX = EngineKind(rootless=True), EngineKind(remapped=True), EngineKind(selinux=True)


def client(**info):
    return SimpleNamespace(info=lambda: info)


def offline():
    return APIClient(base_url="unix:///nowhere", version="1.41")  # makes configurations, asks no engine


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["name=apparmor", "name=seccomp,profile=default"], USUAL),
        (["name=seccomp,profile=builtin", "name=cgroupns"], USUAL),
        (["name=seccomp,profile=default", "name=rootless"], ROOTLESS),
        (["name=userns"], REMAPPED),
        (["name=selinux"], SELINUX),
        (["name=seccomp,profile=/etc/name=rootless"], USUAL),
        ([], USUAL),
        (None, USUAL),
    ],
)
def test_what_an_engine_says_of_itself(options, kind):
    assert engine_kind(client(SecurityOptions=options, MemoryLimit=True)) == kind


def test_limits_that_do_not_hold_and_containers_of_another_system():
    assert engine_kind(client(MemoryLimit=False)).described == "memory not bounded"
    with pytest.raises(BadInput, match="the engine runs windows containers: switch it to Linux ones"):
        engine_kind(client(OSType="windows"))


def step(kind, tmp_path, monkeypatch, uid=1234, groups=(44, 100)):
    monkeypatch.chdir(ROOT)
    for name, value in (("getuid", uid), ("getgid", 100), ("getgroups", list(groups))):
        monkeypatch.setattr(docker.os, name, lambda value=value: value)
    tmp_path.mkdir(exist_ok=True)
    action = Action(Path("scripts/tune_adapter.py"), "tune", {"lock": [Path("data.lock.yaml")]}, {}, {})
    place = SimpleNamespace(out=tmp_path, scratch=tmp_path, kept=None, secrets=None, lock=tmp_path / "x.lock")
    return docker._configuration(offline(), action, place, Limits(), "sha256:1", kind)


def nim(kind):
    return nim_container.configuration(
        offline(), "sha256:1", SETTINGS, Path("/s"), Path("/c"), 8123, {}, {"a": "b"}, kind
    )


def test_as_whom_containers_run(tmp_path, monkeypatch):
    """A rootless engine's root is the user; another engine has the user's number and lends his groups."""
    usual, rootless = (step(kind, tmp_path, monkeypatch) for kind in (USUAL, ROOTLESS))
    assert usual["User"] == "1234:100" and usual["HostConfig"]["GroupAdd"] == ["44"]
    assert rootless["User"] == "0:0" and not rootless["HostConfig"].get("GroupAdd")
    assert (nim(USUAL)["User"], nim(ROOTLESS)["User"]) == ("1000:1000", "0:0")
    for made in (usual, rootless, nim(ROOTLESS)):
        assert made["HostConfig"]["CapDrop"] == ["ALL"] and "no-new-privileges" in made["HostConfig"]["SecurityOpt"]
        assert "uid=" not in str(made["HostConfig"].get("Tmpfs")), "an option that Podman refuses"


def test_selinux_and_remapped_users_where_there_are_any_and_nowhere_else(tmp_path, monkeypatch):
    for make in (lambda kind: step(kind, tmp_path, monkeypatch), nim):
        usual, labelled, remapped = (make(kind)["HostConfig"] for kind in (USUAL, SELINUX, REMAPPED))
        assert labelled["SecurityOpt"] == ["no-new-privileges", "label=disable"]
        assert usual["SecurityOpt"] == remapped["SecurityOpt"] == ["no-new-privileges"]
        assert remapped["UsernsMode"] == "host" and not usual.get("UsernsMode") and not labelled.get("UsernsMode")


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.builds(EngineKind, *[st.booleans()] * 4))
def test_each_kind_says_what_is_special_and_a_usual_one_nothing(kind):
    said = kind.described.split(", ") if kind.described else []
    assert len(said) == [kind.rootless, kind.remapped, kind.selinux, not kind.bounded].count(True)
    assert ("label=disable" in kind.security) == kind.selinux


def test_the_first_line_of_a_build_says_it(monkeypatch):
    taken = runtime.Runtime("host", ())
    monkeypatch.setattr(bubblewrap, "obstacle", lambda: "")
    assert str(taken) == "host (bubblewrap): as configured"
    mend = "bubblewrap is not installed: apt install bubblewrap"
    monkeypatch.setattr(bubblewrap, "obstacle", lambda: mend)
    monkeypatch.setattr(landlock, "version", lambda: 2)
    assert str(taken).startswith(f"host (less isolation, landlock abi 2: {mend}; left open: names of files and ")
    assert "files that the user may write can be cut short, devices that are open can be set, signals" in str(taken)
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(landlock.platform, "release", lambda: "5.10.0-21-amd64")
    unheld = f"{mend} (its kernel is older than 5.13)"
    assert str(taken) == f"host (no isolation: {unheld}): as configured"
    monkeypatch.setattr(landlock.platform, "release", lambda: "6.1.0")
    assert "(its Landlock is off: boot it with lsm=landlock,…)" in str(taken)
    monkeypatch.setattr(landlock.platform, "release", lambda: "5.10.0-21-amd64")
    with pytest.raises(BadInput) as refused:
        runtime.Runtime("host", (), isolated="required")
    assert str(refused.value) == (f"isolation: required needs bubblewrap or Landlock: {unheld}; or set isolation: best")
    assert runtime.Runtime("host", (), sent=True, isolated="required").name == "host", "each node's runner sees to it"
    taken.name, taken.reason = "docker", "an engine answers and has every image"
    for kind, held in ((USUAL, ""), (ROOTLESS, " (rootless engine)"), (SELINUX, " (SELinux labels off for steps)")):
        monkeypatch.setattr(runtime.docker_engine, "engine", nullcontext)
        monkeypatch.setattr(runtime, "engine_kind", lambda _client, kind=kind: kind)
        assert str(taken) == f"docker{held}: an engine answers and has every image"
