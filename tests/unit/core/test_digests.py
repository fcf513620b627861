"""Digests of files and of sets of files are those that other programs compute."""

import subprocess

from adapter_build.core.digests import file_digest, set_digest


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_digest(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_set_digest_is_what_the_shell_computes(tmp_path):
    for name in ("xyz", "abc"):
        (tmp_path / name).write_text(f"data for {name}")
    # dirhash.Hash1 of Go's module system, as its documentation gives it for the shell.
    command = "sha256sum abc xyz | openssl dgst -sha256 -binary | openssl base64"
    expected = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert set_digest({name: tmp_path / name for name in ("xyz", "abc")}) == f"h1:{expected.strip()}"


def test_set_digest_knows_name_and_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = set_digest({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert first == set_digest({"b": tmp_path / "b", "a": tmp_path / "a"})
    assert first != set_digest({"b": tmp_path / "a", "a": tmp_path / "b"})
    (tmp_path / "b").write_text("c")
    assert first != set_digest({"a": tmp_path / "a", "b": tmp_path / "b"})
