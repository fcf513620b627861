"""A build that is killed at any step and run again ends with the bytes of an undisturbed one."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import STORE

from adapter_build.audit.verify import verify
from adapter_build.audit.verify_attestations import NOTE

pytestmark = pytest.mark.slow

STEPS = [
    "acquire_raw",
    "split_records",
    "curate_split.train",
    "format_prompts.law-titlegen.train",
    "convert_base.tiny",
    "tune_adapter.law-titlegen",
    "export_adapter.law-titlegen",
    "evaluate_adapter.law-titlegen",
    "stage_adapter.law-titlegen",
]


def test_killed_at_each_step(built, checkout, monkeypatch):
    killed = []
    for step in STEPS:
        build = subprocess.Popen(
            checkout.command("--quiet", "all", "--", *STORE),
            cwd=checkout.folder,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        attempts = checkout.folder / "results/.attempts"
        while build.poll() is None and not any(attempts.glob(f"{step}-*")):
            time.sleep(0.005)
        if build.poll() is None:
            killed.append(step)
        _kill_everything(build)
        assert not _half_written(checkout, built)
    assert {"tune_adapter.law-titlegen", "convert_base.tiny", "evaluate_adapter.law-titlegen"} <= set(killed)
    checkout.build(*STORE)
    assert checkout.digests() == built.digests()
    assert [path for path in attempts.iterdir() if path.is_dir()] == []
    monkeypatch.chdir(checkout.folder)
    found = verify(Path("results"), [Path(".keys/builder.pub.pem")], [])
    assert [finding for finding in found if finding.kind != NOTE] == []


def test_killed_tuning_resumes(copy_of_built):
    """And neither that nor how often it was saved shows in any digest."""
    checkout = copy_of_built
    for made in ("checkpoints", "adapters"):
        shutil.rmtree(checkout.folder / "results" / made)
    target = "results/adapters/law-titlegen/adapter_model.safetensors"
    log = checkout.folder / "logs/tune_adapter/law-titlegen.log"
    overlay = checkout.folder / "tests/tiny/config.yaml"
    config = yaml.safe_load(overlay.read_text()) | {"store": {"path": ""}}

    def settings(interval: int) -> None:
        config["adapters"]["law-titlegen"] |= {
            "max_steps": 300, "validation_interval": 100, "checkpoint_interval": interval
        }  # fmt: skip
        overlay.write_text(yaml.safe_dump(config))

    settings(20)
    build = subprocess.Popen(
        checkout.command("--quiet", "all", "--", target),
        cwd=checkout.folder,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    kept = checkout.folder / "results/.kept"
    while build.poll() is None and not list(kept.glob("tune_adapter.law-titlegen-*/state")):
        time.sleep(0.005)
    _kill_everything(build)
    assert list(kept.glob("*/state")) and not (checkout.folder / "results/checkpoints/law-titlegen.nemo").exists()
    checkout.build(target)
    said = log.read_text()
    resumed, computed = (int(re.search(words, said)[1]) for words in (r"at step (\d+)", r"tokens in (\d+) steps"))
    assert resumed >= 20 and resumed + computed == 300
    assert not list(kept.iterdir())
    made = checkout.digests()
    shutil.rmtree(checkout.folder / "results/checkpoints")
    settings(0)
    checkout.build(target)
    assert "tokens in 300 steps" in log.read_text()
    assert checkout.digests() == made


def test_terminated_build_stops_its_steps(copy_of_built):
    checkout = copy_of_built
    shutil.rmtree(checkout.folder / ".store")
    shutil.rmtree(checkout.folder / "results/checkpoints")
    build = subprocess.Popen(
        checkout.command("--quiet", "all", "--", *STORE), cwd=checkout.folder, stderr=subprocess.DEVNULL
    )
    attempts = checkout.folder / "results/.attempts"
    while build.poll() is None and not any(attempts.glob("tune_adapter.*")):
        time.sleep(0.01)
    build.send_signal(signal.SIGTERM)
    build.wait(60)
    deadline = time.monotonic() + 30
    while _running_in(checkout) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _running_in(checkout) == []
    checkout.build(*STORE)


def _kill_everything(build: subprocess.Popen) -> None:
    """Kill Snakemake and every runner at once, as a machine that loses power does; scripts die with their runner."""
    if build.poll() is None:
        os.killpg(build.pid, signal.SIGKILL)
    build.wait()


def _half_written(checkout, built) -> dict[str, str]:
    """Return the artifacts in place that are not those of an undisturbed build."""
    good = built.digests()
    return {name: digest for name, digest in checkout.digests().items() if good.get(name) != digest}


def _running_in(checkout) -> list[str]:
    """Return the command lines of processes that work in the checkout."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == checkout.folder:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
