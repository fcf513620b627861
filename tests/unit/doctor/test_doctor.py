"""doctor.py: one line for each thing that a build needs, and for each a twin in which it is wrong."""

import os
import socket
import subprocess
import sys

import pytest
import yaml
from adapter_samples import MODEL, adapter_config, write_adapter, write_base
from conftest import ROOT

from adapter_build.hermetic import landlock

pytestmark = pytest.mark.slow

# The base is a folder of the user's own; nothing is fetched.
OVERLAY = {"base": {"name": "tiny", "model": MODEL}, "deploy": {"port": 0}}


@pytest.fixture
def doctor(tmp_path):
    """Run doctor.py for config.yaml under an overlay; give its exit code and what it says of each thing."""
    write_base(tmp_path / "base")
    (tmp_path / "bin").mkdir()

    def run(changes=None, text=None, **variables):
        overlay = yaml.safe_load(yaml.safe_dump(OVERLAY))
        overlay["base"]["path"] = str(tmp_path / "base")
        for section, values in (changes or {}).items():
            overlay[section] = {**overlay.get(section, {}), **values} if isinstance(values, dict) else values
        (tmp_path / "overlay.yaml").write_text(text or yaml.safe_dump(overlay))
        kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "NGC_API_KEY")}
        done = subprocess.run(
            [sys.executable, "-m", "adapter_build.cli.doctor", "--results", tmp_path / "results",
             "--config", "config.yaml", tmp_path / "overlay.yaml"],
            cwd=ROOT, env={**kept, "PATH": f"{tmp_path / 'bin'}:{kept['PATH']}", **variables}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert not done.stderr, done.stderr
        said = {}
        for line in done.stdout.splitlines():
            level, name, *words = line.split(None, 2)
            if level in ("ok", "warn", "FAIL"):
                said.setdefault(name, []).append(f"{level} {words[0]}")
        return done.returncode, said

    run.folder = tmp_path
    return run


def wrong(found, name, *parts):
    code, said = found
    line = next((line for line in said[name] if line.startswith("FAIL")), "")
    assert code == 1 and line, said
    for part in parts:
        assert part in line, line


def gpus(doctor, *lines):
    """Put a program in the driver's place: there is no GPU where these tests run."""
    program = doctor.folder / "bin/nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)


def test_all_is_well(doctor):
    code, said = doctor()
    assert code == 0, said
    things = ["config", "data", "keys", "disk", "gpu", "docker", "isolation", "images", "lineage", "adapters", "port"]
    assert list(said) == things
    # Of this machine and this checkout: see below, and test_isolation.py and test_checkout.py.
    assert all(line.startswith("ok ") for name in set(things) - {"isolation", "lineage"} for line in said[name])


def test_isolation_that_is_less_than_asked_for(doctor):
    """A program in bubblewrap's place: one that does what is asked, and one that may not."""
    program = doctor.folder / "bin/bwrap"
    less = f"less isolation, landlock abi {landlock.version()}" if landlock.version() else "no isolation"
    for text, line in (
        ("exit 0", "ok runtime host (bubblewrap): as configured"),
        ("echo 'bwrap: Permission denied' >&2; exit 1", f"warn runtime host ({less}: bubblewrap may not make "),
    ):
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        code, said = doctor({"runtime": "host"})
        assert code == 0 and said["isolation"][0].startswith(line), said


def test_lineage_with_and_without_a_commit(doctor):
    program = doctor.folder / "bin/git"
    program.write_text("#!/bin/sh\necho 'fatal: not a git repository: /nowhere' >&2; exit 128\n")
    program.chmod(0o755)
    code, said = doctor()
    assert code == 0 and said["lineage"][0].startswith("warn it will have no commit: "), said
    program.unlink()
    if (ROOT / ".git").exists():
        assert doctor()[1]["lineage"][0].startswith("ok commit "), said


def test_names_that_stand_twice(doctor):
    """YAML takes the last one, and the other adapter is never built."""
    adapters = "adapters:\n  law: {prompt: prompts/law-titlegen.jq}\n  law: {prompt: prompts/law-answer.jq}\n"
    code, said = doctor(text=adapters)
    assert code == 1 and list(said) == ["config"] and "'law' stands twice" in said["config"][0]


def test_a_configuration_that_is_wrong(doctor):
    wrong(doctor({"adapters": {"law-titlegen": {"rank": 64, "prompt": "config.yaml"}}}), "config", "deploy.max_rank")
    wrong(doctor({"deploy": {"prot": 1}}), "config", "unknown key 'prot'")


def test_data_that_is_not_pinned(doctor):
    wrong(doctor({"data": {"source": "huggingface"}}), "data", "dataset law-stackexchange", "make pin")
    wrong(doctor({"base": {"name": "llama-3.1-8b-instruct", "path": ""}}), "data", "llama-3.1-8b-instruct", "make pin")


def test_keys(doctor):
    llama = {"base": {"name": "llama-3.1-8b-instruct", "path": "", "model": ""}}
    wrong(doctor(llama), "keys", "HF_TOKEN is not set", "export HF_TOKEN")
    assert doctor(llama, HF_TOKEN="x")[1]["keys"] == ["ok HF_TOKEN is set"]
    nim = {"deploy": {"engine": "nim", "nim": {"cache": str(doctor.folder / "cache")}}}
    wrong(doctor(nim), "keys", "NGC_API_KEY is not set")
    assert doctor(nim, NGC_API_KEY="x")[1]["keys"] == ["ok NGC_API_KEY is set"]


def test_too_little_disk(doctor):
    with open(doctor.folder / "base/model.safetensors", "ab") as weights:
        weights.truncate(4 * 10**12)  # a hole: it takes no room itself
    wrong(doctor(), "disk", "GB free", "12012 GB wanted", "free some space")


def test_gpus(doctor):
    wrong(doctor({"devices": 1}), "gpu", "1 wanted, but nvidia-smi does not answer", "driver")
    gpus(doctor, "NVIDIA H100 80GB HBM3, 79000, 580.65.06")
    code, said = doctor({"devices": 1})
    assert code == 1 or said["docker"]  # the container runtime is another line's matter
    assert said["gpu"][0] == "ok NVIDIA H100 80GB HBM3, 79,000 MiB free, driver 580.65.06"
    assert said["gpu"][1].startswith("ok law-titlegen: tuning takes ") and len(said["gpu"]) == 2
    gpus(doctor, "NVIDIA H100 80GB HBM3, 79000, 570.1")
    wrong(doctor({"devices": 1}), "gpu", "driver 570.1: 580 or newer wanted", "install it")
    wrong(doctor({"devices": 2}), "gpu", "2 wanted, 1 there", "devices")
    gpus(doctor, "NVIDIA T4, 900, 580.65.06")
    wrong(doctor({"devices": 1}), "gpu", "tuning takes about", "NVIDIA T4 has 279 MiB free", "larger card")
    with open(doctor.folder / "base/model.safetensors", "ab") as weights:
        weights.truncate(16 * 10**9)
    gpus(doctor, "NVIDIA L4, 21000, 570.1")
    wrong(doctor({"devices": 1}), "gpu", "21,000 MiB free", "21,362 wanted", "nvidia-smi")


def test_an_engine_that_is_not_there(doctor):
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    assert doctor(**nowhere)[0] == 0
    nim = {"deploy": {"engine": "nim", "nim": {"cache": str(doctor.folder / "cache")}}}
    wrong(doctor(nim, **nowhere), "docker", "unix:///nowhere/docker.sock does not answer", "start it")
    wrong(doctor(nim, **nowhere), "images", "not verified", "make pin")


def test_staged_adapters(doctor):
    write_adapter(doctor.folder / "results/loras/law")
    code, said = doctor()
    assert code == 0 and said["adapters"][-1] == f"ok law, staged: made for {MODEL}, rank 4"
    for changes, part in (
        ({"base_model_name_or_path": "example/other-base"}, "'example/other-base' but the base served is"),
        ({"r": 64}, "r is 64, above the server's 32"),
        ({"target_modules": ["lm_head"]}, "target_modules has 'lm_head'"),
    ):
        write_adapter(doctor.folder / "results/loras/law", adapter_config(**changes))
        wrong(doctor(), "adapters", part)


def test_a_port_that_is_taken(doctor):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        wrong(doctor({"deploy": {"port": taken}}), "port", f"port {taken}", "deploy.port")
    assert doctor({"deploy": {"port": taken}})[0] == 0
