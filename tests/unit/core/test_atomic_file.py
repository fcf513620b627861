"""A file is there as it was or as it was written, never half of it, and no temporary one stays."""

from pathlib import Path

import pytest

from adapter_build.core.atomic_file import PART, copy_atomically, replacing, write_atomically
from adapter_build.core.faults import BadInput


def test_writers_of_one_pid_on_two_machines_do_not_mix(tmp_path, monkeypatch):
    """Each writer has a temporary name of its own until it renames."""
    names = set()
    monkeypatch.setattr(Path, "replace", lambda part, _: names.add(part.name))
    for text in ("one", "two"):
        write_atomically(tmp_path / "entry.json", text)
    assert len(names) == 2


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "entry.json").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "entry.json", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["entry.json"]


def test_a_file_is_replaced_when_the_writer_is_done(tmp_path):
    path = tmp_path / "entry.json"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old" and part.name.startswith(PART) and part.parent == tmp_path
    assert path.read_text() == "new" and [*tmp_path.iterdir()] == [path]


def test_after_an_error_the_file_is_as_it_was(tmp_path):
    path = tmp_path / "entry.json"
    path.write_text("old")
    with pytest.raises(ValueError), replacing(path) as part:
        part.write_text("half")
        raise ValueError
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("missing", [False, True])
def test_copies_appear_together_or_not_at_all(tmp_path, missing):
    (tmp_path / "a").write_text("1")
    if not missing:
        (tmp_path / "b").write_text("2")
    (tmp_path / "to").mkdir()
    pairs = {tmp_path / name: tmp_path / "to" / name for name in ("a", "b")}
    if missing:
        with pytest.raises(BadInput, match=r"b: No such file or directory$"):
            copy_atomically(pairs)
    else:
        copy_atomically(pairs)
    found = {path.name: path.read_text() for path in (tmp_path / "to").iterdir()}
    assert found == ({} if missing else {"a": "1", "b": "2"})
