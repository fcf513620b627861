"""NIM without an engine: which settings are refused before any step, what the container gets, what its log means."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from docker import APIClient

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.images import Image
from adapter_build.images.image_lock import record_image
from adapter_build.nim import container as nim_container
from adapter_build.nim.known_failures import LOGS, PULLS, STARTS, told_by
from adapter_build.nim.settings import NimSettings, from_text, nim_settings, same_base, variables
from adapter_build.workflow.configuration import check, overlay

SETTINGS = NimSettings(f"nvcr.io/nim/meta/x@sha256:{'a' * 64}", "2.0.6", 2, 1, ".nim-cache", 3600, "", "mapped", 32)
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
def config(monkeypatch):
    """The configuration of the overlay for NIM."""
    monkeypatch.chdir(ROOT)
    merged = yaml.safe_load(Path("config.yaml").read_text())
    overlay(merged, yaml.safe_load(Path("configs/llama-3.1-8b-nim.yaml").read_text()))
    check(merged)
    return merged


@pytest.fixture
def lock(tmp_path):
    """A lock in which a registry was asked for NIM's image."""
    made = tmp_path / "images.lock.yaml"
    for name, repository in (("nim", "llama-3.1-8b-instruct"), ("base-nim", "llama-3.1-8b-base")):
        image = Image(
            name, f"nvcr.io/nim/meta/{repository}", f"sha256:{'a' * 64}", tag="2.0.6", verified="asked of its registry"
        )
        record_image(made, image)
    record_image(made, Image("seen", "nvcr.io/nim/meta/llama-3.1-8b-instruct", f"sha256:{'a' * 64}", tag="2.0.6"))
    record_image(made, Image("tag", "nvcr.io/nim/meta/llama-3.1-8b-instruct", tag="2.0.6"))
    return made


def test_pinned_settings_pass(config, lock):
    settings = nim_settings(config, MODEL, lock)
    assert settings.image == f"nvcr.io/nim/meta/llama-3.1-8b-instruct@sha256:{'a' * 64}"
    assert from_text(settings.text()) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "nin"}, "has no 'nin' (it has: base-nim, nim, seen, tag)"),
        ({"image": "seen"}, "is not verified: make pin"),
        ({"image": "tag"}, "is unknown: make pin"),
        ({"image": "base-nim"}, f"llama-3.1-8b-base serves another base than {MODEL}"),
        ({"version": 1}, "deploy.nim.version: 1, but nim is 2.0.6"),
    ],
)
def test_settings_that_cannot_serve_are_refused(config, lock, changes, message):
    config["deploy"]["nim"].update(changes)
    with pytest.raises(BadInput, match=re.escape(message)):
        nim_settings(config, MODEL, lock)


def test_the_projects_own_lock_is_not_believed_until_its_registry_was_asked(config):
    with pytest.raises(BadInput, match="not verified: make pin"):
        nim_settings(config, MODEL)


@pytest.mark.parametrize(
    ("repository", "model", "same"),
    [
        ("nvcr.io/nim/meta/llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("nvcr.io/nim/meta/llama-3.1-8b-base", "meta-llama/Llama-3.1-8B", True),
        ("nvcr.io/nim/meta/llama3-8b-instruct", "meta-llama/Meta-Llama-3-8B-Instruct", True),
        ("nvcr.io/nim/meta/llama-3.1-8b-base", "meta-llama/Llama-3.1-8B-Instruct", False),
        ("nvcr.io/nim/meta/llama-3.1-70b-instruct", "meta-llama/Llama-3.1-8B-Instruct", False),
        ("nvcr.io/nim/meta/llama-3.2-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", False),
    ],
)
def test_the_served_base_is_the_adapters(repository, model, same):
    assert same_base(repository, model) is same


def container(settings, port=8123):
    client = APIClient(base_url="unix:///nowhere", version="1.41")  # makes configurations, asks no engine
    told = variables(settings, "llama", 3, 8000 if settings.network == "mapped" else port, "the-key")
    return nim_container.configuration(client, "sha256:1", settings, Path("/s"), Path("/c"), port, told, {"a": "b"})


def test_the_container_gets_what_the_tutorial_gives_it(monkeypatch):
    """`--gpus … --shm-size=16GB -e NGC_API_KEY -e NIM_PEFT_SOURCE -v … -v …`, and less power."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    made = container(_with(gpus=2))
    host = made["HostConfig"]
    assert host["DeviceRequests"][0]["DeviceIDs"] == ["3", "5"] and host["DeviceRequests"][0]["Capabilities"] == [
        ["gpu"]
    ]
    assert host["ShmSize"] == 16 * 2**30
    mounts = {mount["Target"]: (mount["Source"], mount["ReadOnly"]) for mount in host["Mounts"]}
    assert mounts == {"/home/nvs/loras": ("/s", True), "/opt/nim/.cache": ("/c", False)}
    assert host["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8123"}]}
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert made["User"] == "1000:1000" and made["Labels"] == {"a": "b"}
    assert "the-key" not in str({**made, "Env": []}) and "NGC_API_KEY=the-key" in made["Env"]


def test_the_machines_own_network_as_in_the_tutorial():
    made = container(_with(network="host", gpus=0))
    assert made["HostConfig"]["NetworkMode"] == "host" and "PortBindings" not in made["HostConfig"]
    assert "NIM_SERVER_PORT=8123" in made["Env"] and not made["HostConfig"].get("DeviceRequests")


def test_what_1_and_2_are_told():
    one, two = (variables(_with(version=version, profile="p"), "llama", 3, 8000, "k") for version in (1, 2))
    both = {"NIM_SERVED_MODEL_NAME": "llama", "NIM_PEFT_SOURCE": "/home/nvs/loras", "NIM_MODEL_PROFILE": "p"}
    assert both.items() <= one.items() and both.items() <= two.items()
    assert one["NIM_MAX_LORA_RANK"] == "32" and "NIM_PASSTHROUGH_ARGS" not in one
    assert two["NIM_PASSTHROUGH_ARGS"].startswith("--max-lora-rank 32 ") and "NIM_MAX_LORA_RANK" not in two


def test_every_cause_is_found_and_sound_lines_are_none():
    assert told_by(["INFO Started server process", "INFO 127.0.0.1 GET /v1/health/ready 200"]) is None
    assert told_by(["x", "ValueError: LoRA rank 64 is greater than max_lora_rank 32."]).startswith(
        "ValueError: LoRA rank"
    )
    for pattern, mend in (*PULLS, *STARTS, *LOGS):
        assert re.compile(pattern) and len(mend) > 15


def _with(**changes):
    return NimSettings(**{**vars(SETTINGS), **changes})
