"""pin_datasets: fetches an entry once, says what changed, and leaves the rest of the lock as it was."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from loopback_hub import COMMIT, FILE, REPO, hub

from adapter_build.core.yaml_edit import with_values

RECORD = {
    "question_id": 7,
    "tags": None,
    "score": 1,
    "license": None,
    "link": None,
    "question_title": "Title",
    "question_body": "<p>Body</p>",
    "answers": [],
}
CONTENT = json.dumps([RECORD, RECORD | {"question_id": 8}]).encode()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LOCK = f"""# What is fetched.

bases:
  some-base: {{model: a/b, sha256: null}}  # not ours to touch

datasets:
  law:  # the questions
    repo: {REPO}
    revision: main
    file: {FILE}
    sha256: null   # make pin
    bytes:
    licence: unknown  # of the posts
    checked: false

  done: {{repo: {REPO}, revision: {COMMIT}, file: {FILE}, sha256: {"1" * 64}, records: 2}}
"""


def pin(served, folder: Path, *options: str):
    return served.run(
        "-m", "adapter_build.cli.pin_datasets", "--lock", folder / "data.lock.yaml", *options, TMPDIR=str(folder)
    )


def test_an_unpinned_entry_is_fetched_and_written_in_its_place(tmp_path):
    lock = tmp_path / "data.lock.yaml"
    lock.write_text(LOCK)
    with hub(CONTENT) as served:
        result = pin(served, tmp_path)
        assert result.returncode == 0, result.stderr
        requests = len(served.requests)
        again = pin(served, tmp_path)
        assert len(served.requests) == requests, "a pinned entry was fetched again"
    expected = (
        LOCK.replace("revision: main", f"records: 2\n    revision: {COMMIT}")
        .replace("sha256: null   #", f"sha256: {SHA256}   #")
        .replace("bytes:\n", f"bytes: {len(CONTENT)}\n")
        .replace("licence: unknown", "licence: cc-by-sa-4.0")
        .replace("checked: false", "checked: true")
    )
    # A key that the entry lacked is put before its first one.
    expected = expected.replace("records: 2\n    revision", "revision").replace("repo:", "records: 2\n    repo:", 1)
    assert lock.read_text() == expected
    for line in (
        f"revision: main → {COMMIT}",
        f"sha256: null → {SHA256}",
        "records: null → 2",
        "checked: false → true",
    ):
        assert line in result.stdout
    assert "every dataset is pinned" in again.stdout
    assert list(tmp_path.iterdir()) == [lock]


def test_a_named_entry_is_pinned_again(tmp_path):
    """The twin: an entry with a sha256 is fetched only when it is named, and then shows what changed."""
    lock = tmp_path / "data.lock.yaml"
    lock.write_text(LOCK)
    with hub(CONTENT) as served:
        result = pin(served, tmp_path, "--dataset", "done")
    assert result.returncode == 0, result.stderr
    assert f"sha256: {'1' * 64} → {SHA256}" in result.stdout or f'sha256: "{"1" * 64}" → {SHA256}' in result.stdout
    pinned = yaml.safe_load(lock.read_text())["datasets"]
    assert pinned["done"]["sha256"] == SHA256
    assert pinned["done"]["bytes"] == len(CONTENT)
    assert pinned["law"]["sha256"] is None


def test_the_pinned_lock_feeds_acquire_raw(tmp_path):
    (tmp_path / "data.lock.yaml").write_text(LOCK)

    def options():
        entry = yaml.safe_load((tmp_path / "data.lock.yaml").read_text())["datasets"]["law"]
        return ("--kind", "huggingface", "--dataset", "law", "--entry", json.dumps(entry))

    out = tmp_path / "records.jsonl"
    with hub(CONTENT) as served:
        refused = served.run("scripts/acquire_raw.py", *options(), "--records", out)
        assert refused.returncode == 2
        assert "make pin" in refused.stderr
        assert pin(served, tmp_path).returncode == 0
        result = served.run("scripts/acquire_raw.py", *options(), "--records", out)
    assert result.returncode == 0, result.stderr
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "change", "options", "words"),
    [
        (CONTENT, (REPO, "someone/None"), [], ["dataset law", "cannot be fetched"]),
        (CONTENT, (FILE, "none.json"), [], ["dataset law", "none.json", "cannot be fetched"]),
        (b"[{}]", ("", ""), [], ["position 0", "has no field"]),
        (CONTENT, ("", ""), ["--dataset", "lore"], ["no dataset lore", "law, done"]),
        (CONTENT, ("datasets:", "datasets: ["), [], ["data.lock.yaml", "not YAML"]),
    ],
)
def test_what_cannot_be_pinned_leaves_the_lock_alone(tmp_path, content, change, options, words):
    lock = tmp_path / "data.lock.yaml"
    text = LOCK.replace(*change) if change[0] else LOCK
    lock.write_text(text)
    with hub(content) as served:
        result = pin(served, tmp_path, *options)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert lock.read_text() == text


@pytest.mark.parametrize(
    "value", ["plain", "1e5", "0123", "a, b", "x # y", "yes", "null", "a: b", "{", "“ü”", True, 7, None]
)
@pytest.mark.parametrize(
    "text",
    [
        "datasets:\n  law:\n    licence: old  # why\n    repo: a\n",
        "datasets: {law: {repo: a, licence: 'old'}}\n",
        "datasets:\n  law:\n    licence:\n    repo: a\n",
        "datasets:\n  law:\n    repo: a\n",
        "datasets: {law: {repo: a}}",
    ],
)
def test_every_value_reads_back_as_it_was_written(text, value):
    written = with_values(text, ["datasets", "law"], {"licence": value})
    assert yaml.safe_load(written) == {"datasets": {"law": {"repo": "a", "licence": value}}}
    assert ("# why" in written) == ("# why" in text)


def test_the_projects_own_lock_can_be_read():
    from adapter_build.records.data_lock import read_datasets

    dataset = read_datasets(Path(__file__).parents[3] / "data.lock.yaml")["law-stackexchange"]
    assert dataset.repo == "ymoslem/Law-StackExchange"
    assert len(dataset.revision or "") == 40
    assert dataset.checked == (dataset.sha256 is not None)
