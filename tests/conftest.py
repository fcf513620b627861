"""Fixtures of every test: the project's root and a way to run a step script in its own environment."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from warm_process import run_warm

from adapter_build.core.digests import file_digest
from adapter_build.lineage.results_folder import artifacts

# What was skipped; a Docker Engine and a registry, a Slurm, an S3 server, for those that ask.
pytest_plugins = ["skipped", "docker_fixtures", "slurm_fixtures", "s3_fixtures"]

ROOT = Path(__file__).parents[1]
# Real posts, which are not ours to publish: beside the checkout or not there.
SLICE = ROOT.parent / "shared/data/law-stackexchange-slice.json.xz"
needs_slice = pytest.mark.skipif(not SLICE.is_file(), reason="needs ../shared/data/law-stackexchange-slice.json.xz")
# The beginning of a step that a test writes.
START = Path(__file__).with_name("step_options.py").read_text()
TESTS = Path(__file__).parent
MARKS = {"attacks": "attacks", "steps": "steps", "workflow": "builds"}
# Everything that needs no server.
STORE = (
    "results/loras/law-titlegen/adapter_model.safetensors",
    "results/evaluation/law-titlegen.json",
    "results/curated/ledger.parquet",
)


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder."""
    for item in items:
        for folder, mark in MARKS.items():
            if item.path.is_relative_to(TESTS / folder):
                item.add_marker(mark)


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `scripts/<name>.py`, or the command `cli.<name>`, with an environment's interpreter.

    Names of options use underscores, lists give several values.
    """

    def run(env: str, name: str, **options: object) -> subprocess.CompletedProcess[str]:
        program = ["-m", f"adapter_build.{name}"] if "." in name else [str(ROOT / "scripts" / f"{name}.py")]
        command = [str(ROOT / ".venvs" / env / "bin" / "python"), *program]
        for option, value in options.items():
            values = value if isinstance(value, list | tuple) else [value]
            command += [f"--{option.replace('_', '-')}", *map(str, values)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "TMPDIR": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)

    return run


class Checkout:
    """A clean copy of the project's files, as a clone has them, that shares this checkout's environments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Copy the project's files here."""
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name)
        (self.folder / ".venvs").symlink_to(ROOT / ".venvs")

    def command(self, *arguments: str, tiny: bool = True) -> list[str]:
        """Return a Snakemake command line, by default for the tiny chain."""
        overlay = ["--configfile", "tests/tiny/config.yaml"] if tiny else []
        return [str(ROOT / ".venvs/workflow/bin/snakemake"), "--cores", "2", *overlay, *arguments]

    def snakemake(self, *arguments: str, tiny: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here; the caller looks at the exit code."""
        return run_warm("workflow", self.command(*arguments, tiny=tiny), self.folder, dict(os.environ))

    def build(self, *targets: str) -> None:
        """Build targets of the tiny chain."""
        done = self.snakemake("--quiet", "all", "--", *targets)
        assert done.returncode == 0, done.stderr

    def prompts(self, posts: Path, *splits: str) -> Path:
        """Fill this checkout, take a file of real posts up to the prompts of `splits`, and return that of the last."""
        self.fill()
        targets = [f"results/prompts/law-titlegen/{split}.jsonl" for split in splits]
        source = ["--configfile", "configs/law-stackexchange.yaml", "--config", f"data={{source: file, path: {posts}}}"]
        done = self.snakemake("--quiet", "all", *source, "--", *targets, "results/curated/ledger.parquet", tiny=False)
        assert done.returncode == 0, done.stderr
        return self.folder / targets[-1]

    def pending(self, *arguments: str) -> set[str]:
        """Return the names of the rules of which a job would run now."""
        done = self.snakemake("--dry-run", "--quiet", "progress", *arguments)
        assert done.returncode == 0, done.stderr
        return set(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE)) - {"all"}

    def digests(self) -> dict[str, str]:
        """Return the sha256 of every artifact in results/, attestations aside."""
        results = self.folder / "results"
        return {str(path.relative_to(results)): file_digest(path) for path in artifacts(results)}


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny chain's base model: a folder of Hugging Face files."""
    return _base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def deep_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a layer between the first and the last, which are never rounded."""
    return _base(tmp_path_factory.mktemp("deep"), "3")


def _base(folder: Path, *layers: str) -> Path:
    made = folder / "base"
    subprocess.run([ROOT / ".venvs/tune/bin/python", ROOT / "tests/tiny/make_base.py", made, *layers], check=True)
    return made


@pytest.fixture
def checkout(tmp_path: Path, tiny_base: Path) -> Checkout:
    """A checkout of its own for one test."""
    return _checkout(tmp_path / "checkout", tiny_base)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Checkout:
    """A checkout in which the tiny chain was built up to the model store; tests must leave it as it is."""
    made = _checkout(tmp_path_factory.mktemp("built") / "checkout", tiny_base)
    made.build(*STORE)
    return made


@pytest.fixture(scope="session")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the slice of real posts went through everything up to the prompts of every split."""
    made = Checkout(tmp_path_factory.mktemp("sliced") / "checkout")
    made.prompts(SLICE, "train", "val", "test")
    return made


@pytest.fixture
def copy_of_built(built: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the built checkout, Snakemake's records included, for a test that changes something."""
    copy = Checkout(tmp_path / "copy")
    shutil.copytree(built.folder, copy.folder, symlinks=True)
    return copy


def _checkout(folder: Path, base: Path) -> Checkout:
    made = Checkout(folder)
    made.fill()
    shutil.copytree(base, folder / "tests/tiny/base")
    return made
