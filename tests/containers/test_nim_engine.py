"""The NIM engine on a real Docker Engine: a stand-in that wants what NIM wants is served, checked and removed again;
each of NIM's failures ends with one line and what mends it. No image of NVIDIA's and no GPU is run here."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import time

import pytest
from conftest import ROOT
from docker_fixtures import running_registry
from jsonschema import Draft202012Validator
from nim_images import NimImages, processes_show, refusing_registry
from test_check_deployment import SCHEMA, project, write_predictions  # noqa: F401 - a fixture

from adapter_build.hermetic.access import let_others_read
from adapter_build.hermetic.envelope import read_statement
from adapter_build.hermetic.images import Image
from adapter_build.images.image_lock import record_image
from adapter_build.nim.settings import NimSettings

pytestmark = [pytest.mark.slow, pytest.mark.containers]
KEY = "nvapi-" + "k3y" * 12


@pytest.fixture(scope="module")
def images(engine, registry):
    return NimImages(engine, registry)


@pytest.fixture
def check(project, engine, images):  # noqa: F811
    """Run check_deployment for NIM, by default for a stand-in that serves, with `changes` to its settings."""
    cache = project / "cache"
    for name in ("law", "tax"):
        write_predictions(project, name, [("A base's title", f"A title by {name}")])
        let_others_read(project / "loras" / name)  # as staging does: safetensors writes for its user alone
    good = NimSettings(images(), "2.0.6", 2, 0, str(cache), 60, "", "host", 32)

    def command(**changes):
        own = {key: changes.pop(key) for key in list(changes) if key in ("port", "timeout")}
        settings = dataclasses.replace(good, **changes)
        return [
            str(ROOT / ".venvs/workflow/bin/python"), str(ROOT / "scripts/check_deployment.py"), "--engine", "nim",
            "--base", "tiny", "--files", *map(str, sorted((project / "base").iterdir())),
            "--staged", *map(str, sorted((project / "loras").glob("*/*"))),
            "--predictions", *map(str, sorted((project / "evaluation").iterdir())), "--threads", "2",
            "--port", str(own.get("port", 0)), "--timeout", str(own.get("timeout", 60)),
            "--ready", str(project / "ready.json"), "--nim", settings.text(),
        ]  # fmt: skip

    def run(key=KEY, **changes):
        environment = {**engine.environment, "NGC_API_KEY": key, "STEP_PROGRESS": "1"}
        return subprocess.run(
            command(**changes), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    run.command, run.folder, run.cache, run.image = command, project, cache, images
    before = set(engine.containers())
    yield run
    assert set(engine.containers()) == before, "a container was left"


def refused(check, done, *parts):
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(lines) == 1 and done.stderr.rstrip().endswith(lines[0]), done.stderr
    for part in parts:
        assert part in lines[0], lines[0]
    assert KEY not in done.stderr + done.stdout and "Traceback" not in done.stderr
    assert not (check.folder / "ready.json").exists()


@pytest.mark.parametrize("version", [1, 2])
def test_sentinel(check, version):
    """Pulled by digest, started as NIM is, asked, stopped; what stands in the sentinel is what ran."""
    done = check(version=version)
    assert done.returncode == 0, done.stderr
    ready = json.loads((check.folder / "ready.json").read_text())
    Draft202012Validator(SCHEMA).validate(ready)
    assert (ready["engine"], ready["engine_version"]) == ("nim", "nim 2.0.6")
    assert ready["image_digest"] == check.image().split("@")[1]
    assert [adapter["answer"] for adapter in ready["adapters"]] == ["A title by law", "A title by tax"]
    assert all(adapter["equals_evaluation"] for adapter in ready["adapters"])
    assert KEY not in done.stderr + (check.folder / "ready.json").read_text()
    assert check.cache.stat().st_uid == 1000 and (check.cache / "weights/file").exists()
    assert not (check.folder / "loras/note").exists()
    (check.folder / "ready.json").unlink()
    write_predictions(check.folder, "tax", [("A base's title", "Another title")])
    refused(check, check(version=version), "adapter tax: 1 of 2 answers", "evaluated 'Another title'", "dtype")


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        ("memory", ["exit code 1", "CUDA out of memory", "too little GPU memory", "deploy.nim.profile"]),
        ("profile", ["Detected 0 compatible profile", "no profile with LoRA", "deploy.nim.profile"]),
        ("driver", ["NIM sees no GPU", "deploy.nim.gpus"]),
        ("key", ["403 Forbidden from api.ngc", "NGC refused the key"]),
        ("rank", ["LoRA rank 64", "NIM refused an adapter", "deploy.max_rank"]),
        ("writes", ["/opt/engine", "the image writes outside of its cache", "deploy.nim.read_only"]),
        ("quiet", ["did not become ready: it ended by itself with exit code 0"]),
        ("slow", ["not ready after 3 s", "deploy.timeout"]),
        ("refused", ["lists adapter law not at all"]),
        ("dies", ["no answer", "it ended by itself with exit code 7"]),
    ],
)
def test_a_nim_that_fails(check, fault, parts):
    done = check(image=check.image(fault), timeout=3 if fault == "slow" else 60)
    refused(check, done, *parts)
    if fault == "slow":  # what stands beside the seconds while it is waited for
        assert '"log": "NIM with key <NGC_API_KEY>"' in done.stderr


def test_an_image_that_writes_elsewhere_may_be_let(check):
    done = check(image=check.image("writes"), read_only=False)
    assert done.returncode == 0, done.stderr


def test_no_key(check):
    refused(check, check(key=""), "NIM needs NGC_API_KEY", "export it")


@pytest.mark.parametrize("worded", [True, False])
@pytest.mark.parametrize(
    ("status", "words", "parts"),
    [
        (401, "Unauthorized", ["401: the registry does not know the key", "NGC_API_KEY"]),
        (402, "Payment Required", ["402: ", "has not bought"]),
        (403, "Access Denied", ["403: the key is known but", "personal key"]),
        (451, "Unavailable For Legal Reasons", ["451: ", "licence"]),
    ],
)
def test_a_refused_pull(check, status, words, parts, worded):
    """As the body says it, and as the status alone does."""
    with refusing_registry(status, words if worded else "") as address:
        refused(check, check(image=f"{address}/nim/example/tiny-llama@sha256:{'1' * 64}"), "cannot be pulled", *parts)


def test_an_unknown_digest_and_a_registry_that_is_gone(check, registry, folder):
    repository = check.image().split("@")[0]
    refused(check, check(image=f"{repository}@sha256:{'1' * 64}"), "make pin")
    with running_registry(folder / "gone") as address:
        pass
    refused(check, check(image=f"{address}/nim/tiny-llama@sha256:{'1' * 64}"), "is the registry up")


def test_no_digest(check):
    refused(check, check(image="127.0.0.1:5000/nim/tiny-llama:2.0.6"), "not pinned by digest", "make pin")


def test_no_gpu(check):
    """Return the answer of this engine, which has no driver, to `--gpus`."""
    refused(check, check(gpus=1), "could not select device driver", "nvidia-container-toolkit")


def test_port_taken(check):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused(check, check(port=port), f"port {port}", "in use", "deploy.port")


def test_cache_not_writable(check):
    check.cache.mkdir(mode=0o755)  # root's
    refused(check, check(), "not writable for uid 1000", f"sudo chown -R 1000 {check.cache}")
    os.chown(check.cache, 1000, 1000)
    (check.cache / "weights").mkdir(mode=0o755)  # root's, further down: NIM itself finds out
    refused(check, check(), "Permission denied", "/opt/nim/.cache/weights", "sudo chown -R 1000")


def test_an_adapter_in_no_layout(check):
    (check.folder / "loras/law/adapter_model.safetensors").rename(check.folder / "loras/law/law.nemo")
    refused(check, check(version=2), "loras/law: NIM 2.x wants adapter_config.json and adapter_model.safetensors")
    assert check(version=1).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_the_container_too(check, engine, number):
    """TERM and INT at once; after KILL the next check removes it."""
    environment = {**engine.environment, "NGC_API_KEY": KEY}
    slow = check.command(image=check.image("slow"))
    process = subprocess.Popen(slow, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 40
    while not engine.docker("ps", "--quiet") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert engine.docker("ps", "--quiet"), "the container never started"
    assert not processes_show(KEY)
    process.send_signal(number)
    stderr = process.communicate(timeout=40)[1]
    assert "Traceback" not in stderr
    if number == signal.SIGKILL:
        assert engine.docker("ps", "--quiet")
        assert check().returncode == 0
    else:
        assert process.returncode == 128 + number


@pytest.fixture
def stand_in(copy_of_built, images):
    """A built checkout with an overlay for a stand-in of NIM, and a way to write down how its digest was verified."""
    reference = images()
    repository, _, digest = reference.partition("@")

    def pin(verified):
        image = Image("stand-in", repository, digest, tag="2.0.6", verified=verified)
        record_image(copy_of_built.folder / "containers/images.lock.yaml", image)
        return digest

    # Whatever it is asked, it answers otherwise than the tiny base.
    overlay = "deploy: {engine: nim, port: 0, differing_answers: 8, nim: {image: stand-in, gpus: 0, network: host}}\n"
    (copy_of_built.folder / "nim.yaml").write_text(overlay)
    copy_of_built.pin, copy_of_built.reference = pin, reference
    return copy_of_built


def test_a_build_ends_with_nims_sentinel(stand_in, engine):
    """Through Snakemake and the step runner; refused before any step until the image's digest was asked for."""
    environment = {**engine.environment, "NGC_API_KEY": KEY}

    def build():
        overlays = ["--configfile", "tests/tiny/config.yaml", "nim.yaml"]
        command = stand_in.command("--quiet", "all", *overlays, "--", "results/deploy/ready.json", tiny=False)
        return subprocess.run(
            command, cwd=stand_in.folder, env=environment, capture_output=True, text=True, check=False
        )

    digest = stand_in.pin("not verified")
    done = build()
    assert (
        done.returncode == 1
        and "error: config: deploy.nim.image: containers/images.lock.yaml: the digest of stand-in" in done.stderr
    )
    stand_in.pin("asked of its registry")
    done = build()
    assert done.returncode == 0, done.stderr
    ready = json.loads((stand_in.folder / "results/deploy/ready.json").read_text())
    assert (ready["engine"], ready["image_digest"]) == ("nim", digest)
    [adapter] = ready["adapters"]
    assert adapter["differing_answers"] == adapter["compared_answers"] == 8 and not adapter["equals_evaluation"]
    attested = read_statement(stand_in.folder / "results/lineage/check_deployment.json")
    run = attested["predicate"]["runDetails"]["byproducts"][0]["annotations"]
    assert (run["runtime"], run["isolation"]) == ("host", "none")
    for path in [*(stand_in.folder / "logs").rglob("*"), *(stand_in.folder / "results").rglob("*")]:
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert not engine.docker("ps", "--quiet")


def test_serve_stays_up_until_a_signal(stand_in, engine):
    stand_in.pin("asked of its registry")
    server = subprocess.Popen(
        [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.serve", "--base", "tiny",
         "--config", "config.yaml", "tests/tiny/config.yaml", "nim.yaml"],
        cwd=stand_in.folder, env={**engine.environment, "NGC_API_KEY": KEY}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    printed = ""
    while "curl" not in printed and (line := server.stdout.readline()):
        printed += line
    answer = subprocess.run(
        ["bash", "-c", next(line for line in printed.splitlines() if line.startswith("curl"))],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "A title by law-titlegen" in answer
    server.send_signal(signal.SIGINT)
    assert server.communicate(timeout=40)[0].strip() == "stopped" and server.returncode == 0
    assert not engine.docker("ps", "--quiet")
    log = (stand_in.folder / "logs/serve.log").read_text()
    assert "NIM with key <NGC_API_KEY>" in log and KEY not in log


def test_doctor_on_an_engine(stand_in, engine):
    """The engine has no GPU runtime, and the registry an image or not: as pinned, and with another digest."""
    folder = stand_in.folder
    (folder / "gpu.yaml").write_text("deploy: {nim: {gpus: 1}}\n")

    def doctor(*overlays):
        done = subprocess.run(
            [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.doctor", "--config", "config.yaml",
             "tests/tiny/config.yaml", "nim.yaml", *overlays],
            cwd=folder, env={**engine.environment, "NGC_API_KEY": KEY}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    digest = stand_in.pin("asked of its registry")
    engine.docker("pull", stand_in.reference)
    _, said = doctor()
    assert "12 GB wanted" in said, said
    failing = [line for line in said.splitlines() if line.lstrip().startswith("FAIL") and "GB free" not in line]
    assert not failing and f"{digest} is in its registry" in said and "serves the adapters' own base" in said, said
    assert "ok    docker    engine " in said
    code, said = doctor("gpu.yaml")
    assert code == 1 and "FAIL  docker    its containers get no GPU" in said
    lock = folder / "containers/images.lock.yaml"
    lock.write_text(lock.read_text().replace(digest, f"sha256:{'1' * 64}"))
    code, said = doctor()
    assert code == 1 and "FAIL  images" in said and "no such tag" in said, said
    assert "52 GB wanted" in said, said  # room for an image that the engine does not have
    lock.write_text(lock.read_text().replace("tests/tiny-random-llama", "tests/tiny-random-llama-instruct"))
    code, said = doctor()
    assert code == 1 and "serves another base than tests/tiny-random-llama" in said, said
