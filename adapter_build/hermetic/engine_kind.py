"""Kinds of container engines: the user that a container runs as to own this user's files, and its other settings.

File modes hold inside a container, too. With an engine that runs as root the container has this user's own uid. With a
rootless engine the container's root is this user, and every other uid is a stranger to the user's files. Where the
engine remaps the users of its containers (userns-remap), ours are exempted from that.
"""

from dataclasses import dataclass
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.access import Reader


@dataclass(frozen=True)
class EngineKind:
    """The properties of an engine that decide how steps run in it, as it reports them."""

    rootless: bool = False
    remapped: bool = False
    selinux: bool = False
    bounded: bool = True  # it can bound the memory of a container

    def user(self, uid: int, gid: int) -> str:
        """Return the container's `uid:gid` that stands for `uid` and `gid`, this user's own, outside of it."""
        return "0:0" if self.rootless else f"{uid}:{gid}"

    def reader(self, uid: int, gid: int, groups: list[int]) -> Reader:
        """Return this user as files outside see the container: with a rootless engine without further groups."""
        return Reader(uid, frozenset([gid] if self.rootless else [gid, *groups]))

    @property
    def security(self) -> list[str]:
        """Return a container's security options: with SELinux's labels on it could read no mounted file."""
        return ["no-new-privileges", *(["label=disable"] if self.selinux else [])]

    @property
    def user_namespace(self) -> str | None:
        """Return the user namespace to ask for: the machine's own where the engine would remap users."""
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
    """Return the kind of the engine of this client. Raises `BadInput` for one that runs no Linux containers."""
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
