"""The tiny chain in containers, every image pulled by digest from a registry: the same bytes as on the host."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import STORE, Checkout
from rebuild_rows import executed, invocations
from test_audit import audit

from adapter_build.hermetic.envelope import read_statement
from adapter_build.hermetic.images import read_images

pytestmark = [pytest.mark.slow, pytest.mark.containers, pytest.mark.engine]
NETWORK = "no network"
MADE_IN = ("workflow", "curate", "tune", "serve")  # the environments of an adapter's steps: serve reads its base


@pytest.fixture(scope="module")
def in_containers(published, engine):
    """A checkout whose tiny chain, the served adapter and the report included, ran with `runtime: docker`."""
    overlay = yaml.safe_load((published.folder / "tests/tiny/config.yaml").read_text())
    (published.folder / "tests/tiny/config.yaml").write_text(yaml.safe_dump({**overlay, "runtime": "docker"}))
    done = run(published, engine)
    assert done.returncode == 0, done.stderr
    return published, done


def run(made, engine, *arguments):
    return subprocess.run(
        made.command(*arguments), cwd=made.folder, env=engine.environment, capture_output=True, text=True, check=False
    )


def test_every_artifact_is_the_same_as_on_the_host(in_containers, built, tmp_path):
    made, _ = in_containers
    on_host = Checkout(tmp_path / "host")
    shutil.copytree(built.folder, on_host.folder, symlinks=True)
    done = on_host.snakemake("--quiet", "all")
    assert done.returncode == 0, done.stderr
    assert made.digests() == on_host.digests()


def test_the_image_that_was_executed_is_attested(in_containers, engine):
    made, _ = in_containers
    images = read_images(made.folder / "containers/images.lock.yaml")
    steps = sorted((made.folder / "results/lineage").rglob("*.json"))
    assert len(steps) > 12
    for path in steps:
        predicate = read_statement(path)["predicate"]
        environment = predicate["buildDefinition"]["internalParameters"]["environment"]
        ran = predicate["runDetails"]["byproducts"][0]["annotations"]
        assert ran["runtime"] == "docker" and NETWORK in ran["isolation"]
        assert ran["imageId"] == images[environment].image_id
        executed = [item for item in predicate["buildDefinition"]["resolvedDependencies"] if item["name"] == "image"]
        assert executed[0]["digest"]["sha256"] == images[environment].digest.removeprefix("sha256:")
        known = json.loads(engine.docker("image", "inspect", ran["imageId"]))[0]
        assert images[environment].reference in known["RepoDigests"]


def test_nothing_is_left_and_nothing_is_done_twice(in_containers, engine):
    made, first = in_containers
    assert engine.containers() == []
    assert "runtime docker" in first.stderr
    again = run(made, engine, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_auto_takes_docker_where_every_image_is_there(in_containers, engine, tmp_path):
    made = Checkout(tmp_path / "copy")
    shutil.copytree(in_containers[0].folder, made.folder, symlinks=True)
    done = run(made, engine, "--config", "runtime=auto", "--forcerun", "split_records", "--", "results/split/val.jsonl")
    assert re.search(r"runtime docker( \(.*\))?: an engine answers and has every image", done.stderr), done.stderr
    without = made.snakemake("--config", "runtime=auto", "--forcerun", "split_records", "--", "results/split/val.jsonl")
    assert without.returncode == 0, without.stderr
    assert re.search(r"runtime host \(.*\): no Docker engine answers", without.stderr), without.stderr


def test_an_image_without_a_digest_stops_the_build_before_any_step(in_containers, engine, tmp_path):
    made, _ = in_containers
    copy = Checkout(tmp_path / "copy")
    copy.fill()
    shutil.copytree(made.folder / "tests/tiny/base", copy.folder / "tests/tiny/base")
    done = run(copy, engine, "--config", "runtime=docker")
    assert done.returncode != 0
    assert "no image of workflow is known by digest: run `make images`" in done.stderr
    assert "make pin" in done.stderr and "Traceback" not in done.stderr
    assert not (copy.folder / "results").exists()


def test_a_changed_image_reruns_its_steps_alone(in_containers, engine):
    made, _ = in_containers
    lock = made.folder / "containers/images.lock.yaml"
    text = lock.read_text()
    digest = read_images(lock)["curate"].digest
    try:
        lock.write_text(text.replace(digest, f"sha256:{'0' * 64}"))
        pending = run(made, engine, "--dry-run", "--quiet", "progress").stdout
    finally:
        lock.write_text(text)
    assert "rule curate_split:" in pending and "rule split_records:" in pending
    assert "rule acquire_raw:" not in pending


def test_with_a_changed_image_the_content_decides(in_containers, engine, tmp_path):
    """Its steps are looked at again, and none is executed: an image is no part of what makes an artifact."""
    copy = Checkout(tmp_path / "copy")
    shutil.copytree(in_containers[0].folder, copy.folder, symlinks=True)
    lock = copy.folder / "containers/images.lock.yaml"
    lock.write_text(lock.read_text().replace(read_images(lock)["curate"].digest, f"sha256:{'0' * 64}"))
    before = invocations(copy.folder)
    done = run(copy, engine, "--quiet", "all", "--", *STORE)
    assert done.returncode == 0, done.stderr
    assert invocations(copy.folder) != before
    assert executed(copy.folder, before) == set()


def test_the_store_is_complete(in_containers):
    made, _ = in_containers
    assert all((made.folder / path).is_file() for path in STORE)


def test_a_diff_with_the_host_tells_the_images_alone(in_containers, built):
    made, _ = in_containers
    found = json.loads(audit(made, "diff", f"{built.folder}/results", "results", "--json"))
    images = read_images(made.folder / "containers/images.lock.yaml")
    told = {entry["after"] for entry in found["images"] if entry["name"] == "image" and entry["before"] is None}
    assert told == {images[name].reference for name in MADE_IN}
    assert not any(found[section] for section in ("data", "records", "parameters", "metrics", "files", "unexplained"))


def test_exports_name_the_images(in_containers, tmp_path):
    made, _ = in_containers
    images = read_images(made.folder / "containers/images.lock.yaml")
    used = {images[name].reference for name in MADE_IN}
    for form in ("ro-crate", "cyclonedx", "openlineage"):
        audit(made, "export", "law-titlegen", f"--{form}", str(tmp_path / form))
    crate = json.loads((tmp_path / "ro-crate/ro-crate-metadata.json").read_text())["@graph"]
    ran = {entity["containerImage"]["@id"] for entity in crate if "containerImage" in entity}
    assert ran == {f"docker://{reference}" for reference in used}
    bom = json.loads((tmp_path / "cyclonedx").read_text())
    boxes = {part["name"]: part["hashes"][0]["content"] for part in bom["components"] if part["type"] == "container"}
    assert {f"{name}@sha256:{digest}" for name, digest in boxes.items()} == used
    assert all(f"image {reference}" in (tmp_path / "openlineage").read_text() for reference in used)
