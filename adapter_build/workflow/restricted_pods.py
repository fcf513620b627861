"""Job pods of a build on Kubernetes, made to meet PodSecurity's level `restricted`.

Snakemake's executor has no setting for a pod's securityContext, and would install the storage plugin anew in every pod,
from an index and in any version; the image has the locked one.
"""

import sys
from typing import Any

PLUGIN = "snakemake_executor_plugin_kubernetes"
USER = 1000
LABELS = {"app.kubernetes.io/component": "build-step"}  # the pods that deploy/kubernetes/network.yaml lets out
HOME = "/workdir"  # the pod's own volume, where steps run


def restrict_pods() -> None:
    """Patch the Kubernetes executor, if this build uses it, so that every job's pod meets `restricted`."""
    plugin = sys.modules.get(PLUGIN)
    if plugin is None:
        return
    plugin.common_settings.auto_deploy_default_storage_provider = False
    api = plugin.kubernetes.client.BatchV1Api
    send = api.create_namespaced_job

    def create_namespaced_job(self: Any, namespace: str, body: Any, **options: Any) -> Any:
        restrict(body.spec.template, plugin.kubernetes.client)
        return send(self, namespace, body, **options)

    api.create_namespaced_job = create_namespaced_job


def restrict(template: Any, kinds: Any) -> None:
    """Set an ordinary user, no capability, no token and a read-only root in a pod's template, of the client's `kinds`.

    A security context that it had is replaced: no profile can make a pod privileged.
    """
    template.metadata = template.metadata or kinds.V1ObjectMeta()
    template.metadata.labels = {**(template.metadata.labels or {}), **LABELS}
    pod = template.spec
    pod.automount_service_account_token = False
    pod.enable_service_links = False
    pod.security_context = kinds.V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=USER,
        run_as_group=USER,
        fs_group=USER,  # so that it may write to its volumes
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=kinds.V1SeccompProfile(type="RuntimeDefault"),
    )
    pod.volumes.append(kinds.V1Volume(name="scratch", empty_dir=kinds.V1EmptyDirVolumeSource()))
    for container in pod.containers:
        container.security_context = kinds.V1SecurityContext(
            privileged=False,
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=kinds.V1Capabilities(drop=["ALL"]),
        )
        container.volume_mounts.append(kinds.V1VolumeMount(name="scratch", mount_path="/tmp"))
        # The image has no entry for this uid, and so no name and no home.
        container.env = [*(container.env or []), kinds.V1EnvVar("HOME", HOME), kinds.V1EnvVar("USER", "adapters")]
