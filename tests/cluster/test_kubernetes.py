"""Kubernetes, without a cluster: manifests against its schema, pods against PodSecurity's rules, those that Snakemake's
executor sends included, and who reaches NIM by the network policies.
"""

import copy
import subprocess

import pytest
import yaml
from conftest import ROOT
from pod_security import OURS, RESTRICTED, broken, pods_of
from stand_in_kubernetes import api_server

from adapter_build.hermetic.images import read_images

FOLDER = ROOT / "deploy/kubernetes"
VALIDATE = ROOT / ".venvs/checks/bin/kubernetes-validate"
PROFILE = ROOT / "profiles/kubernetes/config.yaml"
MANIFESTS = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]


def validate(*paths):
    if not VALIDATE.exists():
        pytest.skip(f"{VALIDATE.name} is missing: .venvs/workflow/bin/snakemake --cores 2 environments makes it")
    return subprocess.run([VALIDATE, "--strict", *paths], capture_output=True, text=True, check=False)


@pytest.fixture
def deployment():
    return yaml.safe_load((FOLDER / "deployment.yaml").read_text())


@pytest.fixture
def container(deployment):
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def test_manifests_are_valid():
    assert sorted(path.name for path in FOLDER.glob("*.yaml")) == sorted([*MANIFESTS, "kustomization.yaml"])
    done = validate(*(FOLDER / name for name in MANIFESTS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("wrong", [{"livenesProbe": {}}, {"ports": [{"containerPort": "http"}]}], ids=["name", "type"])
def test_an_invalid_manifest_fails(tmp_path, deployment, wrong):
    deployment["spec"]["template"]["spec"]["containers"][0].update(wrong)
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(deployment))
    assert validate(tmp_path / "deployment.yaml").returncode != 0


def test_probes_ask_what_the_sentinel_asks(container):
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {
        "startup": "/v1/health/ready", "readiness": "/v1/health/ready", "liveness": "/v1/health/live",
    }  # fmt: skip


def test_the_image_is_the_lock_s(container):
    assert container["image"] == read_images(ROOT / "containers/images.lock.yaml")["nim"].reference


def test_the_pod_has_a_gpu_and_an_adapters_store_it_cannot_write(deployment, container):
    assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 1000
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (loras,) = [mount for mount in container["volumeMounts"] if mount["name"] == "loras"]
    assert loras["readOnly"] is True
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["NIM_PEFT_SOURCE"]["value"] == loras["mountPath"]
    assert "value" not in environment["NGC_API_KEY"]


def manifests():
    """Every pod in a YAML file that git tracks, by the file's name."""
    listed = subprocess.run(["git", "ls-files", "*.yaml"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        for document in yaml.safe_load_all((ROOT / name).read_text()):
            for pod in pods_of(document):
                yield name, pod


def test_every_pod_that_the_repository_has_is_restricted():
    pods = list(manifests())
    assert [name for name, _ in pods] == ["deploy/kubernetes/deployment.yaml"]
    assert [(name, rules) for name, pod in pods if (rules := broken(pod))] == []


def test_the_namespace_enforces_it():
    labels = yaml.safe_load((FOLDER / "namespace.yaml").read_text())["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["namespace"] == "adapters"
    assert yaml.safe_load(PROFILE.read_text())["kubernetes-namespace"] == "adapters"


# What breaks each rule: where in the pod, and the value there. `0` is the first container; None removes the key.
BROKEN = [
    *(("host namespaces", name, True) for name in ("hostNetwork", "hostPID", "hostIPC")),
    ("host processes", "securityContext.windowsOptions", {"hostProcess": True}),
    ("privileged", "0.securityContext.privileged", True),
    ("volume types", "volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
    ("volume types", "volumes", [{"name": "disk", "nfs": {"server": "x", "path": "/"}}]),
    ("host ports", "0.ports", [{"containerPort": 8000, "hostPort": 8000}]),
    ("hosts of probes", "0.livenessProbe", {"httpGet": {"host": "169.254.169.254", "port": 80}}),
    ("hosts of probes", "0.lifecycle", {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}),
    ("AppArmor", "securityContext.appArmorProfile", {"type": "Unconfined"}),
    ("SELinux", "0.securityContext.seLinuxOptions", {"type": "spc_t"}),
    ("SELinux", "securityContext.seLinuxOptions", {"user": "system_u"}),
    ("procMount", "0.securityContext.procMount", "Unmasked"),
    ("sysctls", "securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    ("allowPrivilegeEscalation", "0.securityContext.allowPrivilegeEscalation", True),
    ("allowPrivilegeEscalation", "0.securityContext.allowPrivilegeEscalation", None),
    ("runAsNonRoot", "securityContext.runAsNonRoot", None),
    ("runAsNonRoot", "0.securityContext.runAsNonRoot", False),
    ("runAsUser", "securityContext.runAsUser", 0),
    ("runAsUser", "0.securityContext.runAsUser", 0),
    ("seccomp", "securityContext.seccompProfile", None),
    ("seccomp", "0.securityContext.seccompProfile", {"type": "Unconfined"}),
    ("capabilities dropped", "0.securityContext.capabilities", None),
    ("capabilities dropped", "0.securityContext.capabilities", {"drop": ["NET_RAW"]}),
    ("capabilities added", "0.securityContext.capabilities.add", ["SYS_ADMIN"]),
    ("read-only root", "0.securityContext.readOnlyRootFilesystem", None),
    ("no token", "automountServiceAccountToken", None),
    ("limits", "0.resources.limits", None),
    ("limits", "0.resources.limits.memory", None),
    ("requests", "0.resources.requests", {}),
    ("image by digest", "0.image", "nvcr.io/nim/meta/llama-3.1-8b-instruct:latest"),
]


def altered(pod, where, value):
    pod = copy.deepcopy(pod)
    *path, key = where.split(".")
    place = pod["containers"][0] if path[:1] == ["0"] else pod
    for step in path[1:] if path[:1] == ["0"] else path:
        place = place[step]
    place[key] = value
    if value is None:
        del place[key]
    return pod


@pytest.mark.parametrize(("rule", "where", "value"), BROKEN, ids=[f"{rule}: {where}" for rule, where, _ in BROKEN])
def test_a_pod_that_breaks_a_rule_is_refused(deployment, rule, where, value):
    pod = deployment["spec"]["template"]["spec"]
    assert broken(altered(pod, where, value)) == [rule]
    first = altered(pod, where, value)["containers"]
    if where.startswith("0."):  # no other kind of container goes unseen
        assert rule in broken({**pod, "initContainers": first}) and rule in broken(
            {**pod, "ephemeralContainers": first}
        )


def test_every_rule_has_a_twin():
    assert {rule for rule, _, _ in BROKEN} == set(RESTRICTED | OURS)


def taken(selector, labels):
    """Tell if a selector, which has labels to match and nothing else, takes a pod."""
    assert set(selector) <= {"matchLabels"}, selector
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def reaches(policies, source, target, port=8000):
    """Tell if a pod may open a connection to another of its namespace, both given by their labels."""

    def allowed(way, sides, own, other):
        holding = [one for one in policies if way in one["policyTypes"] and taken(one["podSelector"], own)]
        if not holding:
            return True  # without any policy everything may
        return any(
            any("podSelector" in peer and taken(peer["podSelector"], other) for peer in rule.get(sides, []))
            or not rule.get(sides)
            for one in holding
            for rule in one.get(way.lower(), [])
            if port in [listed["port"] for listed in rule.get("ports", [{"port": port}])]
        )

    return allowed("Egress", "to", source, target) and allowed("Ingress", "from", target, source)


CLIENT, NIM, STEP = {"nim-client": "true"}, {"app": "nim"}, {"app.kubernetes.io/component": "build-step"}


@pytest.fixture
def policies():
    return {one["metadata"]["name"]: one["spec"] for one in yaml.safe_load_all((FOLDER / "network.yaml").read_text())}


def test_only_labelled_clients_reach_nim(policies, deployment):
    assert deployment["spec"]["template"]["metadata"]["labels"].items() >= NIM.items()
    given = policies.values()
    assert reaches(given, CLIENT, NIM)
    for stranger in ({}, {"app": "x"}, {"nim-client": "false"}, STEP, NIM):
        assert not reaches(given, stranger, NIM)
    assert (
        not reaches(given, CLIENT, NIM, port=8001) and not reaches(given, CLIENT, STEP) and not reaches(given, {}, {})
    )
    labels = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["labels"]
    assert not any(one.get("includeSelectors") for one in labels)  # they would change whom a policy takes


def test_without_a_policy_strangers_do(policies):
    """The twins: each policy that keeps somebody out, taken away or opened."""
    closed = {name: spec for name, spec in policies.items() if name not in ("deny-all", "names")}
    assert reaches(closed.values(), {}, {})
    policies["nim-clients"]["ingress"][0].pop("from")
    assert not reaches(policies.values(), {}, NIM)  # deny-all still keeps it from going out
    assert reaches([policies["nim-clients"]], {}, NIM)


def test_no_way_out_leads_to_the_cloud_s_own_addresses(policies):
    blocks = [
        peer["ipBlock"] for spec in policies.values() for rule in spec.get("egress", []) for peer in rule["to"]
        if "ipBlock" in peer
    ]  # fmt: skip
    assert len(blocks) == 4
    assert all({"169.254.0.0/16", "fd00:ec2::/32"} & set(block["except"]) for block in blocks)


@pytest.fixture
def sent_jobs(bucket, checkout, tmp_path, monkeypatch):
    """The jobs that Snakemake's executor sends to a Kubernetes API; each fails there at once."""

    def send(*options):
        with api_server(tmp_path / "kubeconfig") as jobs:
            monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
            command = [
                ROOT / ".venvs/workflow/bin/snakemake", "--workflow-profile", "profiles/kubernetes",
                "--configfile", "tests/tiny/config.yaml", "--retries", "0", "--seconds-between-status-checks", "1",
                *options, "--", "results/split/train.jsonl", "results/base/tiny.facts.json",
            ]  # fmt: skip
            done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)
        return jobs, done.stdout + done.stderr

    return send


@pytest.mark.slow
def test_job_pods_are_restricted(sent_jobs, tmp_path):
    """As the executor sends them, asked by a setting of its own to make them privileged."""
    jobs, told = sent_jobs("--kubernetes-privileged", "true")
    pods = [pod for job in jobs for pod in pods_of(job)]
    assert len(pods) == len(jobs) == 3, told  # both reads of the base, and the split: what needs an environment
    assert [broken(pod) for pod in pods] == [[]] * 3
    for job, pod in zip(jobs, pods, strict=True):
        assert job["spec"]["template"]["metadata"]["labels"] == STEP
        (container,) = pod["containers"]
        assert "pip install" not in container["args"][1] and "snakemake" in container["args"][1]
        assert {"HOME", "USER"} <= {variable["name"] for variable in container["env"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"apiVersion": "batch/v1", "kind": "Job", **jobs[0]}))
    done = validate(tmp_path / "job.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_profile_is_understood(bucket, checkout):
    """All its settings are ones that Snakemake and its plugins have; every file it makes is one of the bucket's."""
    done = checkout.snakemake("--workflow-profile", "profiles/kubernetes", "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s3://adapters/build/results/deploy/ready.json" in done.stdout + done.stderr
    profile = checkout.folder / "profiles/kubernetes/config.yaml"
    profile.write_text(profile.read_text() + "kubernetes-namespase: x\n")
    assert checkout.snakemake("--workflow-profile", "profiles/kubernetes", "--dry-run").returncode != 0
