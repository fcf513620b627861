"""serve.py with a real vLLM on a two-layer base: clients get answers; each check of a deployment finds its fault."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jq
import numpy as np
import pytest
from adapter_samples import adapter_tensors, tensor_name, write_adapter, write_base
from openai import OpenAI

from deployment_checks import check, special_tokens
from faults import BadInput
from inference_client import complete, get

ROOT = Path(__file__).parents[2]
PROMPT = 'QUESTION: May my landlord\'s agent keep "my" deposit?\n\nTITLE:'


@dataclass
class Serving:
    """A running serve.py: what it printed, where it serves, and what it was given."""

    process: subprocess.Popen[str]
    printed: str
    results: Path
    scratch: Path

    @property
    def url(self) -> str:
        """The server's URL, from the curl line."""
        return self.printed.split("curl -s ")[1].split("/v1/")[0]


def adapters() -> dict[str, Any]:
    """Return adapters that vLLM serves without a word: two sound ones, one that is its base, one that poisons it."""
    poison = adapter_tensors(seed=3)
    poison[tensor_name(0, "v_proj", "B")][:] = np.nan
    return {
        "law": adapter_tensors(seed=1),
        "nothing": adapter_tensors(scale=0.0),
        "poison": poison,
        "tax": adapter_tensors(seed=2),
    }


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Start serve.py on a built `results` folder; end it with Ctrl-C and see that nothing is left."""
    root = tmp_path_factory.mktemp("serve")
    results, scratch = root / "results", root / "scratch"
    write_base(results / "base" / "tiny")
    for name, tensors in adapters().items():
        write_adapter(results / "loras" / name, tensors=tensors)
    (results / "evaluation").mkdir()
    rows = [{"id": str(n), "input": PROMPT + " more" * n, "reference": "", "base": "", "adapter": ""} for n in (1, 0)]
    (results / "evaluation" / "law.predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (results / "deploy").mkdir()
    (results / "deploy" / "ready.json").write_text('{"base": {"name": "tiny"}}')
    scratch.mkdir()
    process = subprocess.Popen(
        [ROOT / ".venvs/workflow/bin/python", ROOT / "scripts/serve.py", "--results", results,
         "--port", "0", "--log", root / "logs" / "serve.log"],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        printed = ""
        assert process.stdout
        while "curl" not in printed and (line := process.stdout.readline()):
            printed += line
        assert "curl" in printed, printed + (root / "logs" / "serve.log").read_text()
        yield Serving(process, printed, results, scratch)
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest.strip()) == (0, "stopped")
    assert list(scratch.iterdir()) == []
    assert not running(scratch)


def running(scratch: Path) -> list[str]:
    """Return the processes whose environment names `scratch`: the engine's."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(scratch).encode() in environment.read_bytes():
                found.append((environment.parent / "cmdline").read_text())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def golden(url: str, *names: str) -> dict[str, dict[str, str]]:
    """Return a row of predictions per adapter that says what the server answers."""
    base, row = complete(url, "tiny", PROMPT).text, {"id": "1", "input": PROMPT}
    return {name: {**row, "base": base, "adapter": complete(url, name, PROMPT).text} for name in names}


pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_the_printed_curl_line_works(serving: Serving) -> None:
    line = next(line for line in serving.printed.splitlines() if line.startswith("curl"))
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    choice = json.loads(answer)["choices"][0]
    assert choice["text"].strip() == complete(serving.url, "law", PROMPT).text != ""


def test_the_openai_client_works(serving: Serving) -> None:
    client = OpenAI(base_url=f"{serving.url}/v1", api_key="none")
    assert [model.id for model in client.models.list()] == ["tiny", *adapters()]
    for name in ("tiny", "law"):
        answer = client.completions.create(model=name, prompt=PROMPT, max_tokens=25, temperature=0)
        assert answer.choices[0].text.strip() == complete(serving.url, name, PROMPT).text


@pytest.fixture
def ask(serving: Serving, tmp_path: Path) -> Any:
    """Run ask.py against the server, or another one, with words, a file or stdin."""
    overlay = {
        "base": {"name": "tiny", "path": str(serving.results / "base" / "tiny")},
        "adapters": {name: {"prompt": "prompts/law-titlegen.jq"} for name in ("law", "tax")},
    }
    (tmp_path / "overlay.yaml").write_text(json.dumps(overlay))

    def run(*words: str, stdin: str = "", url: str = serving.url) -> subprocess.CompletedProcess[str]:
        python = ROOT / ".venvs/workflow/bin/python"
        settings = ["--config", "config.yaml", tmp_path / "overlay.yaml", "--url", url]
        command = [python, "scripts/ask.py", *settings, "--adapter", "law", "tax", "--", *words]
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


def specials(serving: Serving) -> dict[str, int]:
    """Return the special tokens of the base served."""
    return special_tokens(sorted((serving.results / "base" / "tiny").iterdir()))


def test_check_passes_with_two_adapters(serving: Serving) -> None:
    rows = golden(serving.url, "law", "tax")
    checked = check(serving.url, "tiny", rows, specials(serving))
    assert list(checked) == ["law", "tax"]
    for name, found in checked.items():
        assert found == {
            "prompt_id": "1", "answer": rows[name]["adapter"], "base_answer": rows[name]["base"],
            "equals_evaluation": True,
        }  # fmt: skip
    assert checked["law"]["answer"] != checked["tax"]["answer"]
    rows["tax"]["adapter"] += "s"
    again = check(serving.url, "tiny", rows, specials(serving))
    assert [found["equals_evaluation"] for found in again.values()] == [True, False]


@pytest.mark.parametrize("wrong", ["", "answer", "server"])
def test_a_watch_keeps_a_status(serving: Serving, tmp_path: Path, wrong: str) -> None:
    """As the sentinel says, or why not; none is left when it ends."""
    results, status = tmp_path / "results", tmp_path / "logs" / "status.json"
    rows = golden(serving.url, "law", "tax")
    for folder in ("evaluation", "deploy"):
        (results / folder).mkdir(parents=True)
    (results / "base").symlink_to(serving.results / "base")
    adapters = []
    for name, row in rows.items():
        (results / "evaluation" / f"{name}.predictions.jsonl").write_text(json.dumps(row) + "\n")
        adapters.append({"name": name, "prompt_id": "1", "answer": "another" if wrong == "answer" else row["adapter"]})
    (results / "deploy" / "ready.json").write_text(json.dumps({"base": {"name": "tiny"}, "adapters": adapters}))
    watch = subprocess.Popen(
        [ROOT / ".venvs/workflow/bin/python", "scripts/watch_deployment.py", "--results", results, "--status", status,
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
        "workflow", "watch_deployment", results=tmp_path / "results", status=tmp_path / "results/x.json"
    )
    assert inside.returncode == 2 and "holds artifacts alone" in inside.stderr
    nothing = run_script("workflow", "watch_deployment", results=tmp_path / "results", status=tmp_path / "x.json")
    assert nothing.returncode == 2 and "no sentinel there: run `make` first" in nothing.stderr
    never = run_script("workflow", "watch_deployment", interval=0)
    assert never.returncode == 2 and "more than 0 seconds" in never.stderr


def test_adapter_that_is_its_base_fails(serving: Serving) -> None:
    with pytest.raises(BadInput, match="adapter nothing: answers prompt 1 as its base does"):
        check(serving.url, "tiny", golden(serving.url, "nothing"), specials(serving))


def test_adapter_that_is_not_served_fails(serving: Serving) -> None:
    rows = {"absent": {"id": "1", "input": PROMPT, "base": "", "adapter": ""}}
    with pytest.raises(BadInput, match="lists adapter absent not at all"):
        check(serving.url, "tiny", rows, specials(serving))
    rows = {"tiny": rows["absent"]}
    with pytest.raises(BadInput, match="lists adapter tiny under None"):
        check(serving.url, "tiny", rows, specials(serving))


def test_base_that_is_not_served_fails(serving: Serving) -> None:
    with pytest.raises(BadInput, match="does not list base absent"):
        check(serving.url, "absent", golden(serving.url, "law"), specials(serving))


def test_answer_that_runs_past_the_end_token_fails(serving: Serving) -> None:
    """A token that the answer holds is declared special: as if the end token taught were not the one that stops."""
    rows = golden(serving.url, "law")
    token = complete(serving.url, "law", PROMPT).tokens[3]
    with pytest.raises(BadInput, match=r"adapter law: its answer to prompt 1 runs on past <end>"):
        check(serving.url, "tiny", rows, {**specials(serving), "<end>": token})


def test_prompt_too_long_fails(serving: Serving) -> None:
    rows = golden(serving.url, "law")
    rows["law"]["input"] *= 20
    with pytest.raises(BadInput, match="tiny: the server answered 400"):
        check(serving.url, "tiny", rows, specials(serving))


def test_adapter_with_nan_fails(serving: Serving) -> None:
    """Last: whatever is asked after it may get nothing."""
    rows = {**golden(serving.url, "law"), "poison": {"id": "1", "input": PROMPT, "base": "", "adapter": ""}}
    with pytest.raises(BadInput, match=r"adapter poison: .*may hold NaN"):
        check(serving.url, "tiny", rows, specials(serving))


def test_nothing_built_fails(tmp_path: Path, run_script: Any) -> None:
    began = time.monotonic()
    process = run_script("workflow", "serve", results=tmp_path)
    assert process.returncode == 2 and f"error: {tmp_path / 'deploy' / 'ready.json'}" in process.stderr
    common = {"results": tmp_path, "base": "tiny", "log": tmp_path / "log"}
    for made, missing in ((lambda: None, "base/tiny"), (lambda: write_base(tmp_path / "base" / "tiny"), "loras")):
        made()
        process = run_script("workflow", "serve", **common)
        assert process.returncode == 2
        assert f"error: {tmp_path / missing}" in process.stderr and "run `make` first" in process.stderr
    assert time.monotonic() - began < 10
