"""The locks of images: what they may say, and which image an environment gets."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from adapter_build.core.faults import BadInput
from adapter_build.hermetic import docker_engine
from adapter_build.hermetic.environments import lock_digest
from adapter_build.hermetic.images import LOCAL, PUBLISHED, Image, image_of, read_images
from adapter_build.hermetic.runtime import Runtime
from adapter_build.images.image_lock import record_base, record_image

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "schemas/images-lock.schema.json").read_text())
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def locks(tmp_path, monkeypatch):
    """An empty project with one environment, `curate`."""
    (tmp_path / "containers/curate").mkdir(parents=True)
    (tmp_path / "containers/curate/requirements.lock").write_text("a==1\n")
    monkeypatch.chdir(tmp_path)


def record(path, **values):
    usual = {"repository": "registry.example/curate", "digest": DIGEST, "lock": lock_digest("curate")}
    image = Image("curate", **{**usual, **values})
    record_image(path, image)
    return image


def test_what_is_written_is_what_the_schema_allows_and_what_is_read(locks):
    image = record(PUBLISHED, image_id=DIGEST, size=7, created="2025-01-01T00:00:00Z", tag="1", verified="built here")
    record_base(PUBLISHED, {"sha256": "b" * 64, "wanted": ["python3.11"], "packages": ["python3.11=3.11.2-6"]})
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(PUBLISHED.read_text()))
    assert read_images(PUBLISHED) == {"curate": image} == {"curate": image_of("curate")}


def test_the_projects_lock_is_what_the_schema_allows():
    Draft202012Validator(SCHEMA).validate(yaml.safe_load((ROOT / PUBLISHED).read_text()))


def test_an_image_built_here_comes_before_a_published_one(locks):
    record(PUBLISHED)
    built = record(LOCAL, repository="localhost/curate")
    assert image_of("curate") == built


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"digest": None}, "no image of curate is known by digest: run `make images`"),
        ({"lock": "0" * 64}, "was built from another requirements.lock: make images"),
        ({"digest": "latest"}, r"images.curate.digest: 'latest' is no sha256"),
    ],
)
def test_an_image_that_is_not_pinned_is_refused(locks, values, message):
    record(PUBLISHED, **values)
    with pytest.raises(BadInput, match=message):
        image_of("curate")


def test_no_image_is_refused_and_auto_falls_back(locks):
    with pytest.raises(BadInput, match="no image of curate is known by digest: run `make images`"):
        Runtime("docker", ["curate"])
    runtime = Runtime("auto", ["curate"])
    assert runtime.name == "host" and "no image of curate" in runtime.reason
    assert [str(path) for path in runtime.venv("curate")] == [".venvs/curate.ready"]


def test_a_runtime_that_is_not_there_is_an_error(locks, monkeypatch):
    record(LOCAL)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(BadInput, match=r"nowhere.*does not answer"):
        Runtime("docker", ["curate"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BadInput, match="apptainer: no such command"):
        Runtime("apptainer", ["curate"])
    assert Runtime("auto", ["curate"]).name == "host"
    assert not docker_engine.answers([image_of("curate")])


def test_an_unknown_key_is_named(locks):
    PUBLISHED.write_text("images: {curate: {repository: a/b, digset: x}}\n")
    with pytest.raises(BadInput, match=r"images\.lock\.yaml: images\.curate: unknown key 'digset'"):
        read_images(PUBLISHED)
