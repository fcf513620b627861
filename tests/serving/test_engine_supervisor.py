"""make serve with a key, on every address, while its model store changes: one real vLLM on a two-layer base."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import adapter_config, adapter_tensors, poisoned, write_adapter
from openai import BadRequestError, NotFoundError, OpenAI
from running_server import PROMPT, ROOT, Serving, served

from adapter_build.lineage.results_folder import BUNDLE
from adapter_build.serving.api_key import KEY
from adapter_build.serving.inference_client import complete, get
from adapter_build.serving.request_bounds import MAX_BODY

SECRET = "k3y-of-these-tests-alone"
INTERVAL = 0.2  # seconds
LONG = 440  # tokens, with the prompt's as many as the base takes: longer than an interval
WEIGHTS = "adapter_model.safetensors"
CHAT = {"messages": [{"role": "user", "content": "May my landlord keep my deposit?"}], "max_tokens": 3}

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Start serve.py on one adapter."""
    variables = {KEY: SECRET}
    root = tmp_path_factory.mktemp("refreshed")
    with served(
        root, {"law": adapter_tensors(seed=1)}, variables, host="0.0.0.0", refresh_interval=INTERVAL
    ) as serving:
        yield serving
    for told in (serving.printed, serving.log):
        assert told and SECRET not in told


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client of ours shows the key."""
    monkeypatch.setenv(KEY, SECRET)


def stage(serving: Serving, name: str, **adapter: Any) -> None:
    """Stage an adapter as a person would: written elsewhere, then renamed; one of its name is put aside first."""
    store = serving.results / "loras"
    write_adapter(store / f".{name}", **adapter)
    if (store / name).exists():
        (store / name).rename(serving.root / "former")
        shutil.rmtree(serving.root / "former")
    (store / f".{name}").rename(store / name)


def listed(serving: Serving) -> list[str]:
    """Return the models that the server lists, each adapter under the base."""
    models = get(serving.url, "/v1/models")[1]["data"]
    assert {model["parent"] for model in models[1:]} <= {"tiny"}
    return [model["id"] for model in models]


def pieces(serving: Serving, name: str, tokens: int = LONG) -> Iterator[str]:
    """Yield a long answer as it comes."""
    client = OpenAI(base_url=f"{serving.url}/v1", api_key=SECRET)
    asked = {
        "model": name,
        "prompt": PROMPT,
        "max_tokens": tokens,
        "temperature": 0,
        "extra_body": {"ignore_eos": True},
    }
    with client.completions.create(**asked, stream=True) as stream:
        for piece in stream:
            yield piece.choices[0].text


def test_one_staged_later_is_served_within_the_interval(serving: Serving) -> None:
    assert listed(serving) == ["tiny", "law"]
    before = {name: complete(serving.url, name, PROMPT) for name in ("tiny", "law")}
    stage(serving, "tax", config=adapter_config(r=16), tensors=adapter_tensors(seed=2, rank=16))
    assert serving.says("\ntax: served\n") < INTERVAL + 3  # the machine may be busy
    assert listed(serving) == ["tiny", "law", "tax"]
    after = {name: complete(serving.url, name, PROMPT) for name in ("tiny", "law", "tax")}
    assert {name: after[name] for name in before} == before
    assert len({answer.text for answer in after.values()}) == 3


def test_requests_for_different_adapters_run_together(serving: Serving) -> None:
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(lambda name: "".join(pieces(serving, name, 200)), name) for name in ("law", "tax")]
        together = False
        while not together and not all(answer.done() for answer in asked):
            together = "law" in (running := _running(serving)) and "tax" in running
        assert len({answer.result() for answer in asked}) == 2
    assert together


def _running(serving: Serving) -> list[str]:
    """Return the adapters that vLLM runs at this moment, from its own metrics."""
    connection = http.client.HTTPConnection(serving.url.removeprefix("http://"))
    connection.request("GET", "/v1/metrics", headers={"Authorization": f"Bearer {SECRET}"})
    lines = [line for line in connection.getresponse().read().decode().splitlines() if "lora_requests_info{" in line]
    latest = max(lines, key=lambda line: float(line.rsplit(" ", 1)[1]), default="")
    return latest.partition('running_lora_adapters="')[2].partition('"')[0].split(",")


def test_bad_ones_are_refused_and_the_others_answer_as_before(serving: Serving) -> None:
    before = {name: complete(serving.url, name, PROMPT) for name in ("tiny", "law", "tax")}
    (serving.root / "elsewhere").mkdir()
    write_adapter(serving.root / "elsewhere" / "link")
    (serving.results / "loras" / "link").symlink_to(serving.root / "elsewhere" / "link")
    stage(serving, "nan", tensors=poisoned())
    stage(serving, "zero", tensors=adapter_tensors(scale=0.0))
    stage(serving, "rank", config=adapter_config(r=64), tensors=adapter_tensors(rank=64))
    stage(serving, "dora", config=adapter_config(use_dora=True))
    stage(serving, "loud", config=adapter_config(lora_alpha=1e30))
    write_adapter(serving.results / "loras" / ".pipe", tensors=adapter_tensors(seed=8))
    os.mkfifo(serving.results / "loras" / ".pipe" / BUNDLE)
    (serving.results / "loras" / ".pipe").rename(serving.results / "loras" / "pipe")
    write_adapter(serving.results / "loras" / ".cut")
    weights = serving.results / "loras" / ".cut" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1000])
    weights.parent.rename(serving.results / "loras" / "cut")
    faults = {
        "link": "out of the model store", "nan": "NaN", "zero": "is zero", "rank": "r is 64, above the server's 32",
        "dora": "use_dora", "cut": "not a whole safetensors file", "loud": "lora_alpha is 1e+30", "pipe": "is a FIFO",
    }  # fmt: skip
    for name in faults:
        serving.says(f"\n{name}: refused: ")
    # A last good one is seen later than they: none of them is told again.
    stage(serving, "good", tensors=adapter_tensors(seed=6))
    serving.says("\ngood: served\n")
    for name, part in faults.items():
        [line] = [line for line in serving.printed.splitlines() if line.startswith(f"{name}: ")]
        assert part in line
    assert listed(serving) == ["tiny", "law", "tax", "good"]
    assert {name: complete(serving.url, name, PROMPT) for name in before} == before


def test_replaced_while_it_answers(serving: Serving) -> None:
    """A request ends on the weights that it began with; none is refused; soon the new weights answer alone."""
    former, former_long = complete(serving.url, "law", PROMPT).text, "".join(pieces(serving, "law"))
    texts: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            texts.append(complete(serving.url, "law", PROMPT).text)

    with ThreadPoolExecutor(2) as pool:
        running = pieces(serving, "law")
        begun = next(running)
        asking = pool.submit(ask)
        try:
            write_adapter(serving.results / "loras" / "law", tensors=adapter_tensors(seed=4))
            serving.says("\nlaw: replaced\n")
            assert len(_copies(serving, "law")) == 2  # the former one is still at work
            new = complete(serving.url, "law", PROMPT).text
            assert begun + "".join(running) == former_long
        finally:
            stop.set()
        asking.result()
    assert new != former
    assert texts[0] == former and texts == sorted(texts, key=[former, new].index)
    assert complete(serving.url, "law", PROMPT).text == new
    assert sorted(listed(serving)) == ["good", "law", "tax", "tiny"]
    assert _left(serving, "law", 1)


def _copies(serving: Serving, name: str) -> list[Path]:
    return list(serving.scratch.glob(f"adapters-*/{name}-*"))


def _left(serving: Serving, name: str, count: int) -> bool:
    """Tell if soon no more copies are left of an adapter."""
    deadline = time.monotonic() + 10
    while len(_copies(serving, name)) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(_copies(serving, name)) == count


def test_one_removed_is_gone(serving: Serving) -> None:
    shutil.rmtree(serving.results / "loras" / "good")
    serving.says("\ngood: no longer served\n")
    assert "good" not in listed(serving)
    client = OpenAI(base_url=f"{serving.url}/v1", api_key=SECRET)
    with pytest.raises(NotFoundError):
        client.completions.create(model="good", prompt=PROMPT, max_tokens=1)
    assert _left(serving, "good", 0)


def test_the_printed_curl_line_shows_the_key_and_ps_does_not(serving: Serving) -> None:
    """No process has the key on its command line: neither the server's nor that of who asks as it says."""
    assert f"${KEY}" in serving.curl
    with open(serving.root / "answers", "wb") as answers:
        asking = subprocess.Popen(["bash", "-c", f"for n in 1 2 3; do {serving.curl}; done"], stdout=answers)
        lines = []
        while asking.poll() is None:
            lines += _command_lines()
    assert (serving.root / "answers").read_text().count('"choices"') == 3
    assert any(line.startswith(b"curl\0") for line in lines) and any(b"vllm_server" in line for line in lines)
    assert not any(SECRET.encode() in line for line in lines)


def _command_lines() -> list[bytes]:
    """Return what `ps` shows of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(path.read_bytes())
    return found


def test_without_the_key_nothing_but_health_is_told(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(serving.url.rsplit(":", 1)[1])
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if f":{port:04X} " in line]
    assert f"00000000:{port:04X}" in listening
    for shown in ("", "another-key-of-nobody"):
        monkeypatch.setenv(KEY, shown)
        assert [get(serving.url, f"/v1/health/{name}")[0] for name in ("live", "ready")] == [200, 200]
        for path in ("models", "metadata", "metrics", "version", "completions"):
            assert get(serving.url, f"/v1/{path}")[0] == 401
        done = _ask(serving, shown)
        assert done.returncode == 2 and KEY in done.stderr and done.stderr.count("\n") == 1, done.stderr
    done = _ask(serving, SECRET)
    assert done.returncode == 0 and done.stdout.startswith("tiny"), done.stderr


def _ask(serving: Serving, key: str) -> subprocess.CompletedProcess[str]:
    command = [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.ask",
               "--config", "config.yaml", serving.config,
               "--url", serving.url, "--adapter", "law", "--", "why?"]  # fmt: skip
    environment = {**os.environ, KEY: key}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_an_adapter_does_not_chat(serving: Serving) -> None:
    """One that came later neither; the line says which route is its own."""
    client = OpenAI(base_url=f"{serving.url}/v1", api_key=SECRET, max_retries=0)
    for name in ("law", "tax"):
        with pytest.raises(
            BadRequestError, match=f"adapter {name} is tuned on plain prompts.*/v1/completions.*make ask"
        ):
            client.chat.completions.create(model=name, **CHAT)
    assert client.chat.completions.create(model="tiny", **CHAT).choices[0].message.content


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/completions", {"prompt": PROMPT, "max_tokens": 3}, 200),
        ("/v1/completions", {"prompt": PROMPT + " " * MAX_BODY}, 413),
        ("/v1/completions", {"prompt": PROMPT, "max_tokens": 1025}, 400),
        ("/v1/completions", {"prompt": [PROMPT] * 9}, 400),
        ("/v1/completions", {"prompt": PROMPT, "model": None}, 400),
        ("/v1/completions", {"prompt": PROMPT, "model": "absent"}, 404),
        ("/v1/chat/completions", {**CHAT, "model": "tiny"}, 200),
        ("/v1/chat/completions", CHAT, 400),
        ("/v1/chat/completions", {**CHAT, "model": "absent"}, 404),
        ("/v1/chat/completions", {**CHAT, "model": ""}, 400),
        ("/v1/load_lora_adapter", {"lora_name": "law", "lora_path": "/tmp"}, 404),
        ("/v1/unload_lora_adapter", {"lora_name": "law"}, 404),
        ("/tokenize", {"prompt": PROMPT}, 404),
        ("/invocations", {"prompt": PROMPT}, 404),
        ("/docs", None, 404),
        ("/metrics", None, 404),
    ],
)
@pytest.mark.parametrize("chunked", [True, False])
def test_bounds_hold_on_the_wire(serving: Serving, path: str, body: Any, status: int, chunked: bool) -> None:
    """A body whose length is said beforehand, or that comes in chunks."""
    text = json.dumps({"model": "law", **body}).encode() if body else b""
    connection = http.client.HTTPConnection(serving.url.removeprefix("http://"), timeout=60)
    headers = {"content-type": "application/json", "Authorization": f"Bearer {SECRET}"}
    sent = (text[at : at + 9000] for at in range(0, len(text), 9000)) if chunked else text
    connection.request("POST" if body else "GET", path, sent, headers, encode_chunked=chunked)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert answer.status == status, said
    assert "choices" in said if status == 200 else said["error"]["code"] == status
