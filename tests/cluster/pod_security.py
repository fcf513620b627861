"""The rules of PodSecurity's level `restricted`, with those of `baseline`, and our own, over a pod's spec as JSON."""

from collections.abc import Callable, Iterator
from typing import Any

Pod = dict[str, Any]
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
SELINUX = {"container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
CONFINED = {"RuntimeDefault", "Localhost"}
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def containers(pod: Pod) -> list[dict[str, Any]]:
    """Return every container of a pod, of whatever kind."""
    return [one for kind in ("initContainers", "containers", "ephemeralContainers") for one in pod.get(kind) or []]


def _own(container: dict[str, Any]) -> dict[str, Any]:
    return container.get("securityContext") or {}


def _contexts(pod: Pod) -> Iterator[dict[str, Any]]:
    yield pod.get("securityContext") or {}
    yield from map(_own, containers(pod))


def _each(field: str, pod: Pod) -> list[Any]:
    """Return what holds of a field in each container: its own, else the pod's."""
    outer = (pod.get("securityContext") or {}).get(field)
    return [_own(container).get(field, outer) for container in containers(pod)]


def _capabilities(container: dict[str, Any], kind: str) -> set[str]:
    return set((_own(container).get("capabilities") or {}).get(kind) or [])


def _volume_kinds(pod: Pod) -> set[str]:
    return {kind for volume in pod.get("volumes") or [] for kind in volume if kind != "name"}


def _asked_hosts(pod: Pod) -> Iterator[str]:
    for container in containers(pod):
        hooks = (container.get("lifecycle") or {}).values()
        for action in [*(container.get(name) or {} for name in PROBES), *hooks]:
            for way in ("httpGet", "tcpSocket"):
                yield (action.get(way) or {}).get("host") or ""


def _resources(container: dict[str, Any], kind: str) -> set[str]:
    return set((container.get("resources") or {}).get(kind) or {})


RESTRICTED: dict[str, Callable[[Pod], bool]] = {
    "host namespaces": lambda pod: not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
    "host processes": lambda pod: not any(
        (context.get("windowsOptions") or {}).get("hostProcess") for context in _contexts(pod)
    ),
    "privileged": lambda pod: not any(_own(container).get("privileged") for container in containers(pod)),
    "volume types": lambda pod: _volume_kinds(pod) <= VOLUMES,
    "host ports": lambda pod: not any(
        port.get("hostPort") for container in containers(pod) for port in container.get("ports") or []
    ),
    "hosts of probes": lambda pod: not any(_asked_hosts(pod)),
    "AppArmor": lambda pod: all(
        (context.get("appArmorProfile") or {"type": "RuntimeDefault"})["type"] in CONFINED for context in _contexts(pod)
    ),
    "SELinux": lambda pod: all(
        (options.get("type") or "container_t") in SELINUX and not options.get("user") and not options.get("role")
        for options in (context.get("seLinuxOptions") or {} for context in _contexts(pod))
    ),
    "procMount": lambda pod: all((_own(one).get("procMount") or "Default") == "Default" for one in containers(pod)),
    "sysctls": lambda pod: {
        one["name"] for one in (pod.get("securityContext") or {}).get("sysctls") or []
    } <= SYSCTLS,
    "allowPrivilegeEscalation": lambda pod: all(
        _own(container).get("allowPrivilegeEscalation") is False for container in containers(pod)
    ),
    "runAsNonRoot": lambda pod: all(value is True for value in _each("runAsNonRoot", pod)),
    "runAsUser": lambda pod: all(context.get("runAsUser") != 0 for context in _contexts(pod)),
    "seccomp": lambda pod: (
        all((value or {}).get("type") in CONFINED for value in _each("seccompProfile", pod))
        and not any((context.get("seccompProfile") or {}).get("type") == "Unconfined" for context in _contexts(pod))
    ),
    "capabilities dropped": lambda pod: all("ALL" in _capabilities(one, "drop") for one in containers(pod)),
    "capabilities added": lambda pod: all(_capabilities(one, "add") <= {"NET_BIND_SERVICE"} for one in containers(pod)),
}  # fmt: skip
OURS: dict[str, Callable[[Pod], bool]] = {
    "read-only root": lambda pod: all(_own(one).get("readOnlyRootFilesystem") is True for one in containers(pod)),
    "no token": lambda pod: pod.get("automountServiceAccountToken") is False,
    "limits": lambda pod: all({"cpu", "memory"} <= _resources(one, "limits") for one in containers(pod)),
    "requests": lambda pod: all({"cpu", "memory"} <= _resources(one, "requests") for one in containers(pod)),
    "image by digest": lambda pod: all("@sha256:" in one["image"] for one in containers(pod)),
}


def broken(pod: Pod, rules: dict[str, Callable[[Pod], bool]] = RESTRICTED | OURS) -> list[str]:
    """Return the names of the rules that a pod does not meet."""
    return [name for name, holds in rules.items() if not holds(pod)]


def pods_of(document: Any) -> list[Pod]:
    """Return the pod's spec in a manifest of any kind that has one: a Pod, or a template below whatever."""
    if not isinstance(document, dict):
        return []
    if document.get("kind") == "Pod":
        return [document["spec"]]
    found = [
        value["spec"] for key, value in document.items()
        if key == "template" and isinstance(value, dict) and "containers" in (value.get("spec") or {})
    ]  # fmt: skip
    return found + [pod for value in document.values() for pod in pods_of(value)]
