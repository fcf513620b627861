"""pin_images against a real registry: a tag becomes a digest, a moved one is reported and never followed unasked."""

import json
import os
import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT

from adapter_build.hermetic.images import read_images

pytestmark = [pytest.mark.slow, pytest.mark.containers]


def push(folder, name, content, *options):
    """Build a small image of `content` and push it; return its digest."""
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY content /\n")
    (folder / "content").write_text(content)
    build = ["buildah", "build", "--format", "docker", "--tag", name, *options, folder]
    subprocess.run(build, check=True, capture_output=True)
    write = ["buildah", "push", "--tls-verify=false", "--digestfile", folder / "digest", name, f"docker://{name}"]
    subprocess.run(write, check=True, capture_output=True)
    return (folder / "digest").read_text()


@pytest.fixture
def pin(tmp_path, registry):
    """Two listed images, one of which is in the registry, and a way to pin them."""
    (tmp_path / "containers").mkdir()
    shutil.copy(ROOT / "containers/images.lock.yaml", tmp_path / "containers")
    listed = {"here": {"reference": f"{registry}/pinned/here:1.0", "role": "a test"}}
    (tmp_path / "containers/images.yaml").write_text(yaml.safe_dump(listed))

    def run(*options):
        command = [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.pin_images", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    run.folder, run.lock = tmp_path, tmp_path / "containers/images.lock.yaml"
    run.name = listed["here"]["reference"]
    return run


def test_a_tag_becomes_a_digest_and_a_moved_one_is_reported(pin):
    first = push(pin.folder / "first", pin.name, "first")
    comment = pin.lock.read_text().splitlines()[0]
    done = pin()
    assert done.returncode == 0, done.stderr
    assert f"digest: null → {first}" in done.stdout
    image = read_images(pin.lock)["here"]
    assert image.digest == first and image.platform == "linux/amd64" and image.size
    assert image.verified.startswith("asked of its registry on ")
    assert image.tag == "1.0" and image.role == "a test"
    assert pin.lock.read_text().splitlines()[0] == comment and "nim" in read_images(pin.lock)
    assert pin("--check").returncode == 0
    second = push(pin.folder / "second", pin.name, "second")
    before = pin.lock.read_text()
    checked = pin("--check")
    assert checked.returncode == 1
    assert f"digest: {first} → {second}" in checked.stdout and "moved: here" in checked.stdout
    assert pin.lock.read_text() == before
    assert pin().returncode == 0
    assert read_images(pin.lock)["here"].digest == second


def test_of_several_platforms_ours_is_taken(pin):
    name = pin.name
    digests = {}
    for architecture in ("amd64", "arm64"):
        digests[architecture] = push(
            pin.folder / architecture, f"{name}-{architecture}", architecture, "--platform", f"linux/{architecture}"
        )
    subprocess.run(["buildah", "manifest", "rm", "several"], capture_output=True)
    subprocess.run(["buildah", "manifest", "create", "several"], check=True, capture_output=True)
    for architecture in digests:
        add = ["buildah", "manifest", "add", "--tls-verify=false", "several", f"docker://{name}-{architecture}"]
        subprocess.run(add, check=True, capture_output=True)
    send = ["buildah", "manifest", "push", "--tls-verify=false", "--all", "several", f"docker://{name}"]
    subprocess.run(send, check=True, capture_output=True)
    done = pin()
    assert done.returncode == 0, done.stderr
    assert read_images(pin.lock)["here"].digest == digests["amd64"]


def test_what_cannot_be_resolved_is_named_and_keeps_its_entry(pin):
    listed = yaml.safe_load((pin.folder / "containers/images.yaml").read_text())
    listed["absent"] = {"reference": pin.name.replace("here:1.0", "absent:1"), "role": "none"}
    listed["down"] = {"reference": "127.0.0.1:9/none:1", "role": "none"}
    (pin.folder / "containers/images.yaml").write_text(yaml.safe_dump(listed))
    push(pin.folder / "first", pin.name, "first")
    done = pin()
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "no such tag" in errors[0] and "absent" in errors[0]
    assert "does not answer" in errors[1] and "127.0.0.1:9" in errors[1]
    assert errors[2].startswith("error: not resolved: absent, down")
    assert "Traceback" not in done.stderr
    assert set(read_images(pin.lock)) >= {"here", "nim"} and "absent" not in read_images(pin.lock)


def test_an_unknown_name_is_refused(pin):
    done = pin("--image", "heer")
    assert done.returncode == 2 and "no image heer (it has: here)" in done.stderr


def test_the_projects_own_list_and_lock_agree():
    listed = yaml.safe_load((ROOT / "containers/images.yaml").read_text())
    images = read_images(ROOT / "containers/images.lock.yaml")
    assert set(listed) == set(images)
    for name, entry in listed.items():
        assert entry["reference"] == f"{images[name].repository}:{images[name].tag}"
        assert ":latest" not in json.dumps(entry)
