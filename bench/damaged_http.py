"""Requests over plain sockets that are damaged as no HTTP library would: bytes, lengths, order and pace."""

import contextlib
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

SECONDS_TO_ANSWER = 5.0
PATHS = (
    "/v1/completions", "/v1/chat/completions", "/v1/models", "/v1/health/ready", "/v1/health/live", "/v1/metadata",
    "/v1/metrics", "/v1/version", "/openapi.json", "/", "/docs", "/v1/load_lora_adapter", "/tokenize",
    "/v1/../v1/models",

    "*", "http://localhost/v1/models", "//v1/models", "/%00", "/v1/models?a=" + "b" * 3000,
)  # fmt: skip
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "CONNECT", "PRI", "get", "")
HEADERS = (
    "Host: localhost", "Host: evil.example", "Host:", "Content-Length: 5", "Content-Length: 99999999999999999999",
    "Content-Length: -1", "Content-Length: 0x10", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity", "Connection: close", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
    "Expect: 100-continue", "Authorization: Bearer x", "Content-Type: text/plain", "X-Long: " + "a" * 9000,
    " folded", "no colon", "A: b\r\nC: d", "Accept-Encoding: gzip", "Content-Encoding: gzip", "\x00: \x00",
)  # fmt: skip
FIELDS = {
    "n": (1, 2, 8, 0, -1, 1e9, None, "1"), "max_tokens": (1, 5, 0, -1, 1024, 10**30, None, 1.5),
    "echo": (True, None, 1),
    "logprobs": (0, 1, 5, 6, True, None), "prompt_logprobs": (0, 1, 5, -1), "stream": (True, False, None, "yes"),
    "stop": ("a", ["a", "b"], [], [""], ["a"] * 5, 1),
    "logit_bias": ({"1": 1}, {"999999": 1}, {"a": 1}, {"1": 1e999}),
    "temperature": (0, 1, 2, -1, 1e300, float("nan")), "top_p": (1, 0.1, 0, -1), "top_k": (1, -1, 0, 2**31),
    "seed": (0, 2**63, -1), "use_beam_search": (True, False),
    "structured_outputs": ({"regex": "(a{1,999}){1,999}"}, None),
    "response_format": ({"type": "json_object"}, {"type": "text"}), "best_of": (1, 8), "min_tokens": (0, 5, 2000),
    "guided_json": ({},), "suffix": ("a", None), "tools": ([{}],), "chat_template": ("{{ 1 }}",), "unknown": (1,),
    "stop_token_ids": ([1], [10**9], [-1]), "presence_penalty": (2, -3),
    "stream_options": ({"include_usage": True}, {}),
    "prompt": ("", "a", "\ud800", "\x00", [], [1, 2], [-1], [10**9], [[1]], [[]], ["a"] * 8, ["a"] * 9, "w " * 400, {}),
    "messages": ([], [{"role": "user", "content": "a"}], [{"role": "tool", "content": "a"}], "a", [None]),
}  # fmt: skip


class Damaged:
    """A client of `url` that sends whatever `seed` makes it, one connection after another."""

    def __init__(self, url: str, models: Sequence[str], seed: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._models, self._random = models, random.Random(seed)
        self.sent, self.statuses = 0, Counter[str]()
        self.failures: list[tuple[bytes, bytes]] = []  # what was answered 5xx but 503, and the answer

    def run(self, over: threading.Event) -> None:
        """Send until it is over."""
        while not over.is_set():
            self.once()

    def once(self) -> bytes:
        """Send one damaged request, or several at once, and return what was sent."""
        data = b"".join(self._request() for _ in range(self._random.choice((1, 1, 1, 2, 12))))
        for _ in range(self._random.choice((0, 0, 1, 1, 2, 8))):
            data = self._harmed(data)
        self.sent += 1
        with contextlib.suppress(OSError), socket.create_connection(self._address, timeout=SECONDS_TO_ANSWER) as client:
            for piece in self._pieces(data):
                client.sendall(piece)
            if self._random.random() < 0.1:
                return data  # and leaves without reading
            if self._random.random() < 0.7:
                client.shutdown(socket.SHUT_WR)
            answer = b""
            while (received := client.recv(65536)) and len(answer) < 2**20:
                answer += received
                if b"\r\n\r\n" in answer and self._random.random() < 0.5:
                    break
            if answer.startswith(b"HTTP/1."):
                self.statuses[answer[9:12].decode("latin-1")] += 1
                if answer[9:10] == b"5" and answer[9:12] != b"503":
                    self.failures.append((data, answer))
        return data

    def _request(self) -> bytes:
        choose = self._random.choice
        body = self._body()
        lines = [f"{choose(('POST', 'POST', choose(METHODS)))} {choose((PATHS[0], PATHS[1], choose(PATHS)))} HTTP/1.1"]
        lines += ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        for _ in range(choose((0, 0, 0, 1, 2, 100))):
            lines.insert(self._random.randrange(1, len(lines) + 1), choose(HEADERS))
        if self._random.random() < 0.15:
            lines.pop(self._random.randrange(len(lines)))
        if self._random.random() < 0.15:
            lines = [line for line in lines if "Content-Length" not in line] + ["Transfer-Encoding: chunked"]
            size = choose((1, 7, 1000))
            parts = [body[start : start + size] for start in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def _body(self) -> bytes:
        choose = self._random.choice
        asked: dict[str, object] = {"model": choose((*self._models, *self._models, "none", "", None, 1, ["tiny"]))}
        asked["prompt"] = choose(("a", "May I?", choose(FIELDS["prompt"])))
        asked["max_tokens"] = choose((1, 2, 3))
        for name in self._random.sample(sorted(FIELDS), choose((0, 1, 1, 2, 3))):
            asked[name] = choose(FIELDS[name])
        if self._random.random() < 0.3:
            asked["messages"] = choose(FIELDS["messages"])
            asked.pop("prompt", None)
        if self._random.random() < 0.1:
            asked.pop(choose(list(asked)))
        text = json.dumps(asked)
        return choose((text, text, text, text[: len(text) // 2], "[" * 5000, text * 2, "x" * 70_000, "")).encode()

    def _harmed(self, data: bytes) -> bytes:
        """Return data with one part changed, lost, doubled or moved."""
        if not data:
            return data
        start = self._random.randrange(len(data))
        end = min(len(data), start + self._random.choice((1, 1, 2, 8, 64)))
        part = data[start:end]
        new = self._random.choice((
            b"", part * 2, part * 50, self._random.randbytes(len(part)), b"\r\n", b"\x00", b"\r\n\r\n", part[::-1],
            bytes([part[0] ^ 1 << self._random.randrange(8)]) + part[1:],
        ))  # fmt: skip
        return data[:start] + new + data[end:]

    def _pieces(self, data: bytes) -> list[bytes]:
        """Return data as it is sent: whole, cut off, or in two."""
        cut = self._random.randrange(len(data) + 1)
        return self._random.choice(([data], [data], [data], [data[:cut]], [data[:cut], data[cut:]]))
