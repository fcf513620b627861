"""The stand-in while an engine is started, on a socket that an engine takes over."""

import json
import socket
import time
import urllib.error
import urllib.request
from contextlib import closing
from typing import Any

import pytest

from adapter_build.core.ports import listening
from adapter_build.serving.unready_server import MAX_HEAD, UnreadyServer


def told(port: int, path: str, body: bytes | None = None) -> tuple[int, dict[str, object], str | None]:
    """Return status, body and Retry-After."""
    try:
        answer: Any = urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", body), timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, json.load(answer), answer.headers["retry-after"]


def test_it_says_when_to_ask_again_and_leaves_the_socket() -> None:
    with closing(listening(0)) as listener:
        port = listener.getsockname()[1]
        for reason in ("the engine is starting", "the engine ended"):
            with UnreadyServer(listener, reason):
                for path, body in (("/v1/health/ready", None), ("/v1/completions", b"{}" * 30_000), ("/", None)):
                    status, said, retry = told(port, path, body)
                    assert status == 503 and int(retry or 0) > 0 and reason in json.dumps(said)
                assert told(port, "/v1/health/live")[0] == 200
        client = socket.create_connection(("127.0.0.1", port))
        listener.settimeout(5)
        taken, _ = listener.accept()  # an engine's turn
        for end in (taken, client):
            end.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"a" * 3 * MAX_HEAD, b"\x00\r\n\r\n"])
def test_who_sends_no_request_keeps_nobody_waiting(sent: bytes) -> None:
    with closing(listening(0)) as listener:
        port = listener.getsockname()[1]
        began = time.monotonic()
        with UnreadyServer(listener, "the engine is starting"), socket.create_connection(("127.0.0.1", port)) as silent:
            silent.sendall(sent)
            assert told(port, "/v1/models")[0] == 503
            assert time.monotonic() - began < 1
        assert time.monotonic() - began < 3
