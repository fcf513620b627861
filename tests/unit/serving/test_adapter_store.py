"""AdapterStore: what is staged, changed, removed is told once, as it was checked; each bad one is refused by name."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapter_samples import MODEL, adapter_config, adapter_tensors, tensor_name, write_adapter, write_base
from attestation_samples import statement
from silent_mount import silent

from adapter_build.core.digests import file_digest
from adapter_build.hermetic.envelope import seal
from adapter_build.lineage.results_folder import BUNDLE
from adapter_build.serving.adapter_store import AdapterStore, Change

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    """A store that holds the sound adapter `law`, already taken."""
    write_base(tmp_path / "base")
    write_adapter(tmp_path / "loras" / "law")
    (tmp_path / "copies").mkdir()
    config = tmp_path / "base" / "config.json"
    store = AdapterStore(tmp_path / "loras", tmp_path / "copies", "tiny", MODEL, config, max_rank=8)
    [change] = store.look(settled=False)
    assert change.name == "law" and same(change.copy, tmp_path / "loras" / "law")
    return store


def same(copy: Path | None, folder: Path) -> bool:
    """Tell if a copy has the files that a server reads, as they are."""
    assert copy
    names = sorted(path.name for path in copy.iterdir())
    assert names == ["adapter_config.json", WEIGHTS]
    return all((copy / name).read_bytes() == (folder / name).read_bytes() for name in names)


def looks(store: AdapterStore, times: int = 2) -> list[Change]:
    """Return what so many looks tell."""
    return [change for _ in range(times) for change in store.look()]


def test_what_is_staged_is_told_at_the_second_look(tmp_path: Path, store: AdapterStore) -> None:
    write_adapter(tmp_path / "loras" / "tax", tensors=adapter_tensors(seed=2))
    assert looks(store, 1) == []
    [change] = looks(store, 1)
    assert (change.name, change.refused) == ("tax", "") and same(change.copy, tmp_path / "loras" / "tax")
    assert looks(store, 3) == []


def test_a_change_is_told_and_the_copy_stays(tmp_path: Path, store: AdapterStore) -> None:
    folder = tmp_path / "loras" / "law"
    write_adapter(folder, tensors=adapter_tensors(seed=2))
    [change] = looks(store)
    assert same(change.copy, folder) and change.copy
    before = (change.copy / WEIGHTS).read_bytes()
    write_adapter(folder, tensors=adapter_tensors(seed=3))
    assert (change.copy / WEIGHTS).read_bytes() == before
    assert [again.name for again in looks(store)] == ["law"]


def test_the_same_bytes_are_no_change(tmp_path: Path, store: AdapterStore) -> None:
    write_adapter(tmp_path / "loras" / "law")
    os.utime(tmp_path / "loras" / "law" / WEIGHTS, (1, 1))
    (tmp_path / "loras" / "law" / "README.md").write_text("other words")
    assert looks(store, 4) == []
    assert len(list((tmp_path / "copies").iterdir())) == 1


def test_what_goes_is_told(tmp_path: Path, store: AdapterStore) -> None:
    shutil.rmtree(tmp_path / "loras" / "law")
    assert looks(store, 1) == []
    assert looks(store, 3) == [Change("law")]
    write_adapter(tmp_path / "loras" / "law")
    assert [change.name for change in looks(store)] == ["law"]
    shutil.rmtree(tmp_path / "loras")
    assert looks(store) == [Change("law")]


def test_what_is_still_being_written_is_not_read(tmp_path: Path, store: AdapterStore) -> None:
    """It grows from look to look; one put in another's place is gone for a look; hidden folders are their writer's."""
    write_adapter(tmp_path / "loras" / ".law.part", tensors=adapter_tensors(seed=2))
    whole = (tmp_path / "loras" / ".law.part" / WEIGHTS).read_bytes()
    new = tmp_path / "loras" / "new"
    new.mkdir()
    for end in range(0, len(whole), len(whole) // 5):
        (new / WEIGHTS).write_bytes(whole[:end])
        assert looks(store, 1) == []
    shutil.rmtree(new)
    shutil.rmtree(tmp_path / "loras" / "law")
    assert looks(store, 1) == []
    (tmp_path / "loras" / ".law.part").rename(tmp_path / "loras" / "law")
    [change] = looks(store)
    assert same(change.copy, tmp_path / "loras" / "law")


def spoiled(folder: Path, fault: str) -> None:
    """Spoil a sound adapter."""
    weights = folder / WEIGHTS
    whole = weights.read_bytes()
    poison, halves = adapter_tensors(), adapter_tensors()
    poison[tensor_name(0, "k_proj", "B")][3, 1] = np.nan
    del halves[tensor_name(1, "q_proj", "A")]
    configs: dict[str, dict[str, Any]] = {
        "rank": {"r": 16}, "DoRA": {"use_dora": True}, "modules": {"modules_to_save": ["lm_head"]},
        "base": {"base_model_name_or_path": "example/other"}, "target": {"target_modules": ["q_proj", "lm_head"]},
    }  # fmt: skip
    tensors = {
        "NaN": poison, "pairs": halves, "zero": adapter_tensors(scale=0.0), "shape": adapter_tensors(rank=2),
    }  # fmt: skip
    if fault in configs:
        write_adapter(folder, adapter_config(**configs[fault]))
    elif fault in tensors:
        write_adapter(folder, tensors=tensors[fault])
    elif fault == "truncated":
        weights.write_bytes(whole[: len(whole) // 2])
    elif fault == "flipped":  # the highest bit of an exponent
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 0x40]))
    elif fault == "missing":
        weights.unlink()
    elif fault == "pickle":
        weights.rename(folder / "adapter_model.bin")
    elif fault == "pickle beside":
        (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    elif fault == "pipe":
        weights.unlink()
        os.mkfifo(weights)
    elif fault == "circle":
        weights.unlink()
        weights.symlink_to(weights.name)
    else:
        outside = folder.parents[1] / "outside"
        moved, link = (weights, weights) if fault == "link" else (folder, folder)
        moved.rename(outside)
        link.symlink_to(outside)


FAULTS = {
    "NaN": ["holds NaN"], "truncated": ["not a whole safetensors file"],
    "flipped": ["v_proj.lora_B.weight holds NaN or Inf"],
    "pairs": ["1 of 16 tensors are missing"], "zero": ["product of lora_A and lora_B is zero"],
    "shape": ["has shape", "adapters.bad.rank"], "rank": ["r is 16, above the server's 8", "deploy.max_rank"],
    "DoRA": ["use_dora"], "modules": ["modules_to_save"], "base": ["'example/other'", MODEL],
    "target": ["'lm_head'"], "missing": [WEIGHTS, "No such file"],
    "pickle": ["adapter_model.bin", "a pickle runs code"],
    "pickle beside": ["adapter_model.bin", "a pickle runs code"], "pipe": ["is a FIFO, not a regular file"],
    "circle": [WEIGHTS, "ymlink loop"], "link": ["a link out of the model store"],
    "linked folder": ["a link out of the model store"],
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_one_is_refused_once(tmp_path: Path, store: AdapterStore, fault: str) -> None:
    folder = tmp_path / "loras" / "bad"
    write_adapter(folder)
    spoiled(folder, fault)
    [change] = looks(store, 4)
    assert change.name == "bad" and change.copy is None and "still is" not in change.refused
    for part in (*FAULTS[fault], str(folder)):
        assert part in change.refused
    assert str(tmp_path / "copies") not in change.refused
    assert len(list((tmp_path / "copies").iterdir())) == 1
    # Mended, it is told; and the one that was there first was never touched.
    folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
    write_adapter(folder)
    [change] = looks(store)
    assert change.name == "bad" and same(change.copy, folder)


def test_a_change_for_the_worse_is_refused_and_the_former_stays(tmp_path: Path, store: AdapterStore) -> None:
    folder = tmp_path / "loras" / "law"
    spoiled(folder, "NaN")
    [change] = looks(store, 4)
    assert (change.name, change.copy) == ("law", None) and "what was served under this name still is" in change.refused
    write_adapter(folder)
    assert looks(store) == []
    shutil.rmtree(folder)
    assert looks(store) == [Change("law")]


def test_a_link_within_the_store_is_followed(tmp_path: Path, store: AdapterStore) -> None:
    (tmp_path / "loras" / "latest").symlink_to("law")
    [change] = looks(store)
    assert change.name == "latest" and same(change.copy, tmp_path / "loras" / "law")


@pytest.mark.parametrize("name", ["tiny", "a b", "ü", "x" * 65, "a\nb"])
def test_a_name_that_no_server_takes_is_refused(tmp_path: Path, store: AdapterStore, name: str) -> None:
    write_adapter(tmp_path / "loras" / name)
    [change] = looks(store, 4)
    assert change.name == name and f"adapters.{name}" in change.refused


def attest(folder: Path, made: dict[str, str]) -> None:
    """Put an attestation beside an adapter, of a step that made these files (path → sha256)."""
    document = statement("stage_adapter/law", made)
    (folder / BUNDLE).write_text(json.dumps(seal(document, None)) + "\n")


def test_other_bytes_than_were_staged_are_refused(tmp_path: Path, store: AdapterStore) -> None:
    """One bit of a mantissa is sound by every other check; the attestation that travels with the adapter names it."""
    for name, flip in (("whole", 0), ("flipped", 1)):
        folder = tmp_path / "loras" / name
        files = write_adapter(folder, tensors=adapter_tensors(seed=4))
        attest(folder, {f"results/loras/law/{file.name}": file_digest(file) for file in files})
        whole = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(whole[:-4] + bytes([whole[-4] ^ flip]) + whole[-3:])
    refused, taken = looks(store)
    assert refused.name == "flipped" and f"{tmp_path / 'loras/flipped' / WEIGHTS}: not the bytes" in refused.refused
    assert taken.name == "whole" and same(taken.copy, tmp_path / "loras" / "whole")
    (tmp_path / "loras" / "flipped" / BUNDLE).write_text("{}\n")
    [unread] = looks(store)
    assert f"{BUNDLE}: cannot be read" in unread.refused


def test_one_on_a_silent_file_system_holds_up_nobody(
    tmp_path: Path, store: AdapterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once, and left out until it answers; the others come and go."""
    monkeypatch.setattr("adapter_build.serving.adapter_store.PATIENCE", 1.0)
    dead = tmp_path / "loras" / "dead"
    dead.mkdir()
    with silent(dead):
        write_adapter(tmp_path / "loras" / "tax", tensors=adapter_tensors(seed=2))
        start = time.monotonic()
        [change] = looks(store, 1)
        assert change.name == "dead" and "left out until its file system answers" in change.refused
        [change] = looks(store, 1)
        assert change.name == "tax" and change.copy
        assert looks(store, 5) == []
        assert time.monotonic() - start < 10
    write_adapter(dead, tensors=adapter_tensors(seed=3))
    deadline = time.monotonic() + 20
    while not (found := looks(store, 2)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [change.name for change in found] == ["dead"] and found[0].copy


def test_a_silent_store_is_said_once_and_nothing_goes(
    tmp_path: Path, store: AdapterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapter_build.serving.adapter_store.PATIENCE", 0.5)
    with silent(tmp_path / "loras"):
        [change] = looks(store, 3)
        assert "the model store cannot be read: no answer in 0.5 s; what was served still is" in change.refused
    assert looks(store, 4) == []


def test_a_fifo_beside_sound_ones_is_said_once(tmp_path: Path, store: AdapterStore) -> None:
    """In the place of a file, of a bundle, of an adapter's folder, or of an adapter that is served."""
    for name, file in (("a", WEIGHTS), ("b", BUNDLE), ("c", "adapter_config.json"), ("law", BUNDLE)):
        write_adapter(tmp_path / "loras" / name, tensors=adapter_tensors(seed=5 if name == "law" else 4))
        (tmp_path / "loras" / name / file).unlink(missing_ok=True)
        os.mkfifo(tmp_path / "loras" / name / file)
    os.mkfifo(tmp_path / "loras" / "d")
    write_adapter(tmp_path / "loras" / "tax", tensors=adapter_tensors(seed=2))
    found = {change.name: change for change in looks(store)}
    assert sorted(found) == ["a", "b", "c", "law", "tax"] and found["tax"].copy
    assert all("is a FIFO, not a regular file" in found[name].refused for name in ("a", "b", "c", "law"))
    assert found["law"].refused.endswith("what was served under this name still is")
    assert looks(store, 4) == []
