"""A process of the environment `curate` that turns texts into plain ones, for tests that ask for many."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


class Worker:
    """Answers with the plain text of a title or a body, on one line."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [ROOT / ".venvs/curate/bin/python", HERE / "plain_texts.py"],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def title(self, text: str) -> str:
        return self._ask("title", text)

    def body(self, text: str) -> str:
        return self._ask("body", text)

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, kind: str, text: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([kind, text]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
