"""Kubernetes, without a cluster: the manifests against its schema, the profile as far as Snakemake reads it alone."""

import subprocess

import pytest
import yaml
from conftest import ROOT

from hermetic.images import read_images

FOLDER = ROOT / "deploy/kubernetes"
VALIDATE = ROOT / ".venvs/checks/bin/kubernetes-validate"
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


def test_the_pod_may_do_little(deployment, container):
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == 1000 and pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1" and "memory" in container["resources"]["limits"]
    (loras,) = [mount for mount in container["volumeMounts"] if mount["name"] == "loras"]
    assert loras["readOnly"] is True
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["NIM_PEFT_SOURCE"]["value"] == loras["mountPath"]
    assert "value" not in environment["NGC_API_KEY"]


@pytest.mark.slow
def test_the_profile_is_understood(bucket, checkout):
    """All its settings are ones that Snakemake and its plugins have; every file it makes is one of the bucket's."""
    done = checkout.snakemake("--workflow-profile", "profiles/kubernetes", "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s3://adapters/build/results/deploy/ready.json" in done.stdout + done.stderr
    profile = checkout.folder / "profiles/kubernetes/config.yaml"
    profile.write_text(profile.read_text() + "kubernetes-namespase: x\n")
    assert checkout.snakemake("--workflow-profile", "profiles/kubernetes", "--dry-run").returncode != 0
