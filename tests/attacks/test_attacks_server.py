"""Attacks on a running serve.py: one server for all, which must answer as before when they are over."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from adapter_samples import adapter_tensors, write_adapter
from attack_table import Attack, every
from fuzz_server import STARTED_AGAIN, fuzz, wrong
from openai import OpenAI
from running_server import PROMPT, Serving, served

from adapter_build.serving.inference_client import complete, get

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FUZZ_SECONDS = 30.0
HOST = b"Host: localhost\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
BOMB = "(" * 30 + "a" + "{1,99})" * 30
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2}

Made = bytes | list[bytes]


def get_with(headers: bytes, start: bytes = MODELS) -> bytes:
    """Return a request without a body."""
    return start + headers + b"\r\n"


def asked(path: str = "/v1/completions", **fields: Any) -> bytes:
    """Return a request to the adapter, with more or other fields; those that are `...` are left out."""
    common = {"model": "law", "prompt": "May I?", "max_tokens": 2} if path == "/v1/completions" else CHAT
    body = {name: value for name, value in {**common, **fields}.items() if value is not ...}
    return sent(json.dumps(body).encode(), path)


def sent(body: bytes, path: str = "/v1/completions", kind: bytes = b"application/json") -> bytes:
    """Return a request with this body."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n".encode()
    return head + b"Content-Type: " + kind + b"\r\n\r\n" + body


def chat(**fields: Any) -> bytes:
    """Return a request to chat."""
    return asked("/v1/chat/completions", **fields)


def chunked(*chunks: bytes) -> list[bytes]:
    """Return a request whose body comes in chunks, as they are given."""
    return [POST + b"Transfer-Encoding: chunked\r\n\r\n", *chunks]


MADE: dict[str, Made] = {
    # Hosts
    "host_of_another": get_with(b"Host: evil.example\r\n"),
    "host_that_resolves_here": get_with(b"Host: 127.0.0.1.nip.io:8000\r\n"),
    "host_with_a_user": get_with(b"Host: localhost@evil.example\r\n"),
    "host_that_ends_in_ours": get_with(b"Host: evil-localhost\r\n"),
    "host_missing": get_with(b""),
    "host_twice": get_with(HOST + b"Host: evil.example\r\n"),
    "host_empty": get_with(b"Host: \r\n"),
    "target_of_a_proxy": get_with(HOST, b"GET http://localhost/v1/models HTTP/1.1\r\n"),
    "target_of_a_tunnel": get_with(HOST, b"CONNECT localhost:22 HTTP/1.1\r\n"),
    "target_without_a_path": get_with(HOST, b"GET * HTTP/1.1\r\n"),
    # Heads
    "headers_without_end": [MODELS + HOST, *[b"X-A: " + b"a" * 1000 + b"\r\n"] * 20_000],
    "header_without_end": [MODELS + HOST + b"X-A: ", *[b"a" * 65_536] * 300],
    "headers_by_the_hundred": get_with(HOST + b"a: b\r\n" * 100),
    "target_without_end": [b"GET /" + b"a" * 10_000, *[b"a" * 65_536] * 100],
    "no_http": [b"\x16\x03\x01" + b"a" * 65_536] * 100,
    "folded_header": get_with(HOST + b" folded: yes\r\n"),
    "blank_before_a_colon": get_with(HOST + b"Content-Length : 5\r\n"),
    "nul_in_a_header": get_with(HOST + b"X-A: a\x00b\r\n"),
    "upgrade": get_with(HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "pipelined_by_the_hundred": (POST + b"Content-Length: 2\r\n\r\n{}") * 200,
    "pipelined_after_a_request": asked(max_tokens=20) + b"\x00" * 9,
    # Lengths and bodies
    "length_and_chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two_lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length_below_nothing": POST + b"Content-Length: -1\r\n\r\n",
    "length_of_a_disk": POST + b"Content-Length: 999999999999\r\n\r\n",
    "chunk_of_no_length": chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk_of_a_disk": chunked(b"fffffffffffffffff\r\n{}"),
    "chunks_without_end": chunked(*[b"ffff\r\n" + b"a" * 65_535 + b"\r\n"] * 100),
    "chunks_of_a_byte": chunked(*[b"1\r\na\r\n" * 1000] * 100),
    "chunk_extensions_without_end": chunked(*[b"1;" + b"e" * 9000 + b"\r\na\r\n"] * 1000),
    "trailers_without_end": chunked(b"0\r\n", *[b"a: b\r\n" * 1000] * 50),
    "coding_of_another": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "body_of_no_json": sent(b"{'model': 'law'}"),
    "body_as_a_form": sent(b'{"model": "law", "prompt": "a"}', kind=b"text/plain"),
    "body_deep": sent(b"[" * 60_000),
    "body_long": sent(b" " * 70_000),
    # Paths
    "path_that_loads_adapters": sent(b"{}", "/v1/load_lora_adapter"),
    "path_of_vllm": sent(b"{}", "/tokenize"),
    "path_that_climbs": get_with(HOST, b"GET /v1/../docs HTTP/1.1\r\n"),
    "description_by_post": get_with(HOST, b"POST /openapi.json HTTP/1.1\r\n"),
    "path_with_nul": get_with(HOST, b"GET /v1/models%00 HTTP/1.1\r\n"),
    # Models
    "model_missing": asked(model=...),
    "model_null": asked(model=None),
    "model_empty": asked(model=""),
    "model_list": asked(model=["law"]),
    "model_number": chat(model=1),
    "model_missing_in_chat": chat(model=...),
    "model_unknown": asked(model="nobody"),
    "model_of_two_lines": asked(model="no\nbody"),
    "model_adapter_in_chat": chat(model="law"),
    # Cost
    "answers_too_many": asked(n=9),
    "answers_of_prompts": asked(prompt=["a"] * 3, n=3),
    "prompts_too_many": asked(prompt=["a"] * 9),
    "answers_too_long": asked(max_tokens=1025),
    "answer_of_no_number": asked(max_tokens=1e400),
    "tokens_together": asked(prompt="a" * 3000, n=8, max_tokens=200),
    "tokens_of_prompts": asked(prompt=[[1] * 500] * 8),
    "best_of": asked(best_of=8),
    "beams": asked(use_beam_search=True, n=8),
    "logprobs_too_many": asked(logprobs=1000),
    "prompt_logprobs_below_nothing": asked(prompt_logprobs=-1),
    "top_logprobs_too_many": chat(logprobs=True, top_logprobs=100),
    "regex_bomb": asked(structured_outputs={"regex": BOMB}),
    "regex_bomb_of_old": asked(guided_regex=BOMB),
    "grammar_bomb": asked(guided_grammar='root ::= "a" root root | ""'),
    "json_schema_bomb": asked(response_format=SCHEMA),
    "json_schema_in_chat": chat(response_format=SCHEMA),
    "stops_too_many": asked(stop=["a"] * 1000),
    "stop_empty": asked(stop=""),
    "stop_tokens_too_many": asked(stop_token_ids=list(range(10_000))),
    "biases_too_many": asked(logit_bias={str(n): 1 for n in range(1000)}),
    "bias_of_no_token": asked(logit_bias={"-1": 1}),
    "bias_without_end": asked(logit_bias={"1": float("inf")}),
    "least_above_most": asked(min_tokens=1024, max_tokens=1),
    "template_of_a_client": chat(chat_template="{% for a in range(10**9) %}{{ a }}{% endfor %}"),
    "tools": chat(tools=[{"type": "function", "function": {"name": "a", "parameters": {}}}]),
    "field_unknown": asked(priority=-1),
    "embeddings_as_a_prompt": asked(prompt=..., prompt_embeds="gASVKAAAAAAAAAA="),
    "token_of_no_vocabulary": asked(prompt=[10**9]),
    "prompt_empty": asked(prompt=[]),
    "prompt_half_a_pair": asked(prompt="\ud800"),
    "prompt_missing": asked(prompt=...),
    "message_of_a_tool": chat(messages=[{"role": "tool", "content": "a"}]),
    "message_of_an_image": chat(messages=[{"role": "user", "content": [{"type": "image_url", "text": "a"}]}]),
    "temperature_of_no_number": asked(temperature=float("nan")),
}
# Requests of the kind that ended the engine: they are answered.
ANSWERED = {
    "logits of eight prompts": asked(prompt=[f"May I {n}?" for n in range(8)], echo=True, logprobs=1, max_tokens=1),
    "logits of a prompt": asked(prompt_logprobs=1, max_tokens=1),
    "logits of the base's prompt": asked(model="tiny", echo=True, logprobs=5, max_tokens=1),
    "logits of a prompt alone": asked(echo=True, logprobs=0, max_tokens=0),
    "logits of tokens": asked(prompt=[[5, 6, 7], [8]], echo=True, logprobs=1),
    "logits in chat": chat(logprobs=True, top_logprobs=5),
    "logits in a stream": asked(echo=True, logprobs=1, stream=True),
    "as much as is allowed": asked(prompt=["a"] * 4, n=2, max_tokens=20, temperature=1),
    "a text as the answer's form": asked(response_format={"type": "text"}, use_beam_search=False, best_of=1),
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Start serve.py on two adapters, for connections of one address as few as these tests need."""
    adapters = {"law": adapter_tensors(seed=1), "tax": adapter_tensors(seed=2)}
    root = tmp_path_factory.mktemp("attacked")
    with served(root, adapters, connections_per_address=64, names=["proxy.example"], refresh_interval=0.2) as serving:
        yield serving


def talk(serving: Serving, made: Made, seconds: float = 20) -> bytes:
    """Send a request, or its pieces until the server takes no more, and return what it answers."""
    parts = urlsplit(serving.url)
    answer = b""
    with contextlib.closing(socket.create_connection((parts.hostname, parts.port), timeout=seconds)) as client:
        with contextlib.suppress(OSError):
            for piece in [made] if isinstance(made, bytes) else made:
                client.sendall(piece)
        with contextlib.suppress(ConnectionResetError):
            while not _whole(answer) and (received := client.recv(65_536)):
                answer += received
    return answer


def _whole(answer: bytes) -> bool:
    """Tell if an answer has come to its end."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end) and (len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n"))


def status(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer[9:12])


@every("server")
def test_an_attack_is_refused(serving: Serving, attack: Attack) -> None:
    """With 4xx and one sentence, at once."""
    began = time.monotonic()
    answer = talk(serving, MADE[attack.name])
    body = answer.partition(b"\r\n\r\n")[2].decode()
    assert 400 <= status(answer) < 500, answer
    said = json.loads(body)["error"]["message"]
    assert re.search(attack.says, said) and "\n" not in said and "Traceback" not in said, said
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ANSWERED)
def test_the_twin_is_answered(serving: Serving, name: str) -> None:
    answer = talk(serving, ANSWERED[name])
    assert status(answer) == 200 and b'"choices"' in answer and b'"error"' not in answer, answer


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:1", "proxy.example"])
def test_hosts_of_this_server_are_served(serving: Serving, host: str) -> None:
    assert status(talk(serving, get_with(f"Host: {host}\r\n".encode()))) == 200


def test_logits_of_a_prompt_beside_others(serving: Serving) -> None:
    """The engine ended where one such request came while three others were answered."""
    made = [asked(max_tokens=60), asked(model="tiny", max_tokens=60), asked(model="tax", max_tokens=60)]
    made += [asked(echo=True, logprobs=1, max_tokens=1, prompt="May my landlord keep it?")] * 3
    with ThreadPoolExecutor(len(made)) as pool:
        assert {status(answer) for answer in pool.map(lambda one: talk(serving, one, 60), made)} == {200}


def test_the_first_logprobs_are_as_fast_as_others(serving: Serving) -> None:
    """They waited for a compiler."""
    began = time.monotonic()
    for count in (1, 2, 3, 4):
        assert status(talk(serving, asked(prompt=["a"] * count, logprobs=1))) == 200
    assert time.monotonic() - began < 8


def test_ordinary_clients_are_served(serving: Serving) -> None:
    client = OpenAI(base_url=f"{serving.url}/v1", api_key="none", max_retries=0)
    whole = client.completions.create(model="law", prompt=PROMPT, max_tokens=5, temperature=0, user="me", logprobs=1)
    pieces = client.completions.create(model="law", prompt=PROMPT, max_tokens=5, temperature=0, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    said = client.chat.completions.create(
        model="tiny", messages=CHAT["messages"], max_completion_tokens=5, stream=True, metadata={"a": "b"},
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert [piece.usage for piece in said][-1].completion_tokens <= 5
    assert get(serving.url, "/openapi.json")[1]["openapi"] == "3.1.0"


def test_slow_clients_are_closed(serving: Serving) -> None:
    """Ten seconds for a head, whether something comes of it or not."""
    parts = urlsplit(serving.url)
    with contextlib.closing(socket.create_connection((parts.hostname, parts.port), timeout=15)) as client:
        began, answer = time.monotonic(), b""
        client.sendall(MODELS)
        client.settimeout(0.5)
        while time.monotonic() - began < 15 and not answer:
            client.sendall(b"X-A: b\r\n")
            with contextlib.suppress(TimeoutError):
                answer = client.recv(1000)
    assert status(answer) == 408 and b"the headers took more than 10 s" in answer
    assert 9 < time.monotonic() - began < 13


def test_connections_of_one_address_are_bounded(serving: Serving) -> None:
    parts = urlsplit(serving.url)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection((parts.hostname, parts.port))) for _ in range(80)]
        opened[-1].settimeout(5)
        answer = opened[-1].recv(1000)
        assert status(answer) == 503 and b"retry-after" in answer and b"too many connections of one address" in answer
    deadline = time.monotonic() + 5
    while status(talk(serving, get_with(HOST))) != 200:
        assert time.monotonic() < deadline


def test_a_fuzzer_finds_nothing(serving: Serving) -> None:
    assert not wrong(fuzz(serving, FUZZ_SECONDS, seed=2))


def _engine(serving: Serving) -> int:
    """Return the process in which vLLM computes."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            named = (path.parent / "comm").read_text().startswith("VLLM::Engine")
            if named and str(serving.scratch).encode() in path.read_bytes():
                return int(path.parent.name)
    raise AssertionError("no engine runs")


def test_an_engine_that_is_killed_is_started_again(serving: Serving) -> None:
    """Requests in flight get 503 and when to ask again; so does everyone until it answers as before."""
    before = {name: complete(serving.url, name, PROMPT) for name in ("tiny", "law", "tax")}
    assert STARTED_AGAIN not in serving.printed
    with ThreadPoolExecutor(4) as pool:
        flying = [pool.submit(talk, serving, asked(max_tokens=400, ignore_eos=True), 60) for _ in range(4)]
        time.sleep(1)
        os.kill(_engine(serving), signal.SIGKILL)
        for answer in (one.result() for one in flying):
            assert status(answer) == 503 and b"retry-after" in answer, answer
    serving.says(STARTED_AGAIN)
    seen = set()
    while "\nserving again: law, tax\n" not in serving.printed:
        assert serving.process.poll() is None
        seen.add(get(serving.url, "/v1/health/ready", 5)[0])
        time.sleep(0.2)
    assert 503 in seen and get(serving.url, "/v1/health/ready")[0] == 200
    assert {name: complete(serving.url, name, PROMPT) for name in before} == before


def test_an_adapter_staged_after_that_is_served(serving: Serving) -> None:
    write_adapter(serving.results / "loras" / ".new", tensors=adapter_tensors(seed=5))
    (serving.results / "loras" / ".new").rename(serving.results / "loras" / "new")
    serving.says("\nnew: served\n")
    assert complete(serving.url, "new", PROMPT).text
