"""RequestBounds around an ASGI application that says what it was sent: what passes unchanged, what never arrives."""

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.core.faults import BadInput
from adapter_build.serving import request_bounds
from adapter_build.serving.api_key import KEY
from adapter_build.serving.http_answers import Message, Receive, Send, answer
from adapter_build.serving.request_bounds import (
    ASKED,
    DESCRIPTION,
    MAX_ANSWERS,
    MAX_BODY,
    MAX_PENDING,
    MAX_TOKENS,
    OPEN,
    PATHS,
    RequestBounds,
)

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
    headers = [(b"content-type", b"application/json")]
    if key:
        headers.append((b"authorization", key.encode()))
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
    for path in PATHS - {*ASKED, DESCRIPTION}:
        assert ask(path) == (200, {"path": path, "body": ""})
    assert ask(DESCRIPTION)[1]["paths"].keys() == PATHS


@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs", "/redoc", "/metrics", "/health", "/ping", "/invocations", "/tokenize", "/detokenize",
        "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/responses", "/v1/models/", "/v1/../docs", "/V1/models",
    ],
)  # fmt: skip
def test_what_else_vllm_opens_fails(path: str) -> None:
    for body in (None, b"{}"):
        status, said = ask(path, body)
        assert status == 404 and "no such path here" in said["error"]["message"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "PUT"])
def test_the_description_is_ours_by_every_method(method: str) -> None:
    """A HEAD of it made vLLM describe itself, and fail."""
    status, said = ask(DESCRIPTION, method=method)
    assert status == 405 and said["error"]["message"] == "GET it"


def test_whatever_fails_is_no_500() -> None:
    async def fails(scope: Message, receive: Receive, send: Send) -> None:
        raise RuntimeError("as vLLM may")

    async def told() -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "path": "/v1/models", "method": "GET", "headers": []}
        await RequestBounds(fails)(scope, None, send)
        return sent

    start, body = asyncio.run(told())
    assert start["status"] == 400 and "its log" not in str(body) and "cannot be answered" in str(body["body"])


def test_a_websocket_fails() -> None:
    assert ask("/v1/models", type="websocket") == (0, None)


def test_a_body_arrives_as_it_was_sent() -> None:
    """Whole or in chunks, up to the last byte that is allowed, with what is not looked at."""
    common = {"model": "base", "max_tokens": MAX_TOKENS, "n": MAX_ANSWERS // 2, "seed": 1, "stop": None}
    for path, more in zip(ASKED, ({"prompt": "ä"}, {"messages": [{"role": "user", "content": "ä"}]}), strict=True):
        text = json.dumps({**common, **more}).encode()
        for body in (text, text + b" " * (MAX_BODY - len(text)), [text[:9], text[9:20], b"", text[20:]]):
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
        ({"max_tokens": MAX_TOKENS + 1}, f"max_tokens is 1025: it must be a whole number from 0 to {MAX_TOKENS}"),
        ({"max_tokens": 10**30}, "max_tokens is 1000"),
        ({"max_tokens": "9999"}, 'max_tokens is "9999"'),
        ({"max_tokens": 9999.0}, "max_tokens is 9999.0"),
        ({"max_tokens": 1e999}, "max_tokens is Infinity"),
        ({"max_tokens": ["a" * 1000]}, 'max_tokens is ["aaaaaaaaaaaaaaaaaa:'),
        ({"n": MAX_ANSWERS + 1}, "n is 9"),
        ({"best_of": MAX_ANSWERS + 1}, "best_of is 9"),
        ({"best_of": 3}, "best_of: of answers none is chosen here"),
        ({"prompt": ["a"] * (MAX_ANSWERS + 1)}, "prompt has 9 parts"),
        ({"prompt": [[1, 2]] * (MAX_ANSWERS + 1)}, "prompt has 9 parts"),
        ({"prompt": ["a", "b", "c"], "n": 3}, "it asks for 9 answers: at most 8"),
        ({"n": 8, "max_tokens": 1024, "prompt": "a" * 30}, "it asks for about 8202 tokens"),
        ({"prompt": [[1] * 1025] * 8}, "it asks for about 8328 tokens"),
        ({"prompt": ["word " * 1000] * 6}, "tokens, prompts and answers together: at most 8192"),
    ],
)
def test_asking_too_much_fails(asked: dict[str, Any], part: str) -> None:
    status, said = ask(COMPLETE, json.dumps({"model": "law", "prompt": "a", **asked}).encode())
    assert status == 400 and part in said["error"]["message"] and "\n" not in said["error"]["message"]


def test_as_much_as_is_allowed_passes() -> None:
    for asked in (
        {"prompt": [1] * 100, "max_tokens": None},
        {"prompt": ["a", "b", "c", "d"], "n": 2, "best_of": 2},
        {"prompt": [[1]] * 8, "max_tokens": 0},
    ):
        assert ask(COMPLETE, json.dumps({"model": "law", **asked}).encode())[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 60_000, b"[]", b'"a"', b"null"])
def test_a_body_that_is_no_json_object_fails(body: bytes) -> None:
    status, said = ask(COMPLETE, body)
    assert status == 400 and "the body is not" in said["error"]["message"]


def test_chat_is_for_the_base_alone() -> None:
    """Adapters are tuned on plain prompts: no template is put around what they are asked."""
    messages = [{"role": "user", "content": "a"}]
    body = json.dumps({"model": "base", "messages": messages}).encode()
    assert ask(CHAT, body) == (200, {"path": CHAT, "body": body.decode()})
    status, said = ask(CHAT, json.dumps({"model": "law", "messages": messages}).encode())
    told = said["error"]["message"]
    assert status == 400 and "adapter law" in told and "/v1/completions" in told and "make ask" in told
    assert "\n" not in told
    assert ask(COMPLETE, b'{"model": "law", "prompt": "a"}')[0] == 200


@given(st.text() | st.sampled_from(["Base", "base ", "law/", "BASE", "base\0", "\u202ebase"]))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_whatever_is_no_base_does_not_chat(model: str) -> None:
    messages = [{"role": "user", "content": "a"}]
    status, said = ask(CHAT, json.dumps({"model": model, "messages": messages}).encode())
    assert status in ((200,) if model == "base" else (400, 404))
    assert status == 200 or "\n" not in said["error"]["message"]


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}, {"model": 1}, {"model": ["base"]}])
@pytest.mark.parametrize("path", ASKED)
def test_a_request_that_names_no_model_fails(path: str, model: dict[str, Any]) -> None:
    """vLLM would let the base answer, as if it were the adapter."""
    status, said = ask(path, json.dumps({"prompt": "a", **model}).encode())
    assert status == 400 and "it names no model" in said["error"]["message"]


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded", b"application/jsonx", b""])
def test_a_body_that_does_not_say_that_it_is_json_fails(kind: bytes) -> None:
    """A page of another site may send the others without a question to the server first."""
    status, said = ask(COMPLETE, b'{"model": "law", "prompt": "a"}', headers=[(b"content-type", kind)])
    assert status == 400 and "content-type: application/json" in said["error"]["message"]


def test_more_answers_than_may_wait_fail() -> None:
    """As long as they wait, and no longer."""
    body = json.dumps({"model": "law", "prompt": ["a"] * MAX_ANSWERS}).encode()
    scope = {"type": "http", "path": COMPLETE, "method": "POST", "headers": [(b"content-type", b"application/json")]}

    async def statuses() -> list[int]:
        over, sent = asyncio.Event(), []

        async def waits(scope: Message, receive: Receive, send: Send) -> None:
            await over.wait()
            await answer(send, 200, {})

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if "status" in message:
                sent.append(message["status"])
                assert message["status"] == 200 or (b"retry-after", b"5") in message["headers"]

        bounds = RequestBounds(waits)
        asked = [asyncio.create_task(bounds(scope, receive, send)) for _ in range(MAX_PENDING // MAX_ANSWERS + 1)]
        await asyncio.sleep(0)
        over.set()
        await asyncio.gather(*asked)
        await bounds(scope, receive, send)
        return sent

    assert asyncio.run(statuses()) == [503, *[200] * (MAX_PENDING // MAX_ANSWERS + 1)]


def test_nobody_chats_before_the_models_are_known() -> None:
    assert ask(CHAT, b'{"model": "base", "messages": [{"role": "user", "content": "a"}]}', listing=500)[0] == 503


@pytest.mark.usefixtures("locked")
def test_the_key_opens_every_path() -> None:
    for path in PATHS:
        assert ask(path, key=f"Bearer {SECRET}")[0] == 200
    assert ask(COMPLETE, b'{"model": "law", "prompt": "a"}', key=f"Bearer {SECRET}")[0] == 200


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
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"authorization", f"Bearer {SECRET}".encode())]
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
