"""serve.py with a real vLLM on a two-layer base: clients get answers, and whoever watches it sees what it says."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jq
import pytest
from adapter_samples import MODEL, adapter_tensors, poisoned, write_adapter, write_base
from openai import OpenAI
from running_server import PROMPT, ROOT, Serving, golden, running, served

from adapter_build.core.faults import BadInput
from adapter_build.core.ports import free_port
from adapter_build.serving.api_key import KEY
from adapter_build.serving.inference_client import complete, get


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Start serve.py on two sound adapters and two that vLLM would serve without a word."""
    adapters = {
        "law": adapter_tensors(seed=1), "nothing": adapter_tensors(scale=0.0), "poison": poisoned(),
        "tax": adapter_tensors(seed=2),
    }  # fmt: skip
    with served(tmp_path_factory.mktemp("serve"), adapters) as serving:
        yield serving


pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_the_printed_curl_line_works(serving: Serving) -> None:
    answer = subprocess.run(["bash", "-c", serving.curl], capture_output=True, text=True, check=True).stdout
    choice = json.loads(answer)["choices"][0]
    assert choice["text"].strip() == complete(serving.url, "law", PROMPT).text != ""


def test_an_adapter_that_is_not_sound_is_never_served(serving: Serving) -> None:
    lines = serving.printed.splitlines()
    for name, part in (("nothing", "product of lora_A and lora_B is zero"), ("poison", "holds NaN or Inf")):
        [line] = [line for line in lines if line.startswith(f"{name}: refused: ")]
        assert part in line
    assert f"serving tiny and law, tax on {serving.url}; Ctrl-C stops it. Try:" in lines


def test_the_openai_client_works(serving: Serving) -> None:
    client = OpenAI(base_url=f"{serving.url}/v1", api_key="none")
    assert [model.id for model in client.models.list()] == ["tiny", "law", "tax"]
    for name in ("tiny", "law"):
        answer = client.completions.create(model=name, prompt=PROMPT, max_tokens=25, temperature=0)
        assert answer.choices[0].text.strip() == complete(serving.url, name, PROMPT).text


@pytest.fixture
def ask(serving: Serving) -> Any:
    """Run ask.py against the server, or another one, with words, a file or stdin."""

    def run(*words: str, stdin: str = "", url: str = serving.url) -> subprocess.CompletedProcess[str]:
        python = ROOT / ".venvs/workflow/bin/python"
        settings = ["--config", "config.yaml", serving.config, "--url", url]
        command = [python, "-m", "adapter_build.cli.ask", *settings, "--adapter", "law", "tax", "--", *words]
        return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False)

    return run


def test_ask_shows_base_and_adapter(serving: Serving, ask: Any, tmp_path: Path) -> None:
    """The same answers as of whoever makes the prompt with the adapter's own jq program, from words, file and stdin."""
    question = "May my landlord keep my deposit?"
    done = ask(question)
    assert done.returncode == 0, done.stderr
    program = jq.compile((ROOT / "prompts/law-titlegen.jq").read_text())
    text = program.input_value({"question": question}).first()["input"]
    expected = [
        f"{name:<6}{' '.join(complete(serving.url, name, text).text.splitlines())}"
        for name in ("tiny", "law", "tiny", "tax")
    ]
    assert done.stdout.strip("\n").split("\n") == expected
    (tmp_path / "question.txt").write_text("May my landlord\nkeep my deposit?\n")
    assert ask(f"@{tmp_path / 'question.txt'}").stdout == ask(stdin=question).stdout == done.stdout


def test_ask_refuses(ask: Any, tmp_path: Path) -> None:
    for done, part in (
        (ask(" "), "no question"),
        (ask(f"@{tmp_path / 'none'}"), "none: cannot be read"),
        (ask("why?", url="http://127.0.0.1:9"), "no server answers: make serve"),
        (ask("why? " * 3000), "tiny: "),
    ):
        assert done.returncode == 2 and done.stderr.count("error: ") == 1 and part in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_it_listens_on_loopback_only_and_says_embedded(serving: Serving) -> None:
    port = f"{int(serving.url.rsplit(':', 1)[1]):04X}"
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    listening = [words[1] for words in lines[1:] if words[3] == "0A" and words[1].endswith(f":{port}")]
    assert listening == [f"0100007F:{port}"]
    assert get(serving.url, "/v1/metadata")[1]["engine"] == "embedded"
    assert get(serving.url, "/v1/health/ready")[0] == 200


def test_nothing_is_written_outside_its_scratch(serving: Serving) -> None:
    assert len(running(serving.scratch)) >= 2
    made = {path.relative_to(serving.results).parts[0] for path in serving.results.rglob("*")}
    assert made == {"base", "deploy", "evaluation", "loras"}


@pytest.mark.parametrize("wrong", ["", "answer", "server"])
def test_a_watch_keeps_a_status(serving: Serving, tmp_path: Path, wrong: str) -> None:
    """As the sentinel says, or why not; none is left when it ends."""
    results, status = tmp_path / "results", tmp_path / "logs" / "status.json"
    rows = golden(serving.url, "law", "tax")
    for folder in ("evaluation", "deploy"):
        (results / folder).mkdir(parents=True)
    (results / "base").symlink_to(serving.results / "base")
    adapters = []
    for name, [row] in rows.items():
        (results / "evaluation" / f"{name}.predictions.jsonl").write_text(json.dumps(row) + "\n")
        adapters.append({"name": name, "prompt_id": "1", "answer": "another" if wrong == "answer" else row["adapter"]})
    (results / "deploy" / "ready.json").write_text(json.dumps({"base": {"name": "tiny"}, "adapters": adapters}))
    watch = subprocess.Popen(
        [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.watch_deployment",
         "--results", results, "--status", status,
         "--interval", "0.2", "--url", "http://127.0.0.1:9" if wrong == "server" else serving.url],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watch.stdout
        said = watch.stdout.readline()
        while not status.exists():
            assert watch.poll() is None
            time.sleep(0.05)
        seen = json.loads(status.read_text())
        assert seen["ready"] is not bool(wrong) and seen["checked_at"] < seen["good_until"]
        because = {"": "ready", "answer": "not 'another' as the sentinel says", "server": "no answer"}[wrong]
        assert because in said and (because in (seen["reason"] or "ready"))
        watch.send_signal(signal.SIGTERM)
        assert watch.communicate(timeout=30)[0] == "stopped\n" and watch.returncode == 0
    finally:
        watch.kill()
        watch.wait()
    assert not list(status.parent.iterdir())


def test_a_watch_refuses_what_it_cannot_use(tmp_path: Path, run_script: Any) -> None:
    (tmp_path / "results").mkdir()
    inside = run_script(
        "workflow", "cli.watch_deployment", results=tmp_path / "results", status=tmp_path / "results/x.json"
    )
    assert inside.returncode == 2 and "holds artifacts alone" in inside.stderr
    nothing = run_script("workflow", "cli.watch_deployment", results=tmp_path / "results", status=tmp_path / "x.json")
    assert nothing.returncode == 2 and "no sentinel there: run `make` first" in nothing.stderr
    never = run_script("workflow", "cli.watch_deployment", interval=0)
    assert never.returncode == 2 and "more than 0 seconds" in never.stderr


def test_nothing_built_fails(tmp_path: Path, run_script: Any) -> None:
    began = time.monotonic()
    process = run_script("workflow", "cli.serve", results=tmp_path)
    assert process.returncode == 2 and f"error: {tmp_path / 'deploy' / 'ready.json'}" in process.stderr
    overlay = tmp_path / "overlay.yaml"
    base = {"name": "tiny", "path": str(tmp_path / "base" / "tiny"), "model": MODEL}
    write_base(tmp_path / "own")
    common = {"results": tmp_path, "base": "tiny", "log": tmp_path / "log", "config": ["config.yaml", overlay]}
    overlay.write_text(json.dumps({"base": {**base, "path": str(tmp_path / "own")}}))
    for made, missing, reason in (
        (lambda: None, "base/tiny", "no base model there"),
        (lambda: write_base(tmp_path / "base" / "tiny"), "loras", "no staged adapter there"),
        (lambda: write_adapter(tmp_path / "loras" / "poison", tensors=poisoned()), "loras", "no sound adapter there"),
    ):
        made()
        process = run_script("workflow", "cli.serve", **common)
        assert process.returncode == 2 and process.stderr.count("\n") == 1
        assert f"error: {tmp_path / missing}: {reason}: run `make` first" in process.stderr
    overlay.write_text("{}")
    process = run_script("workflow", "cli.serve", **common)
    assert process.returncode == 2 and "base tiny: neither config's base.name nor in data.lock.yaml" in process.stderr
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("deploy", "parts"),
    [
        ({"embedded": {"host": "0.0.0.0"}}, ["deploy.embedded.host 0.0.0.0: ", f"export {KEY}"]),
        ({"embedded": {"host": "192.0.2.1"}}, ["deploy.embedded.host 192.0.2.1: ", f"export {KEY}"]),
        ({"max_rank": 1024}, ["rank 1024 is above 512", "lower deploy.max_rank"]),
    ],
)
def test_what_no_server_may_or_can_do_fails(tmp_path: Path, run_script: Any, deploy: Any, parts: list[str]) -> None:
    """Other machines that need no key; a rank above vLLM's."""
    write_base(tmp_path / "base" / "tiny")
    write_adapter(tmp_path / "loras" / "law")
    base = {"name": "tiny", "path": str(tmp_path / "base" / "tiny"), "model": MODEL}
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(json.dumps({"base": base, "deploy": {"port": 0, **deploy}}))
    common = {"results": tmp_path, "base": "tiny", "log": tmp_path / "log", "config": ["config.yaml", overlay]}
    process = run_script("workflow", "cli.serve", **common)
    errors = [line for line in process.stderr.splitlines() if line]
    assert process.returncode == 2 and len(errors) == 1 and all(part in errors[0] for part in parts), process.stderr


def test_an_address_of_another_machine_fails() -> None:
    with pytest.raises(BadInput, match=r"port 0 on 192\.0\.2\.1: .*: set deploy\.embedded\.host to an address of this"):
        free_port(0, "192.0.2.1")
