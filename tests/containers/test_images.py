"""Images: the same inputs give the same digest, and the lock says what is in the registry."""

import json
import subprocess

import pytest
import yaml
from conftest import ROOT

from adapter_build.core.digests import file_digest
from adapter_build.hermetic.images import Image, read_images
from adapter_build.images.image_lock import record_image

pytestmark = [pytest.mark.slow, pytest.mark.containers]
ENVIRONMENTS = ("workflow", "curate", "tune", "serve")


def skopeo(*arguments: str) -> bytes:
    return subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", *arguments], capture_output=True, check=True
    ).stdout


def test_the_lock_says_what_the_registry_has(published, registry):
    images = read_images(published.folder / "containers/images.lock.yaml")
    for environment in ENVIRONMENTS:
        image = images[environment]
        assert image.repository == f"{registry}/adapter/{environment}"
        described = json.loads(skopeo(f"docker://{image.reference}"))
        assert described["Digest"] == image.digest
        assert described["Created"] == image.created
        manifest = json.loads(skopeo("--raw", f"docker://{image.reference}"))
        assert manifest["config"]["digest"] == image.image_id
        assert sum(layer["size"] for layer in manifest["layers"]) == image.size
        assert image.lock == file_digest(ROOT / f"containers/{environment}/requirements.lock")


def test_production_images_stay_in_the_lock_and_say_that_nobody_checked_them(published):
    images = read_images(published.folder / "containers/images.lock.yaml")
    listed = yaml.safe_load((ROOT / "containers/images.yaml").read_text())
    assert set(listed) < set(images)
    assert {images[name].verified for name in listed} == {"not verified"}


def test_the_same_inputs_give_the_same_digest(published_workflow, engine):
    lock = published_workflow.folder / "containers/images.lock.yaml"
    before, base = read_images(lock)["workflow"], yaml.safe_load(local(published_workflow).read_text())["base"]
    # The base under one more name, as whoever pushes it gives it.
    other = f"localhost/another-name/base:{base['sha256'][:12]}"
    subprocess.run(["buildah", "tag", f"localhost/adapter-build/base:{base['sha256'][:12]}", other], check=True)
    done = subprocess.run(
        [
            ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.build_images", "--environment", "workflow",
            "--registry", before.repository.removesuffix("/workflow"),
        ],
        cwd=published_workflow.folder, env=engine.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    subprocess.run(["buildah", "rmi", other], check=True, capture_output=True)
    assert read_images(lock)["workflow"] == before
    assert yaml.safe_load(local(published_workflow).read_text())["base"] == base
    kept = published_workflow.folder / f".images/debian-{base['sha256']}.tar"
    assert file_digest(kept) == base["sha256"]
    assert any(package.startswith("python3.11=") for package in base["packages"])


def test_a_published_base_is_built_on_by_digest(published_workflow, engine, registry):
    """The base that is known by digest comes before one made here, as soon as its registry gives it."""
    lock = published_workflow.folder / "containers/images.lock.yaml"
    kept = lock.read_text(), local(published_workflow).read_text()
    base = yaml.safe_load(kept[1])["base"]
    name, digest = f"{registry}/published/base", published_workflow.folder / "digest"
    push = ["buildah", "push", "--tls-verify=false", "--digestfile", digest]
    made_here = f"localhost/adapter-build/base:{base['sha256'][:12]}"
    subprocess.run([*push, made_here, f"docker://{name}:1"], check=True, capture_output=True)
    try:
        record_image(lock, Image("base", name, digest=digest.read_text()))
        done = subprocess.run(
            [
                ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.build_images",
                "--environment", "workflow",
                "--registry", f"{registry}/on-published",
            ],
            cwd=published_workflow.folder, env=engine.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert yaml.safe_load(local(published_workflow).read_text())["base"] == {
            "reference": f"{name}@{digest.read_text()}"
        }
        manifests = [
            json.loads(skopeo("--raw", f"docker://{reference}"))
            for reference in (f"{name}@{digest.read_text()}", read_images(lock)["workflow"].reference)
        ]
        assert manifests[1]["layers"][0] == manifests[0]["layers"][0]
    finally:
        lock.write_text(kept[0])
        local(published_workflow).write_text(kept[1])


def local(published):
    return published.folder / "containers/images.local.lock.yaml"
