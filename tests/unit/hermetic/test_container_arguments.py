"""The containers' configuration, without an engine: what a GPU step gets and no other, and apptainer's command line."""

from pathlib import Path

import pytest
from docker import APIClient

from adapter_build.core.faults import BadInput
from adapter_build.hermetic import apptainer, docker
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.execution import Limits, on_nodes
from adapter_build.hermetic.images import Image

ROOT = Path(__file__).parents[3]
IMAGE = Image("tune", "registry.example/adapter/tune", digest=f"sha256:{'a' * 64}")


@pytest.fixture
def place(tmp_path):
    return Attempt(tmp_path)


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def action(**changes):
    declared = {"inputs": {"lock": [Path("data.lock.yaml")]}, "outputs": {"ready": [Path("results/x.json")]}}
    return Action(Path("scripts/tune_adapter.py"), "tune", params={"seed": ["1"]}, **{**declared, **changes})


def configuration(place, limits=None, **changes):
    client = APIClient(base_url="unix:///nowhere", version="1.41")  # makes configurations, asks no engine
    return docker._configuration(client, action(**changes), place, limits or Limits(), "sha256:1")


def test_a_cpu_step_gets_nothing_of_a_gpu(place):
    host = configuration(place)["HostConfig"]
    assert not host.get("DeviceRequests") and not host.get("Ulimits") and "ShmSize" not in host
    assert host["NetworkMode"] == "none" and host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"] and host["Init"] is True


def test_a_gpu_step_gets_what_the_tutorial_gives_it(place):
    """`--gpus all --shm-size=8g --ulimit memlock=-1`, the GPUs by id."""
    limits = Limits(memory=80000, shared_memory=8192, ulimits=("memlock=-1",))
    host = configuration(place, limits, devices=2)["HostConfig"]
    assert host["DeviceRequests"][0]["DeviceIDs"] == ["0", "1"]
    assert host["DeviceRequests"][0]["Capabilities"] == [["gpu"]]
    assert host["ShmSize"] == 8 * 2**30
    assert host["Ulimits"] == [{"Name": "memlock", "Soft": -1, "Hard": -1}]
    assert host["Memory"] == host["MemorySwap"] == 80000 * 2**20


def test_a_gpu_step_takes_the_gpus_that_the_scheduler_gave(place, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert configuration(place, devices=2)["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["3", "5"]
    with pytest.raises(BadInput, match="needs 3 GPUs, but CUDA_VISIBLE_DEVICES names 2"):
        configuration(place, devices=3)


def test_only_what_is_declared_is_mounted(place):
    mounts = {mount["Target"]: mount for mount in configuration(place)["HostConfig"]["Mounts"]}
    assert mounts["/checkout/data.lock.yaml"]["ReadOnly"] and mounts["/checkout/scripts/tune_adapter.py"]["ReadOnly"]
    assert [target for target, mount in mounts.items() if not mount["ReadOnly"]] == ["/out", "/scratch"]
    assert "/checkout/scripts/step.py" not in mounts and "/checkout/config.yaml" not in mounts
    assert "/checkout/adapter_build/tuning/nemo_tuning.py" in mounts


def test_what_a_killed_run_left_is_the_steps_to_write(place, tmp_path):
    place.kept = tmp_path / "results/.kept/x-1"
    keeping = action(keep="resume", settings={"checkpoint-interval": ["20"]})
    client = APIClient(base_url="unix:///nowhere", version="1.41")
    made = docker._configuration(client, keeping, place, Limits(), "sha256:1")
    assert {"Target": "/kept", "Source": str(place.kept), "Type": "bind", "ReadOnly": False} in made["HostConfig"][
        "Mounts"
    ]
    assert made["Cmd"][-4:] == ["--checkpoint-interval", "20", "--resume", "/kept"]
    assert f"{place.kept}:/kept:rw" in apptainer.command(keeping, place, IMAGE)
    assert keeping.with_digests().key() == action().with_digests().key()


def test_the_served_engine_is_part_of_the_check(place):
    """Scripts that a script starts by their file's name belong to it as much as modules that it imports."""
    step = Action(Path("scripts/check_deployment.py"), "serve", {}, {"ready": [Path("r.json")]}, {})
    client = APIClient(base_url="unix:///nowhere", version="1.41")
    host = docker._configuration(client, step, place, Limits(), "sha256:1")["HostConfig"]
    targets = {mount["Target"] for mount in host["Mounts"]}
    engine = {f"/checkout/adapter_build/serving/{name}.py" for name in ("vllm_server", "nim_paths", "bounded_http")}
    assert engine <= targets


def test_apptainers_command_line(place):
    words = apptainer.command(action(), place, IMAGE)
    assert words[:4] == ["apptainer", "--silent", "exec", "--containall"]
    assert "--net" in words and "--nv" not in words
    assert f"{ROOT / 'data.lock.yaml'}:/checkout/data.lock.yaml:ro" in words
    assert f"{place.out}:/out:rw" in words
    at = words.index(f"docker://{IMAGE.reference}")
    assert words[at + 1 :] == [
        "/opt/env/bin/python", "scripts/tune_adapter.py", "--lock", "data.lock.yaml", "--ready", "/out/results/x.json",
        "--seed", "1",
    ]  # fmt: skip
    with_gpu = apptainer.command(action(devices=1, network=True), place, IMAGE)
    assert "--nv" in with_gpu and "--net" not in with_gpu


def test_docker_runs_a_step_on_one_node(place):
    with (
        pytest.raises(BadInput, match="it needs 2 nodes, runtime docker supports one"),
        docker.running(action(nodes=2), place, Limits()),
    ):
        pass


def test_several_nodes_are_srun_s(place, monkeypatch, tmp_path):
    """Of the job that the runner is in; outside of one it says what gives one."""
    seen = {"PATH": "/usr/bin"}
    assert on_nodes(action(), ["true"], seen) == (["true"], seen, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "srun").write_text("")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(BadInput, match="it needs 2 nodes, which only a Slurm job has"):
        on_nodes(action(nodes=2), ["true"], seen)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/opt/slurm.conf")
    words, variables, said = on_nodes(action(nodes=2), ["true"], seen)
    assert words[0] == str(tmp_path / "srun") and words[-1] == "true" and said == ", on 2 nodes"
    assert {"--jobid=7", "--nodes=2", "--ntasks=2", "--overlap"} < set(words)
    assert variables == {**seen, "SLURM_CONF": "/opt/slurm.conf"}


def test_a_step_in_an_image_of_others_has_that_ones_python_and_path(place, monkeypatch):
    """Nothing else changes: what is mounted, the network, the variables that pin the threads."""
    foreign = Image("nemo-24.07", "nvcr.io/nvidia/nemo", digest=f"sha256:{'a' * 64}", verified="asked of its registry")
    ours, theirs = (
        docker._configuration(
            APIClient(base_url="unix:///nowhere", version="1.41"),
            Action(Path("scripts/tune_megatron.py"), environment, {}, {}, {}), place, Limits(), "sha256:1",
        )
        for environment in ("tune", "nemo-24.07")
    )  # fmt: skip
    assert (ours["Cmd"][0], theirs["Cmd"][0]) == ("/opt/env/bin/python", "/usr/bin/python")
    assert set(ours["Env"]) - set(theirs["Env"]) == {f"PATH={docker.PATH}"} and set(theirs["Env"]) < set(ours["Env"])
    assert ours["HostConfig"] == theirs["HostConfig"]
    words = apptainer.command(Action(Path("scripts/tune_megatron.py"), "nemo-24.07", {}, {}, {}), place, foreign)
    assert words[words.index(f"docker://{foreign.reference}") + 1] == "/usr/bin/python"


def test_apptainer_refuses_a_path_that_it_would_divide(place, tmp_path):
    for name, sound in (("a:b.json", False), ("a,b.json", False), ("a {b} c.json", True)):
        words = {"inputs": {"source": [tmp_path / name]}}
        if sound:
            assert f"{tmp_path / name}:{tmp_path / name}:ro" in apptainer.command(action(**words), place, IMAGE)
        else:
            with pytest.raises(
                BadInput, match="apptainer takes no file with a colon or a comma in its path: rename it"
            ):
                apptainer.command(action(**words), place, IMAGE)
