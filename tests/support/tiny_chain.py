"""The model half on the tiny base, run once per test process, and pieces to vary it."""

import functools
import hashlib
import json
import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

from measured import python_path
from warm_process import run_warm

ROOT = Path(__file__).parents[2]
MODEL = "tests/tiny-random-llama"
TOPICS = ("rent", "contract", "patent", "license", "tax", "will", "trademark", "copyright", "loan", "permit")
SETTINGS: dict[str, Any] = {
    "rank": 8, "alpha": 32.0, "dropout": 0.1, "learning_rate": 0.01, "max_steps": 60, "micro_batch_size": 2,
    "target_modules": ["v_proj", "q_proj", "o_proj", "up_proj", "gate_proj", "down_proj"], "global_batch_size": 4,
    "sequence_length": 96, "validation_interval": 25, "validation_limit": 32, "patience": 0, "seed": 7,
    "threads": 1,
}  # fmt: skip
WITHIN: list[str] = []  # the beginning of a command line, for a test of a machine that lacks something
SORTED_MODULES = sorted(SETTINGS["target_modules"])


def script(
    env: str, name: str, scratch: Path, meanwhile: Callable[[Any], None] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a step script as the step runner does, with an empty working folder that it should leave empty."""
    scratch.mkdir(parents=True, exist_ok=True)
    command = [ROOT / f"scripts/{name}.py"]
    for option, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        command += [f"--{option.replace('_', '-')}", *values]
    if env == "tune" and not meanwhile and not WITHIN:
        return run_warm(env, list(map(str, command)), scratch, variables_in(scratch))
    return run([ROOT / f".venvs/{env}/bin/python", *command], scratch, meanwhile)


def python(program: Path, scratch: Path, *arguments: Any) -> str:
    """Run a test's program in the tune environment, with our scripts at hand, and return what it prints."""
    if WITHIN:
        command = [*WITHIN, ROOT / ".venvs/tune/bin/python", program, *arguments]
        result = run(command, scratch, **python_path(ROOT, ROOT / "scripts"))
    else:
        environment = variables_in(scratch, **python_path(ROOT, ROOT / "scripts"))
        result = run_warm("tune", list(map(str, [program, *arguments])), scratch, environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def run(
    command: list[Any], scratch: Path, meanwhile: Callable[[Any], None] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with TMPDIR and HOME in `scratch`, which is its working folder too."""
    environment = variables_in(scratch, **variables)
    process = subprocess.Popen(
        list(map(str, command)), stdout=PIPE, stderr=PIPE, text=True, cwd=scratch, env=environment
    )
    with process:
        try:
            if meanwhile:
                meanwhile(process)
            output, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def variables_in(scratch: Path, **variables: str) -> dict[str, str]:
    """Make TMPDIR and HOME in `scratch`, and return the variables of a process that has them."""
    for name in ("tmp", "home"):
        (scratch / name).mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"], "HOME": str(scratch / "home"), "TMPDIR": str(scratch / "tmp"), "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1",
        **python_path(), **variables,
    }  # fmt: skip


def prompts(path: Path, count: int, seed: int, words: int = 12) -> Path:
    """Write `count` prompts in the tutorial's form; the title tells the topic, so there is something to learn."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        topic = generator.choice(TOPICS)
        question = " ".join(generator.choice(TOPICS) for _ in range(generator.randint(3, words)))
        text = f"Write a title.\nQUESTION: {topic} {question}\nTITLE:"
        rows.append({"id": str(number), "input": text, "output": f"The law of {topic}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Chain:
    """The folder of the chain's files."""

    folder: Path
    base: list[Path]

    @property
    def nemo(self) -> Path:
        return self.folder / "base.nemo"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "adapter.nemo"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def adapter(self) -> list[Path]:
        return [self.folder / "adapter" / name for name in ("adapter_config.json", "adapter_model.safetensors")]

    def tune(
        self, into: Path, meanwhile: Callable[[Any], None] | None = None, **changes: Any
    ) -> subprocess.CompletedProcess[str]:
        """Tune into another folder; `changes` replace settings or files; `meanwhile` gets the running process."""
        into.mkdir(exist_ok=True)
        options = {
            "base": self.nemo, "train": self.folder / "train.jsonl", "validation": self.folder / "val.jsonl",
            "checkpoint": into / "adapter.nemo", "metrics": into / "metrics.jsonl", **SETTINGS, **changes,
        }  # fmt: skip
        return script("tune", "tune_adapter", into / "scratch", meanwhile, **options)

    def export(self, into: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Export into another folder."""
        into.mkdir(exist_ok=True)
        options = {
            "checkpoint": self.checkpoint, "metrics": self.metrics, "model": MODEL, "licence": "Apache-2.0",
            "adapter": "law-titlegen", "config": into / "adapter_config.json",
            "weights": into / "adapter_model.safetensors", "card": into / "README.md", **changes,
        }  # fmt: skip
        return script("tune", "export_adapter", into / "scratch", **options)

    def evaluate(self, into: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Evaluate into another folder."""
        into.mkdir(exist_ok=True)
        options = {
            "files": self.base, "adapter_files": self.adapter, "test": self.folder / "test.jsonl", "limit": 9,
            "max_new_tokens": 8, "batch_tokens": 128, "resamples": 200, "seed": 1, "threads": 1,
            "scores": into / "scores.json", "predictions": into / "predictions.jsonl", **changes,
        }  # fmt: skip
        return script("tune", "evaluate_adapter", into / "scratch", **options)


@functools.cache
def chain(base: Path) -> Chain:
    """Return the chain on `base`, the folder that tests/tiny/make_base.py wrote, built up to the exported adapter."""
    folder = base.parent / "chain"
    folder.mkdir()
    made = Chain(folder, sorted(base.iterdir()))
    prompts(folder / "train.jsonl", 30, seed=1)
    prompts(folder / "val.jsonl", 8, seed=2)
    prompts(folder / "test.jsonl", 12, seed=3)
    steps = (
        lambda: script("tune", "convert_base", folder / "scratch", files=made.base, nemo=made.nemo),
        lambda: made.tune(folder),
        lambda: made.export(folder / "adapter"),
    )
    for step in steps:
        result = step()
        assert result.returncode == 0, result.stderr
    return made


def sha256(path: Path) -> str:
    """Return a file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Assert exit code 2 and a last line `error: …` that has all parts, without a traceback."""
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), result.stderr
    assert "Traceback" not in result.stderr
    assert not [part for part in parts if part not in last], last
