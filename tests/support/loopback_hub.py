"""A Hugging Face hub of one dataset on this machine's loopback: it answers what `huggingface_hub` really asks."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loopback_server import Quiet, serving

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/Law"
FILE = "questions.json"


@dataclass
class Hub:
    """The address of the hub, and every request it got: (method, path, authorization)."""

    port: int
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def run(self, *command_line: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python of the workflow environment in the checkout with this hub in the place of the real one."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{self.port}", "NO_PROXY": "127.0.0.1", **variables}
        command = [ROOT / ".venvs/workflow/bin/python", *command_line]
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60, check=False
        )


@contextmanager
def hub(content: bytes, licence: str = "cc-by-sa-4.0", token: str | None = None) -> Iterator[Hub]:
    """Serve `content` as FILE of REPO at COMMIT, which is also the branch main; with `token`, to its bearer only."""

    class Handler(Quiet):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            served.requests.append((self.command, self.path, self.headers["Authorization"]))
            if token and self.headers["Authorization"] != f"Bearer {token}":
                self._send(
                    401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, with_body
                )
            elif self.path in (f"/datasets/{REPO}/resolve/{revision}/{FILE}" for revision in (COMMIT, "main")):
                etag = hashlib.sha256(content).hexdigest()
                self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, with_body)
            elif self.path in (f"/api/datasets/{REPO}/revision/{COMMIT}", f"/api/datasets/{REPO}/revision/main"):
                card = {"id": REPO, "sha": COMMIT, "cardData": {"license": licence}}
                self._send(200, json.dumps(card).encode(), {"Content-Type": "application/json"}, with_body)
            elif self.path == f"/api/datasets/{REPO}":
                self._send(307, b"", {"Location": f"/api/datasets/{REPO}/revision/main"}, with_body)
            elif "/resolve/" in self.path:
                missing = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
                self._send(404, b"", missing, with_body)
            else:
                self._send(
                    404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, with_body
                )

        def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    with serving(Handler) as server:
        served = Hub(server.server_port)
        yield served


@contextmanager
def model_hub(folder: Path) -> Iterator[str]:
    """Serve the files of `folder` as the model someone/tiny at COMMIT, to the bearer of `sesame`; give its address."""

    class Handler(Quiet):
        def do_HEAD(self) -> None:
            file = folder / Path(self.path).name
            body, error = b"", None
            if self.headers["Authorization"] != "Bearer sesame":
                error = (401, "GatedRepo")
            elif self.path in ("/api/models/someone/tiny", "/api/models/someone/tiny/revision/main"):
                body = json.dumps({"id": "someone/tiny", "sha": COMMIT}).encode()
            elif self.path == f"/someone/tiny/resolve/{COMMIT}/{file.name}" and file.is_file():
                body = file.read_bytes()
            else:
                error = (404, "EntryNotFound" if "/resolve/" in self.path else "RepoNotFound")
            self.send_response(error[0] if error else 200)
            if error:
                self.send_header("X-Error-Code", error[1])
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD

    with serving(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}"
