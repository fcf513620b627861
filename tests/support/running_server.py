"""Server of `make serve` on a built `results` folder of the two-layer base, ended with Ctrl-C."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_samples import MODEL, Tensors, write_adapter, write_base

from adapter_build.serving.inference_client import complete

ROOT = Path(__file__).parents[2]
PROMPT = 'QUESTION: May my landlord\'s agent keep "my" deposit?\n\nTITLE:'


@dataclass
class Serving:
    """Running `make serve`: its results folder, its overlay, its output and its engine's log."""

    process: subprocess.Popen[bytes]
    root: Path

    @property
    def results(self) -> Path:
        """Results of the build."""
        return self.root / "results"

    @property
    def scratch(self) -> Path:
        """Folder of the command for temporary files."""
        return self.root / "scratch"

    @property
    def config(self) -> Path:
        """Overlay of config.yaml that the command was started with."""
        return self.root / "overlay.yaml"

    @property
    def printed(self) -> str:
        """Output of the command so far."""
        return (self.root / "printed").read_text()

    @property
    def log(self) -> str:
        """Log of the engine so far."""
        return (self.root / "logs" / "serve.log").read_text(errors="replace")

    @property
    def curl(self) -> str:
        """Request that the command prints."""
        return next(line for line in self.printed.splitlines() if line.startswith("curl"))

    @property
    def url(self) -> str:
        """The server's URL, from the curl line."""
        return self.curl.split("curl -s ")[1].split("/v1/")[0]

    def says(self, text: str, seconds: float = 30) -> float:
        """Wait until it has printed `text`, with a whole line; return for how long. Fails if it does not."""
        began = time.monotonic()
        while text not in (printed := self.printed) or not printed.endswith("\n"):
            assert self.process.poll() is None, printed + self.log
            assert time.monotonic() - began < seconds, f"{text!r} is not in:\n{printed}"
            time.sleep(0.02)
        return time.monotonic() - began


@contextlib.contextmanager
def served(
    root: Path, adapters: Mapping[str, Tensors], variables: Mapping[str, str] | None = None, **embedded: Any
) -> Iterator[Serving]:
    """Start serve.py with `deploy.embedded` and more variables; end it with Ctrl-C and see that nothing is left."""
    results, scratch = root / "results", root / "scratch"
    write_base(results / "base" / "tiny")
    for name, tensors in adapters.items():
        write_adapter(results / "loras" / name, tensors=tensors)
    (results / "evaluation").mkdir()
    rows = [{"id": str(n), "input": PROMPT + " more" * n, "reference": "", "base": "", "adapter": ""} for n in (1, 0)]
    (results / "evaluation" / "law.predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (results / "deploy").mkdir()
    (results / "deploy" / "ready.json").write_text('{"base": {"name": "tiny"}}')
    scratch.mkdir()
    overlay = {
        "base": {"name": "tiny", "path": str(results / "base" / "tiny"), "model": MODEL},
        "adapters": {name: {"prompt": "prompts/law-titlegen.jq"} for name in adapters},
        "deploy": {"embedded": embedded},
        "threads": 1,  # two would wait for one another wherever others work, too
    }
    (root / "overlay.yaml").write_text(json.dumps(overlay))
    with open(root / "printed", "wb") as printed:
        process = subprocess.Popen(
            [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.serve", "--results", results,
             "--config", "config.yaml", root / "overlay.yaml", "--port", "0", "--log", root / "logs" / "serve.log"],
            cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch), **(variables or {})}, stdout=printed, stderr=printed,
        )  # fmt: skip
    serving = Serving(process, root)
    try:
        serving.says("curl", 300)
        yield serving
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert process.returncode == 0 and serving.printed.endswith("\nstopped\n"), serving.printed
    assert list(scratch.iterdir()) == []
    assert not running(scratch)


def running(scratch: Path) -> list[str]:
    """Return the processes whose environment names `scratch`: the engine's."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(scratch).encode() in environment.read_bytes():
                found.append((environment.parent / "cmdline").read_text())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def golden(url: str, *names: str, prompts: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Return rows of predictions per adapter that say what the server answers, to PROMPT and to longer ones."""
    texts = [PROMPT.replace("keep", "keep " * (number + 1)) for number in range(prompts)]
    bases = [complete(url, "tiny", text).text for text in texts]
    return {
        name: [
            {"id": str(number), "input": text, "base": base, "adapter": complete(url, name, text).text}
            for number, (text, base) in enumerate(zip(texts, bases, strict=True), 1)
        ]
        for name in names
    }
