"""A foreign file is opened as a regular file or not at all, at once; every reader of such files opens it so."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from attestation_samples import statement
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.core.digests import file_digest, hash_files
from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl
from adapter_build.core.regular_file import open_regular, read_regular
from adapter_build.core.strict_json import given_object
from adapter_build.hermetic.envelope import read_statement, seal
from adapter_build.hermetic.hashed_copy import copy_file
from adapter_build.hermetic.input_digests import cached_digest
from adapter_build.hermetic.store import Hit, Store
from adapter_build.models.nemo_archive import read_member
from adapter_build.models.safetensors_file import read_header, read_tensor
from adapter_build.records.json_stream import read_values
from adapter_build.workflow.settings_file import read_settings


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path has 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], None]] = {
    "a FIFO": fifo,
    "a socket": bound_socket,
    "a directory": Path.mkdir,
    "a link": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    KINDS[kind](path)
    with pytest.raises(BadInput, match=rf"^{path}: is {kind}, not a regular file: put the file itself there$"):
        open_regular(path)


@pytest.mark.parametrize("links", [False, True])
def test_a_device_is_named(links: bool) -> None:
    with pytest.raises(BadInput, match=r"^/dev/zero: is a character device, not a regular file"):
        open_regular("/dev/zero", links=links)


def test_a_link_is_followed_where_it_may_be_to_a_regular_file_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    assert read_regular(tmp_path / "link", links=True) == b"text"
    with pytest.raises(BadInput, match="device: is a character device"):
        read_regular(tmp_path / "device", links=True)
    with pytest.raises(BadInput, match="circle: is a link"):
        read_regular(tmp_path / "circle", links=True)


def test_no_folder_on_the_way_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "store" / "a" / "b").mkdir(parents=True)
    (tmp_path / "store" / "a" / "b" / "file").write_text("text")
    (tmp_path / "store" / "link").symlink_to("a")
    (tmp_path / "entry").symlink_to("store")
    assert read_regular(tmp_path / "store/a/b/file", below=tmp_path / "store") == b"text"
    assert read_regular(tmp_path / "entry/a/b/file", below=tmp_path / "entry") == b"text"  # the folder that was named
    with pytest.raises(BadInput, match=r"link/b/file: \S+/store/link is a link, not a directory"):
        read_regular(tmp_path / "store/link/b/file", below=tmp_path / "store")
    with pytest.raises(BadInput, match="leads out of"):
        read_regular(tmp_path / "store/a/../../x", below=tmp_path / "store")
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "store/none/file", below=tmp_path / "store")


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with open(path, "wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(BadInput, match=r"sparse.json: has 3,221,225,472 bytes, more than the 134,217,728"):
        given_object(path, "export it again")


def _found(store: Store, folder: Path) -> None:
    key = "ab" * 32
    path = folder / "actions" / "ab" / f"{key}.json"
    path.parent.mkdir(parents=True)
    (folder / "x").rename(path)
    assert store.find(key) is None
    raise BadInput("not found")


def _got(store: Store, folder: Path) -> None:
    digest = "cd" * 32
    path = folder / "objects" / "cd" / digest
    path.parent.mkdir(parents=True)
    (folder / "x").rename(path)
    assert not store.get(digest, folder / "target") and not (folder / "target").exists()
    raise BadInput("not found")


READERS: dict[str, Callable[[Path], object]] = {
    "json_object": lambda path: given_object(path, "export it again"),
    "jsonl": lambda path: list(read_jsonl(path)),
    "json_stream": lambda path: list(read_values(path)),
    "settings": lambda path: read_settings(path, {}),
    "nemo": lambda path: read_member(path, "model_config.yaml"),
    "safetensors": read_header,
    "weights": lambda path: read_tensor(path, {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, 0),
    "digest": file_digest,
    "cached digest": lambda path: cached_digest(path, path.parent / "digests"),
    "copy": lambda path: copy_file(path, path.with_name("copy")),
    "statement": read_statement,
    "local store, record": lambda path: _found(Store(path.parent), path.parent),
    "local store, object": lambda path: _got(Store(path.parent), path.parent),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["a FIFO", "a socket"])
def test_no_reader_waits(tmp_path: Path, reader: str, kind: str) -> None:
    """Nobody ever writes into the FIFO."""
    KINDS[kind](tmp_path / "x")
    with pytest.raises(BadInput):
        READERS[reader](tmp_path / "x")


def test_many_files_are_hashed_but_the_fifo(tmp_path: Path) -> None:
    fifo(tmp_path / "x")
    (tmp_path / "y").write_text("y")
    found = hash_files([tmp_path / "x", tmp_path / "y"])
    assert found[tmp_path / "x"] is None and found[tmp_path / "y"] == file_digest(tmp_path / "y")


def test_a_file_that_becomes_a_fifo_and_back_is_never_waited_for(tmp_path: Path) -> None:
    """The kind is asked of what was opened: no moment between a look and the opening."""
    path, ended = tmp_path / "x", threading.Event()

    def swap() -> None:
        for number in range(10**6):
            other = tmp_path / f"other-{number % 2}"
            other.unlink(missing_ok=True)
            fifo(other) if number % 2 else other.write_text("text")
            other.replace(path)
            if ended.is_set():
                return

    path.write_text("text")
    swapping = threading.Thread(target=swap)
    swapping.start()
    refused = 0
    start = time.monotonic()
    try:
        for _ in range(2000):
            try:
                assert read_regular(path) in (b"text", b"")
            except BadInput as fault:
                assert "is a FIFO" in str(fault)
                refused += 1
    finally:
        ended.set()
        swapping.join()
    assert refused and time.monotonic() - start < 60


def test_a_linked_folder_of_the_store_is_neither_read_nor_written_through(tmp_path: Path) -> None:
    store, elsewhere = Store(tmp_path / "store"), tmp_path / "elsewhere"
    (tmp_path / "store" / "objects").mkdir(parents=True)
    elsewhere.mkdir()
    (tmp_path / "x").write_text("text")
    digest = file_digest(tmp_path / "x")
    (elsewhere / digest).write_text("text")
    (tmp_path / "store" / "objects" / digest[:2]).symlink_to(elsewhere)
    assert not store.get(digest, tmp_path / "target") and (elsewhere / digest).exists()
    (elsewhere / digest).unlink()
    with pytest.raises(OSError, match="is a link, not a directory"):
        store.put(tmp_path / "x", digest)
    assert not list(elsewhere.iterdir())
    (tmp_path / "store" / "objects" / digest[:2]).unlink()
    store.put(tmp_path / "x", digest)
    assert store.get(digest, tmp_path / "target") and (tmp_path / "target").read_text() == "text"
    envelope = seal(statement("x", "results/x"), None)
    store.record("ab" * 32, Hit({"out": [digest]}, envelope))
    assert store.find("ab" * 32) == Hit({"out": [digest]}, envelope)


def test_reading_needs_no_controlling_terminal_and_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    fifo(tmp_path / "y")
    names = [str(tmp_path / name) for name in ("x", "y", "none", "x/below")]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("count_descriptors.py"), *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 3


def test_numbers_are_read_as_before(tmp_path: Path) -> None:
    np.arange(4, dtype=np.float32).tofile(tmp_path / "x")
    entry = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
    assert read_tensor(tmp_path / "x", entry, 8).tolist() == [[2.0], [3.0]]


PARTS = {"folder": Path.mkdir, "file": Path.touch, "fifo": fifo, "link": lambda path: path.symlink_to("/etc")}


@settings(max_examples=150, derandomize=True, deadline=None)
@given(kinds=st.lists(st.sampled_from([*PARTS, "folder", "folder"]), min_size=1, max_size=5))
def test_what_is_opened_is_a_file_below_folders(kinds: list[str]) -> None:
    """Any path of folders, files, FIFOs and links: it is read if all on the way are folders, and it is a file."""
    with tempfile.TemporaryDirectory() as name:
        path = root = Path(name)
        for number, kind in enumerate(kinds):
            path = path / f"{number}"
            if path.parent.is_dir() and not path.parent.is_symlink():
                PARTS[kind](path)
        if kinds == ["folder"] * (len(kinds) - 1) + ["file"]:
            assert read_regular(path, below=root) == b""
        else:
            with pytest.raises((BadInput, NotADirectoryError, FileNotFoundError)):
                read_regular(path, below=root)
