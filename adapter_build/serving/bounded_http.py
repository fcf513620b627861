"""HTTP protocol of the embedded engine: uvicorn's own, with bounds on connections, headers and bodies.

A connection, a header and a body are read before a client has shown a key. So each has a greatest size, number and time
here. A request that two readers might read as different ones is refused: two lengths, two hosts, a proxy's target.
"""

import asyncio
import json
import os
import re
from collections import Counter
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from adapter_build.serving.http_answers import error_body
from adapter_build.serving.request_bounds import BOUNDS, MAX_BODY

MAX_HEAD = 16384  # bytes of a request's target and headers
MAX_TARGET = 2048
MAX_HEADERS = 64
MAX_WAITING = 8  # requests sent on one connection before the first is answered
SECONDS_TO_HEAD = 10.0  # from the connection's or the request's first byte to the end of its headers
SECONDS_TO_BODY = 30.0  # from there to the end of its body
SECONDS_TO_READ = 60.0  # in which a client reads nothing of its answer
SECONDS_TO_LEAVE = 1.0  # for a refused client to read the reason
LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]"))
HOST = re.compile(rb"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
METHODS = frozenset((b"GET", b"HEAD", b"POST", b"OPTIONS", b"PUT", b"PATCH", b"DELETE"))


class _Refused(Exception):
    """Refusal of a request: its status, and the sentence that gives the reason."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. A refused request is answered in one line, and the connection closed."""

    _open: ClassVar[Counter[str]] = Counter()  # connections, by the client's address
    _bounds: ClassVar[dict[str, Any]] = {}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if not self._bounds:
            self._bounds.update(json.loads(os.environ[BOUNDS]))
        self._address = ""
        self._in_head, self._head, self._body = True, 0, 0  # bytes of the request that is read now
        self._refused: tuple[int, str] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._running: Any = None  # the cycle of the request that is answered now; self.cycle is the one read last

    def connection_made(self, transport: Any) -> None:
        """Accept a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._open[self._address] += 1
        self._within(SECONDS_TO_HEAD, "headers")
        if self._open.total() > self._bounds["connections"]:
            self._refuse(503, "too many connections: ask again")
        elif self._open[self._address] > self._bounds["connections_per_address"]:
            self._refuse(503, "too many connections of one address: ask again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._open[self._address] -= 1
        if not self._open[self._address]:
            del self._open[self._address]
        for timer in (self._deadline, self._unread):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, unless the client has been refused."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            if not self._deadline:
                self._within(SECONDS_TO_HEAD, "headers")
            self._head += len(data)
        else:
            self._body += len(data)
        try:
            self.parser.feed_data(data)
            if self._in_head and self._head > MAX_HEAD:
                raise _Refused(431, f"target and headers have more than {MAX_HEAD} bytes")
            if not self._in_head and self._body > 2 * MAX_BODY:  # in chunks of a few bytes each
                raise _Refused(413, f"the body has more than {MAX_BODY} bytes")
        except httptools.HttpParserUpgrade:
            self._refuse(400, "HTTP/1.1 is spoken here, and nothing is upgraded")
        except _Refused as refused:
            self._refuse(*refused.args)
        except httptools.HttpParserError as error:
            cause = error.__context__
            refused = cause if isinstance(cause, _Refused) else _Refused(400, "this is no sound HTTP/1.1 request")
            self._refuse(*refused.args)

    def on_message_begin(self) -> None:
        """Begin a request."""
        if len(self.pipeline) >= MAX_WAITING:
            raise _Refused(400, f"more than {MAX_WAITING} requests wait on this connection")
        self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Append a part of the target."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET:
            raise _Refused(414, f"the target has more than {MAX_TARGET} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Append a header; trailers after a chunked body are dropped."""
        if len(self.headers) >= MAX_HEADERS:
            raise _Refused(431, f"there are more than {MAX_HEADERS} headers")
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse an ambiguous request, or one for another server; else let the application begin."""
        self._check_head()
        self._in_head, self._head, self._body = False, 0, 0
        self._within(SECONDS_TO_BODY, "body")
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Append a part of the body."""
        if self.cycle.response_complete:
            return
        super().on_body(body)
        if len(self.cycle.body) > MAX_BODY:
            raise _Refused(413, f"the body has more than {MAX_BODY} bytes")

    def on_message_complete(self) -> None:
        """End a request: the next one has a time of its own."""
        self._in_head, self._head = True, 0
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Wait for a client that reads slowly, SECONDS_TO_READ at most."""
        super().pause_writing()
        self._unread = self.loop.call_later(SECONDS_TO_READ, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads again."""
        super().resume_writing()
        if self._unread:
            self._unread.cancel()

    def _check_head(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD:
            raise _Refused(431, f"target and headers have more than {MAX_HEAD} bytes")
        if self.parser.get_http_version() not in ("1.1", "1.0"):
            raise _Refused(400, "HTTP/1.1 is spoken here")
        if self.parser.get_method() not in METHODS:
            raise _Refused(405, "no such method here: GET and POST are")
        if not self.url.startswith(b"/") or self.url.startswith(b"//"):
            raise _Refused(400, "the target must be a path: this is no proxy")
        if any(name == b"upgrade" for name, _ in self.headers):
            raise _Refused(400, "HTTP/1.1 is spoken here, and nothing is upgraded")
        self._check_host([value for name, value in self.headers if name == b"host"])
        self._check_length([item for item in self.headers if item[0] in (b"content-length", b"transfer-encoding")])

    def _check_host(self, hosts: list[bytes]) -> None:
        """Refuse a name that is not this server's: DNS rebinding points another site's name here."""
        if len(hosts) != 1:
            raise _Refused(400, f"the request names {len(hosts)} hosts: it must name one")
        parts = HOST.fullmatch(hosts[0].lower())
        name = parts[1].decode() if parts else ""
        if name not in LOOPBACK and name not in self._bounds["names"] and not (self.server and name == self.server[0]):
            raise _Refused(400, "the request is for another host: if it is this one, set deploy.embedded.names")

    def _check_length(self, lengths: list[tuple[bytes, bytes]]) -> None:
        if len(lengths) > 1:
            raise _Refused(400, "the request tells the length of its body more than once")
        for name, value in lengths:
            if name == b"transfer-encoding":
                if value.lower() != b"chunked" or self.parser.get_http_version() == "1.0":
                    raise _Refused(400, "a body comes with its length, or in chunks")
            elif not value.isdigit():
                raise _Refused(400, "the length of the body is no number")
            elif len(value) > 19 or int(value) > MAX_BODY:
                raise _Refused(413, f"the body has more than {MAX_BODY} bytes")

    def _within(self, seconds: float, part: str) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._refuse, 408, f"the {part} took more than {seconds:g} s")

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer the client once, unless an answer is under way already, and read nothing more of it."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = status, sentence
        self._unset_keepalive_if_required()
        running = self._running if self._running and not self._running.response_complete else None
        for cycle in filter(None, (running, self.cycle)):
            cycle.disconnected = True  # its output goes nowhere from here on
            cycle.message_event.set()
        if running and running.response_started:
            self.transport.abort()
            return
        content = json.dumps(error_body(sentence, status)).encode()
        self.pipeline.clear()
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\nconnection: close\r\ncontent-length: "
            + str(len(content)).encode()
            + (b"\r\nretry-after: 1" if status == 503 else b"")
            + b"\r\n\r\n"
            + content
        )
        self.transport.resume_reading()  # the rest of the request is thrown away, so that the client reads the answer
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(SECONDS_TO_LEAVE, self.transport.abort)
