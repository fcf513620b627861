"""A server that is never ready, at the engine's address while no engine runs: 503, ask again.

The listening socket belongs to the process that starts engines; an engine inherits it. Until one takes it, clients are
answered here, in a thread.
"""

import asyncio
import contextlib
import json
import socket
import threading

from adapter_build.serving.http_answers import UNAVAILABLE, error_body

SECONDS_TO_ASK = 2.0
MAX_HEAD = 16384
RETRY_AFTER = 10  # seconds
LIVE = b"/v1/health/live"


class UnreadyServer:
    """Context manager: while entered, every request at a listening socket is answered 503, /v1/health/live 200."""

    def __init__(self, listener: socket.socket, reason: str) -> None:
        self._listener, self._reason = listener, reason
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "UnreadyServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        # A descriptor of its own: closing it leaves the listener as it is.
        server = await asyncio.start_server(self._answer, sock=self._listener.dup(), limit=MAX_HEAD)
        await self._over.wait()
        server.close()
        # Clients whose connections were accepted are answered: none of them takes longer than SECONDS_TO_ASK.
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(SECONDS_TO_ASK):
                head = await reader.readuntil(b"\r\n\r\n")
                live = head.split(b" ", 2)[1:2] == [LIVE]
                writer.write(self._live() if live else self._unavailable())
                await writer.drain()
                writer.write_eof()
                while await reader.read(MAX_HEAD):  # a body: the answer would be lost if it were left unread
                    pass
        writer.close()

    def _unavailable(self) -> bytes:
        error = error_body(f"{self._reason}: ask again", 503, UNAVAILABLE)
        return _response(b"503 Service Unavailable", error, b"retry-after: %d\r\n" % RETRY_AFTER)

    def _live(self) -> bytes:
        return _response(b"200 OK", {"object": "health.response", "message": "Service is live."})


def _response(status: bytes, body: object, header: bytes = b"") -> bytes:
    content = json.dumps(body).encode()
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\n" % status
    return head + header + b"content-length: %d\r\n\r\n%b" % (len(content), content)
