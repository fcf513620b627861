"""Kinds of container engines: as whom a process runs there that is to be the user outside, and what else it needs.

A container sees the modes of what is mounted into it. With an engine that runs as root it has the user's own number;
with a rootless one the container's root is the user, and every other number a stranger to the user's files; where
the engine gives its containers other users (userns-remap), a container of ours is taken out of that.
"""

from dataclasses import dataclass
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.access import Reader


@dataclass(frozen=True)
class EngineKind:
    """An engine's account of itself."""

    rootless: bool = False
    remapped: bool = False
    selinux: bool = False
    bounded: bool = True  # whether it bounds the memory of a container

    def user(self, uid: int, gid: int) -> str:
        """Return as whom a container runs so that its files outside are those of `uid` and `gid`, this user's own."""
        return "0:0" if self.rootless else f"{uid}:{gid}"

    def reader(self, uid: int, gid: int, groups: list[int]) -> Reader:
        """Return who that is outside: with a rootless engine, which cannot lend them, without further groups."""
        return Reader(uid, frozenset([gid] if self.rootless else [gid, *groups]))

    @property
    def security(self) -> list[str]:
        """Return a container's security options: SELinux would deny it every file that is mounted."""
        return ["no-new-privileges", *(["label=disable"] if self.selinux else [])]

    @property
    def user_namespace(self) -> str | None:
        """Return the user namespace to ask for: the machine's own where containers would be given others."""
        return "host" if self.remapped else None

    @property
    def described(self) -> str:
        """Return in words how this engine differs from most; empty where it does not."""
        words = [
            "rootless engine" if self.rootless else "",
            "users not remapped for steps" if self.remapped else "",
            "SELinux labels off for steps" if self.selinux else "",
            "" if self.bounded else "memory not bounded",
        ]
        return ", ".join(filter(None, words))


USUAL = EngineKind()


def engine_kind(client: Any) -> EngineKind:
    """Return the kind of the engine that answers."""
    info = client.info()
    named = {option.split(",")[0] for option in info.get("SecurityOptions") or ()}
    if info.get("OSType", "linux") != "linux":
        raise BadInput(f"the engine runs {info['OSType']} containers: switch it to Linux ones, or set runtime: host")
    return EngineKind(
        rootless="name=rootless" in named,
        remapped="name=userns" in named,
        selinux="name=selinux" in named,
        bounded=info.get("MemoryLimit", True),
    )
