"""Tuning that is killed and run again: the bytes of an undisturbed run, from the last saved state on and no earlier."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_chain import SETTINGS, Chain, chain, python, sha256

from adapter_build.core.jsonl import read_jsonl
from adapter_build.hermetic import bubblewrap
from adapter_build.tuning.resume_file import NAME

HERE = Path(__file__).parent

# Runs tune_adapter.py in children of one process, which imports NeMo for all. What befalls a child: it ends itself by
# SIGKILL at the end of the n-th call of a method of Recorder's, or at the n-th fsync. An odd one is of the file that is
# being written, of which half is there then, an even one of its folder, just after the file was renamed.
# 18 steps of two micro-batches each, saved after steps 3, 6, 9, …
SHORT = {"max_steps": 18, "validation_interval": 4, "validation_limit": 8, "checkpoint_interval": 3}
PACKED = {"micro_batch_size": 1, "pack_length": 192, "sequence_length": 96}


@dataclass(frozen=True)
class Life:
    """One run of several: the step that it resumed at, the steps that it computed if it ended well, what it said."""

    resumed: int
    steps: int | None
    said: str


@pytest.fixture
def tiny(tiny_base: Path) -> Chain:
    return chain(tiny_base)


def options(tiny: Chain, into: Path, **settings: Any) -> list[str]:
    """Return tune_adapter.py's command line."""
    into.mkdir(parents=True, exist_ok=True)
    named = {
        "base": tiny.nemo, "train": tiny.folder / "train.jsonl", "validation": tiny.folder / "val.jsonl",
        "checkpoint": into / "adapter.nemo", "metrics": into / "metrics.jsonl", **SETTINGS, **settings,
    }  # fmt: skip
    words: list[str] = []
    for name, value in named.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return words


def live(
    tiny: Chain, folder: Path, *stories: Sequence[Mapping[str, int]], nodes: int = 1, **changes: Any
) -> list[list[Life]]:
    """Run once undisturbed, nothing saved; then each story: the lives that follow one another, and what befalls each.

    Asserts that every life but a story's last was killed, and that the last one left what the undisturbed run did.
    """
    settings = {**SHORT, **changes, "nodes": nodes}
    whole = options(tiny, folder / "whole", **{**settings, "checkpoint_interval": 0})
    runs: list[Any] = [[whole, {}, nodes, str(folder / "whole.log")]]
    for number, story in enumerate(stories):
        into = folder / str(number)
        (into / "kept").mkdir(parents=True)
        words = options(tiny, into, **settings, resume=into / "kept")
        runs += [[words, events, nodes, str(into / f"{at}.log")] for at, events in enumerate(story)]
    codes = json.loads(python(HERE / "interrupt_tuning.py", folder, json.dumps(runs)).splitlines()[-1])
    assert codes.pop(0) == 0
    told = []
    for number, story in enumerate(stories):
        lives = [life(folder / str(number) / f"{at}.log.0") for at in range(len(story))]
        assert [codes.pop(0) for _ in story] == [-9] * (len(story) - 1) + [0], (story, lives[-1].said)
        for name in ("adapter.nemo", "metrics.jsonl"):
            assert sha256(folder / str(number) / name) == sha256(folder / "whole" / name), (story, name)
        told.append(lives)
    return told


def life(log: Path) -> Life:
    """Return what a log tells."""
    said = log.read_text()
    resumed, steps = (re.search(words, said) for words in (r"resumed at step (\d+)", r"tokens in (\d+) steps"))
    return Life(int(resumed[1]) if resumed else 0, int(steps[1]) if steps else None, said)


# What befalls the lives before the last, and the steps that each life after the first must resume at.
KILLS: list[tuple[list[dict[str, int]], list[int]]] = [
    ([{"on_train_batch_end": 3}], [0]),  # before anything was saved
    ([{"on_train_batch_end": 15}], [6]),  # amid step 8
    ([{"on_train_batch_end": 24}], [9]),  # after step 12, before its validation
    ([{"on_validation_batch_end": 9}], [9]),  # amid it
    ([{"on_validation_end": 3}], [9]),  # after it, before it is saved
    ([{"on_train_batch_end": 25}], [12]),  # after that
    ([{"fsync": 5}], [6]),  # while step 9 is written
    ([{"fsync": 6}], [9]),  # when it has its name
    ([{"on_train_batch_end": 20}, {"on_train_batch_end": 5}, {"fsync": 1}, {"on_validation_end": 1}], [9, 9, 9, 9]),
    ([{"on_train_batch_end": 36}], [15]),  # after the last step
    ([{"on_validation_end": 5}], [15]),  # and its validation
]
HOW = {
    "unpacked": (KILLS, {}),
    "packed": ([KILLS[8]], PACKED),
    "fused": (KILLS[5:7], {**PACKED, "kernels": "fused", "dropout": 0.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tiny: Chain, tmp_path: Path, how: str) -> None:
    kills, changes = HOW[how]
    told = live(tiny, tmp_path, *[[*befalls, {}] for befalls, _ in kills], **changes)
    for number, (lives, (befalls, resumed)) in enumerate(zip(told, kills, strict=True)):
        assert [one.resumed for one in lives] == [0, *resumed], befalls
        assert lives[-1].steps == SHORT["max_steps"] - resumed[-1], "it computed what it had"
        assert [path.name for path in (tmp_path / str(number) / "kept").iterdir()] == [NAME]


@pytest.mark.slow
def test_early_stopping_goes_on_as_if_nothing_had_been(tiny: Chain, tmp_path: Path) -> None:
    """Its patience used up in part, and the best weights those of an earlier life."""
    changes = {"learning_rate": 3.0, "validation_interval": 1, "patience": 3, "max_steps": 30, "checkpoint_interval": 1}
    [[_, last]] = live(tiny, tmp_path, [{"on_validation_end": 9}, {}], **changes)
    losses = [row["validation_loss"] for row in read_jsonl(tmp_path / "whole/metrics.jsonl") if len(row) == 2]
    best = losses.index(min(losses)) + 1
    assert last.resumed == 8 and best < last.resumed < len(losses) == best + changes["patience"] < 30


@pytest.mark.slow
def test_nodes_resume_at_one_step(tiny: Chain, tmp_path: Path) -> None:
    """The first writes for both: the other's dropout is not its own."""
    told = live(tiny, tmp_path, [{"on_train_batch_end": 8}, {"on_train_batch_end": 4}, {}], nodes=2)
    assert [one.resumed for one in told[0]] == [0, 6, 9]
    assert told[0][-1].steps == 9
    assert "resumed at step 9" in (tmp_path / "0/2.log.1").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_damage_is_seen_and_it_begins_anew(tiny: Chain, tmp_path: Path, packed: bool) -> None:
    killed = {"on_train_batch_end": 15}
    damage = [{"flipped": 3}, {"flipped": 5000}] if packed else [{"cut": 1}, {"cut": 20000}]
    for _, last in live(tiny, tmp_path, *[[killed, what] for what in damage], **(PACKED if packed else {})):
        assert last.resumed == 0 and last.steps == SHORT["max_steps"]
        assert last.said.count("not resumed, it begins anew") == 1 and "/state: damaged" in last.said


@pytest.mark.slow
@pytest.mark.skipif(not bubblewrap.works(), reason="needs bubblewrap: apt-get install bubblewrap")
def test_a_full_disk_loses_nothing(tiny: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full from step 4 on: the run goes on and says so once; one that is killed resumes at what was saved before."""
    kept = [tmp_path / str(number) / "kept" for number in range(2)]
    disks = [word for folder in kept for word in ("--size", str(2**21), "--tmpfs", str(folder))]
    monkeypatch.setattr("tiny_chain.WITHIN", ["bwrap", "--dev-bind", "/", "/", *disks])
    (ends,), (_, resumes) = live(tiny, tmp_path, [{"full": 8}], [{"full": 8, "on_train_batch_end": 20}, {}])
    assert ends.said.count("No space left on device: free some space") == 1
    assert ends.steps == SHORT["max_steps"] and resumes.resumed == 3
