"""The store, the shared store and the digest cache, each against the bytes on disk."""

import hashlib
import http.server
import json
import os
import time

import pytest
from attestation_samples import statement
from loopback_server import Quiet, serving

from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic import input_digests
from adapter_build.hermetic.envelope import seal
from adapter_build.hermetic.hashed_copy import copy_file
from adapter_build.hermetic.input_digests import cached_digest
from adapter_build.hermetic.shared_store import SharedStore
from adapter_build.hermetic.store import Damaged, Hit, Store
from adapter_build.hermetic.store_sweep import unreachable

KEY = "cd" + "0" * 62
ENVELOPE = seal(statement("copy", "results/copy"), None)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(9_000_000))  # more than two chunks
    return path


def test_a_copy_is_hashed_as_it_is_made(file, tmp_path):
    assert copy_file(file, tmp_path / "copy") == sha256(file.read_bytes())
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    (tmp_path / "empty").touch()
    assert copy_file(tmp_path / "empty", tmp_path / "copy") == sha256(b"")


def test_what_is_put_in_comes_out(file, tmp_path):
    store, digest = Store(tmp_path / "store"), sha256(file.read_bytes())
    store.put(file, digest)
    store.record(KEY, Hit({"copy": [digest]}, ENVELOPE))
    assert store.find(KEY) == Hit({"copy": [digest]}, ENVELOPE)
    assert store.get(digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == file.read_bytes()
    assert os.access(tmp_path / "out", os.W_OK)
    assert store.find("ab" + "0" * 62) is None and not store.get("0" * 64, tmp_path / "none")
    assert not (tmp_path / "none").exists() and not list((tmp_path / "store").rglob(".part-*"))


def test_a_file_that_is_not_what_it_is_said_to_be_is_refused(file, tmp_path):
    store = Store(tmp_path / "store")
    with pytest.raises(Damaged):
        store.put(file, "0" * 64)
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_a_broken_record_is_no_hit(tmp_path):
    store = Store(tmp_path / "store")
    path = tmp_path / "store/actions/cd" / f"{KEY}.json"
    path.parent.mkdir(parents=True)
    for text in ("", "{", "[]", '{"outputs": {}}'):
        path.write_text(text)
        with pytest.raises(Malformed):
            store.find(KEY)


def filled(folder, content=b"shared"):
    """Return a shared folder that another machine has filled with one action, and its object's digest."""
    (folder / "one").mkdir(parents=True)
    (folder / "one/source").write_bytes(content)
    writer, digest = Store(folder / "one/store", SharedStore(str(folder / "shared"))), sha256(content)
    writer.put(folder / "one/source", digest)
    writer.record(KEY, Hit({"copy": [digest]}, ENVELOPE))
    return folder / "shared", digest


def test_a_shared_store_fills_another_machine(tmp_path):
    shared, digest = filled(tmp_path)
    assert not list(shared.rglob("*.part-*"))
    store = Store(tmp_path / "two", SharedStore(f"file://{shared}"))
    assert store.find(KEY) == Hit({"copy": [digest]}, ENVELOPE)
    assert store.get(digest, tmp_path / "out") and (tmp_path / "out").read_bytes() == b"shared"


def test_a_shared_store_may_be_read_only_http(tmp_path, capfd):
    shared, digest = filled(tmp_path)

    class Handler(Quiet, http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(shared))

    with serving(Handler) as server:
        store = Store(tmp_path / "two", SharedStore(f"http://127.0.0.1:{server.server_port}"))
        assert store.find(KEY) and store.get(digest, tmp_path / "out")
        (tmp_path / "new").write_bytes(b"new")
        store.put(tmp_path / "new", sha256(b"new"))
        store.put(tmp_path / "new", sha256(b"new"))
        assert store.get(sha256(b"new"), tmp_path / "out")
    assert capfd.readouterr().err.count("cannot be written") == 1


def test_a_shared_store_that_does_not_answer_is_an_empty_one(tmp_path, capfd):
    store = Store(tmp_path / "two", SharedStore("http://127.0.0.1:9"))
    assert store.find(KEY) is None
    assert "cannot be read" in capfd.readouterr().err


@pytest.mark.parametrize("spoil", [lambda content: content[:-1], lambda content: b"poison", lambda content: b""])
def test_a_spoilt_shared_object_is_refused(tmp_path, capfd, spoil):
    shared, digest = filled(tmp_path)
    path = shared / f"objects/{digest[:2]}/{digest}"
    path.chmod(0o644)
    path.write_bytes(spoil(b"shared"))
    store = Store(tmp_path / "two", SharedStore(str(shared)))
    assert not store.get(digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "was not what its name says" in capfd.readouterr().out
    assert not [found for found in (tmp_path / "two").rglob("*") if found.is_file()]


def test_an_unknown_url_is_refused():
    with pytest.raises(BadInput, match=r"store\.url: ftpx://a"):
        SharedStore("ftpx://a/b")
    with pytest.raises(BadInput, match=r"adlfs .*containers/workflow/requirements\.in.*make lock"):
        SharedStore("abfs://a/b")


@pytest.mark.parametrize("url", ["s3://bucket/store", "gs://bucket/store", "https://store.example/a", "folder"])
def test_what_the_readme_names_needs_no_package_more(url, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")  # or gcsfs would look for credentials, on the net
    assert SharedStore(url).url == url


@pytest.fixture
def reads(monkeypatch):
    """The files that were really hashed."""
    seen = []
    real = input_digests.file_digest
    monkeypatch.setattr(input_digests, "file_digest", lambda path: (seen.append(path), real(path))[1])
    return seen


def settle(path, seconds=60.0):
    past = time.time() - seconds
    os.utime(path, (past, past))


def test_a_file_that_is_as_it_was_is_read_once(file, tmp_path, reads):
    settle(file)
    for _ in range(3):
        assert cached_digest(file, tmp_path / "cache") == sha256(file.read_bytes())
    assert len(reads) == 1


@pytest.mark.parametrize("change", ["touched", "rewritten", "replaced", "grown"])
def test_a_file_that_is_not_as_it_was_is_read_again(file, tmp_path, reads, change):
    settle(file)
    cached_digest(file, tmp_path / "cache")
    content = file.read_bytes()
    kept = file.stat()
    if change == "touched":
        settle(file, 30)
    elif change == "rewritten":
        file.write_bytes(content[::-1])
    elif change == "replaced":
        (tmp_path / "new").write_bytes(content[::-1])
        os.utime(tmp_path / "new", ns=(kept.st_atime_ns, kept.st_mtime_ns))
        (tmp_path / "new").replace(file)
    else:
        file.write_bytes(content + b"x")
        os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert cached_digest(file, tmp_path / "cache") == sha256(file.read_bytes())
    assert len(reads) == 2


def test_a_paranoid_reader_reads(file, tmp_path, reads, monkeypatch):
    settle(file)
    monkeypatch.setenv("STEP_PARANOID", "1")
    for _ in range(2):
        cached_digest(file, tmp_path / "cache")
    assert len(reads) == 2


def test_a_file_just_written_is_not_believed_yet(file, tmp_path, reads):
    """A clock that ticks slowly would show the same time after another write."""
    for _ in range(2):
        cached_digest(file, tmp_path / "cache")
    assert len(reads) == 2


def test_what_is_collected_is_in_the_store_itself(file, tmp_path):
    """Neither a link nor a record leads the sweep elsewhere, and what cannot be read needs nothing."""
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    kept, digest = Store(store), sha256(file.read_bytes())
    kept.put(file, digest)
    kept.record(KEY, Hit({"copy": [digest]}, ENVELOPE))
    assert list(unreachable(store, {KEY})) == []
    links = [store / "objects/ab", store / "actions/ab", store / "objects/cd/link"]
    for link in links:
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(elsewhere)
    (store / "objects/ef").mkdir()
    (store / "objects/ef/FILE").touch()
    assert sorted(unreachable(store, {KEY})) == sorted([*links, store / "objects/ef/FILE"])
    record = store / "actions/cd" / f"{KEY}.json"
    record.write_text(json.dumps({"version": 2, "outputs": {"copy": ["../../elsewhere/precious"]}}))
    found = list(unreachable(store, {KEY}))
    assert record in found and elsewhere / "precious" not in found and all(store in path.parents for path in found)
