"""RequestBounds around an ASGI application that says what it was sent: what passes unchanged, what never arrives."""

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import request_bounds
from faults import BadInput
from nim_paths import Message, Receive, Send, answer
from request_bounds import ASKED, MAX_ANSWERS, MAX_BODY, MAX_TOKENS, OPEN, PATHS, RequestBounds
from serve_key import KEY

SECRET = "k3y-of-these-tests-alone"
COMPLETE = "/v1/completions"
CHAT = "/v1/chat/completions"


LISTED = [{"id": "base", "parent": None}, {"id": "law", "parent": "base"}]


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer with the path and the body as they arrived; asked within a request to chat, list the models."""
    if (scope["path"], scope["method"]) == ("/v1/models", "GET") and scope.get("listing"):
        await answer(send, scope["listing"], {"data": LISTED})
        return
    body, more = b"", scope["method"] == "POST"
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await answer(send, 200, {"path": scope["path"], "body": body.decode()})


def ask(
    path: str, body: bytes | list[bytes] | None = None, key: str = "", declared: bool = True, **scope: Any
) -> tuple[int, Any]:
    """Return status and body of one request; a body in a list comes in chunks."""
    chunks = [body] if isinstance(body, bytes) else body or []
    headers = [(b"authorization", key.encode())] if key else []
    if declared and chunks:
        headers.append((b"content-length", str(sum(map(len, chunks))).encode()))
    left: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    method = "GET" if body is None else "POST"
    listing = {"listing": 200} if path == CHAT else {}
    asked = {"type": "http", "path": path, "method": method, "headers": headers, **listing, **scope}
    asyncio.run(RequestBounds(application)(asked, receive, send))
    return sent[0].get("status", 0), json.loads(sent[-1].get("body", b"null"))


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has a key."""
    monkeypatch.setenv(KEY, SECRET)


def test_nims_paths_pass() -> None:
    assert {"/v1/models", "/v1/metrics", *ASKED, *OPEN} < PATHS
    for path in PATHS - {*ASKED}:
        assert ask(path) == (200, {"path": path, "body": ""})


@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs", "/openapi.json", "/metrics", "/health", "/ping", "/invocations", "/tokenize", "/detokenize",
        "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/responses", "/v1/models/", "/v1/../docs", "/V1/models",
    ],
)  # fmt: skip
def test_what_else_vllm_opens_fails(path: str) -> None:
    for body in (None, b"{}"):
        status, said = ask(path, body)
        assert status == 404 and "no such path here" in said["error"]["message"]


def test_a_websocket_fails() -> None:
    assert ask("/v1/models", type="websocket") == (0, None)


def test_a_body_arrives_as_it_was_sent() -> None:
    """Whole or in chunks, up to the last byte that is allowed, with what is not looked at."""
    asked = {"model": "base", "prompt": "ä", "max_tokens": MAX_TOKENS, "n": MAX_ANSWERS, "seed": 1, "stop": None}
    text = json.dumps(asked).encode()
    for body in (text, text + b" " * (MAX_BODY - len(text)), [text[:9], text[9:20], b"", text[20:]]):
        for path in ASKED:
            whole = body if isinstance(body, bytes) else b"".join(body)
            assert ask(path, body) == (200, {"path": path, "body": whole.decode()})


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_too_long_fails(declared: bool) -> None:
    """Said beforehand or not: one that comes in chunks is not read to its end."""
    padded = b'{"prompt": "a"}' + b" " * MAX_BODY
    for body in (padded, [padded[:1000], padded[1000:]], [b" " * 50_000] * 50):
        status, said = ask(COMPLETE, body, declared=declared)
        assert status == 413 and f"more than {MAX_BODY} bytes" in said["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"max_tokens": MAX_TOKENS + 1}, f"max_tokens is 1025: it must be a whole number of at most {MAX_TOKENS}"),
        ({"max_completion_tokens": 10**30}, "max_completion_tokens is 1000"),
        ({"max_tokens": "9999"}, 'max_tokens is "9999"'),
        ({"max_tokens": 9999.0}, "max_tokens is 9999.0"),
        ({"max_tokens": 1e999}, "max_tokens is Infinity"),
        ({"max_tokens": ["a" * 1000]}, 'max_tokens is ["aaaaaaaaaaaaaaaaaa:'),
        ({"n": MAX_ANSWERS + 1}, "n is 9"),
        ({"best_of": MAX_ANSWERS + 1}, "best_of is 9"),
        ({"prompt": ["a"] * (MAX_ANSWERS + 1)}, "it asks for 9 answers: at most 8"),
        ({"prompt": [[1, 2]] * (MAX_ANSWERS + 1)}, "it asks for 9 answers"),
        ({"prompt": ["a", "b", "c"], "n": 3}, "it asks for 9 answers"),
        ({"prompt": ["a", "b", "c"], "best_of": 3}, "it asks for 9 answers"),
    ],
)
def test_asking_too_much_fails(asked: dict[str, Any], part: str) -> None:
    for path in ASKED:
        status, said = ask(path, json.dumps(asked).encode())
        assert status == 400 and part in said["error"]["message"] and "\n" not in said["error"]["message"]


def test_as_much_as_is_allowed_passes() -> None:
    for asked in (
        {"prompt": [1] * 100, "max_tokens": None},
        {"prompt": ["a", "b", "c", "d"], "n": 2},
        {"prompt": [[1]] * 8, "max_tokens": 0},
    ):
        assert ask(COMPLETE, json.dumps({"model": "law", **asked}).encode())[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 60_000, b"[]", b'"a"', b"null"])
def test_a_body_that_is_no_json_object_fails(body: bytes) -> None:
    status, said = ask(COMPLETE, body)
    assert status == 400 and "the body is not" in said["error"]["message"]


def test_chat_is_for_the_base_alone() -> None:
    """Adapters are tuned on plain prompts: no template is put around what they are asked."""
    body = json.dumps({"model": "base", "messages": []}).encode()
    assert ask(CHAT, body) == (200, {"path": CHAT, "body": body.decode()})
    status, said = ask(CHAT, b'{"model": "law", "messages": []}')
    told = said["error"]["message"]
    assert status == 400 and "adapter law" in told and "/v1/completions" in told and "make ask" in told
    assert "\n" not in told
    assert ask(COMPLETE, b'{"model": "law"}')[0] == 200


@given(st.text() | st.sampled_from(["Base", "base ", "law/", "BASE", "base\0", "\u202ebase"]))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_whatever_is_no_base_does_not_chat(model: str) -> None:
    status, said = ask(CHAT, json.dumps({"model": model}).encode())
    assert status in ((200,) if model == "base" else (400, 404))
    assert status == 200 or "\n" not in said["error"]["message"]


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}, {"model": 1}, {"model": ["base"]}])
@pytest.mark.parametrize("path", ASKED)
def test_a_request_that_names_no_model_fails(path: str, model: dict[str, Any]) -> None:
    """vLLM would let the base answer, as if it were the adapter."""
    status, said = ask(path, json.dumps({"prompt": "a", **model}).encode())
    assert status == 400 and "it names no model" in said["error"]["message"]


def test_nobody_chats_before_the_models_are_known() -> None:
    assert ask(CHAT, b'{"model": "base"}', listing=500)[0] == 503


@pytest.mark.usefixtures("locked")
def test_the_key_opens_every_path() -> None:
    for path in PATHS:
        assert ask(path, key=f"Bearer {SECRET}")[0] == 200
    assert ask(COMPLETE, b'{"model": "law"}', key=f"Bearer {SECRET}")[0] == 200


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize(
    "key", ["", "Bearer", "Bearer ", SECRET, f"Basic {SECRET}", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}"]
)
def test_no_key_or_another_fails(key: str) -> None:
    """Whatever is asked; a probe alone needs none, and what is not there is not there."""
    for path in PATHS - {*OPEN}:
        for body in (None, b"{}", b" " * 100_000):
            status, said = ask(path, body, key=key)
            assert status == 401 and "Authorization: Bearer" in said["error"]["message"]
            assert SECRET not in json.dumps(said)
    assert [ask(path, key=key)[0] for path in (*OPEN, "/docs")] == [200, 200, 404]


@pytest.mark.parametrize("key", ["short", "a" * 257, "sixteen-letters or", "sixteen-letters-ä", "sixteen-letters\n"])
def test_a_key_that_no_header_holds_fails(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(KEY, key)
    with pytest.raises(BadInput, match=f"^{KEY}: it takes 16 to 256") as fault:
        RequestBounds(application)
    assert key not in str(fault.value)


@pytest.mark.usefixtures("locked")
def test_it_costs_little() -> None:
    """Far less than a millisecond of a processor, for a prompt of the greatest length that the engine takes."""
    body = json.dumps({"model": "law", "prompt": "word " * 1600, "max_tokens": 25}).encode()
    assert len(body) > 8000
    bounds = request_bounds.RequestBounds(application)
    headers = [(b"content-length", str(len(body)).encode()), (b"authorization", f"Bearer {SECRET}".encode())]
    scope = {"type": "http", "path": COMPLETE, "method": "POST", "headers": headers}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        pass

    async def often(app: Any) -> float:
        began = time.process_time()
        for _ in range(300):
            await app(scope, receive, send)
        return (time.process_time() - began) / 300

    cost = asyncio.run(often(bounds)) - asyncio.run(often(application))
    assert cost < 0.0005, f"{cost * 1000:.3f} ms"
