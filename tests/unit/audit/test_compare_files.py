"""difference: two files that are the same have none, and each kind of difference is named down to its place."""

import json
import math
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from adapter_samples import adapter_tensors
from safetensors.numpy import save_file

from adapter_build.audit.compare_files import file_differences
from adapter_build.models.nemo_archive import write_archive
from adapter_build.records.ledger import write_ledger

ROWS = [{"id": str(number), "title": f"title {number}", "score": number / 7} for number in range(5)]
LEDGER = [{"record_id": row["id"], "position": n, "outcome": "kept", "measured": 0.5} for n, row in enumerate(ROWS)]
TENSOR = "base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight"


@pytest.fixture
def pair(tmp_path):
    """Two folders, for a file of one name in each."""
    folders = tmp_path / "here", tmp_path / "rebuilt"
    for folder in folders:
        folder.mkdir()
    return folders


def found(pair, name):
    """Return the differences of the two files, and check that neither differs from itself."""
    here, rebuilt = (folder / name for folder in pair)
    assert file_differences(here, here) == file_differences(rebuilt, rebuilt) == []
    return file_differences(here, rebuilt)


def lines(pair, name):
    return [f"{one.where}: {one.what}" for one in found(pair, name)]


def write(pair, name, here, rebuilt):
    for folder, content in zip(pair, (here, rebuilt), strict=True):
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def write_tensors(pair, change, name="weights.safetensors"):
    tensors = adapter_tensors()
    save_file(tensors, pair[0] / name)
    change(tensors)
    save_file(tensors, pair[1] / name)
    return tensors


def test_one_number_of_one_tensor(pair):
    def change(tensors):
        tensors[TENSOR][2, 5] += 0.25
        tensors[TENSOR][3, 0] -= 0.5

    changed = write_tensors(pair, change)
    (only,) = found(pair, "weights.safetensors")
    assert only.where == TENSOR
    assert only.what.startswith("2 of 256 numbers, by up to 0.5 (") and "first at [2, 5]: " in only.what
    assert only.size == pytest.approx(0.5 / np.abs(adapter_tensors()[TENSOR]).max())
    assert changed.keys() == adapter_tensors().keys()


def test_tensors_that_are_gone_new_or_of_another_kind(pair):
    def change(tensors):
        tensors["new"] = tensors.pop(TENSOR)
        other = TENSOR.replace("k_proj", "q_proj")
        tensors[other] = tensors[other].astype(np.float16)

    write_tensors(pair, change)
    assert lines(pair, "weights.safetensors") == [
        f"{TENSOR}: only here, not in what was rebuilt",
        f"{TENSOR.replace('k_proj', 'q_proj')}: F32 [4, 64] → F16 [4, 64]",
        "new: only in what was rebuilt",
    ]


def test_a_nan_is_no_small_difference(pair):
    def change(tensors):
        tensors[TENSOR][0, 1] = np.nan
        tensors[TENSOR][0, 2] += 1e-6

    write_tensors(pair, change)
    (only,) = found(pair, "weights.safetensors")
    assert math.isnan(only.size) and "2 of 256 numbers" in only.what


def test_bfloat16_is_read_as_numbers(pair):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    prefix = len(header).to_bytes(8, "little") + header
    write(pair, "w.safetensors", prefix + b"\x80\x3f\x00\x40", prefix + b"\x80\x3f\x80\x40")
    assert lines(pair, "w.safetensors") == [
        "w: 1 of 2 numbers, by up to 2 (1 of its largest number), first at [1]: 2 → 4"
    ]


def test_a_member_of_a_nemo_file_and_a_tensor_in_it(pair):
    def change(tensors):
        tensors[TENSOR][1, 1] += 1

    write_tensors(pair, change)
    for folder, rank in zip(pair, (4, 8), strict=True):
        settings = f"format: lora\nrank: {rank}\n".encode()
        members = {"a.safetensors": folder / "weights.safetensors", "model_config.yaml": settings, "same.txt": b"same"}
        write_archive(folder / "a.nemo", members)
    first, second = lines(pair, "a.nemo")
    assert first.startswith(f"a.safetensors: {TENSOR}: 1 of 256 numbers")
    assert second == "model_config.yaml: line 2: rank: 4\\n → rank: 8\\n"


def test_members_that_differ_in_what_is_said_of_them_alone(pair):
    for folder, time, names in zip(pair, (0, 9), (("a", "b"), ("b", "a")), strict=True):
        with tarfile.open(folder / "a.tar", "w:") as archive:
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.mtime = time if name == "a" else 0
                archive.addfile(entry)
    assert lines(pair, "a.tar") == ["a: time: 0 → 9", "order of members: number 1 is a → b"]


def test_a_member_of_a_checkpoint(pair):
    for folder, content in zip(pair, (b"\0\1", b"\0\2"), strict=True):
        with zipfile.ZipFile(folder / "w.ckpt", "w") as archive:
            for name, data in (("data/0", b"\0"), ("data/1", content)):
                archive.writestr(zipfile.ZipInfo(name), data)
    assert lines(pair, "w.ckpt") == ["data/1: byte 1: 0x01 → 0x02"]


def test_a_field_of_a_record(pair):
    changed = [{**row, "title": "x" * 100 + "z"} if row["id"] == "3" else row for row in ROWS]
    before = [{**row, "title": "x" * 100 + "y"} if row["id"] == "3" else row for row in ROWS]
    write(pair, "r.jsonl", *("".join(json.dumps(row) + "\n" for row in rows) for rows in (before, changed)))
    assert lines(pair, "r.jsonl") == [f"record 3, title: …{'x' * 30}y → …{'x' * 30}z"]


def test_records_that_are_gone_new_or_moved(pair):
    moved = [ROWS[1], ROWS[0], *ROWS[2:]]
    write(pair, "r.jsonl", *("".join(json.dumps(row) + "\n" for row in rows) for rows in (ROWS, moved)))
    assert lines(pair, "r.jsonl") == ["order of records: number 1 is record 0 → record 1"]
    rows = ROWS[:2], ROWS[1:3]
    write(pair, "r.jsonl", *("".join(json.dumps(row) + "\n" for row in some) for some in rows))
    assert lines(pair, "r.jsonl") == [
        "record 0: only here, not in what was rebuilt",
        "record 2: only in what was rebuilt",
    ]


def test_lines_without_an_id_are_numbered(pair):
    write(
        pair,
        "m.jsonl",
        '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n',
        '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n',
    )
    (only,) = found(pair, "m.jsonl")
    assert (only.where, only.what, only.size) == ("row 2, loss", "1.0 → 1.5", pytest.approx(1 / 3))


def test_a_value_of_a_json_document(pair):
    write(pair, "d.json", {"a": [{"b": 1, "c": "x"}], "z": True}, {"a": [{"b": 1, "c": "y"}, 7], "z": 1})
    assert lines(pair, "d.json") == ["a[0].c: x → y", "a[1]: only in what was rebuilt", "z: true → 1"]
    assert all(one.size == math.inf for one in found(pair, "d.json"))


def test_a_document_that_is_only_written_otherwise(pair):
    write(pair, "d.json", '{"a": 1}\n', '{"a":1}\n')
    assert lines(pair, "d.json") == ['line 1: {"a": 1}\\n → {"a":1}\\n']


def test_a_cell_of_a_parquet_table(pair):
    write_ledger(pair[0] / "l.parquet", LEDGER)
    write_ledger(pair[1] / "l.parquet", [{**row, "measured": 0.25} if row["position"] == 2 else row for row in LEDGER])
    (only,) = found(pair, "l.parquet")
    assert (only.where, only.what, only.size) == ("record 2, measured", "0.5 → 0.25", 0.5)


def test_a_parquet_table_with_a_column_of_another_type_or_other_settings(pair):
    for folder, kind in zip(pair, (pa.int32(), pa.int64()), strict=True):
        pq.write_table(pa.table({"a": pa.array([1], kind)}), folder / "t.parquet")
    assert lines(pair, "t.parquet") == ["a: int32 → int64"]
    for folder, compression in zip(pair, ("zstd", "snappy"), strict=True):
        pq.write_table(pa.table({"a": [1]}), folder / "t.parquet", compression=compression)
    assert lines(pair, "t.parquet")[0].startswith("byte ")


def test_text_and_bytes(pair):
    write(pair, "README.md", "one\ntwo\n", "one\nzwo\nthree\n")
    assert lines(pair, "README.md") == ["line 2: two\\n → zwo\\n"]
    write(pair, "README.md", "one\n", "one\nmore")
    assert lines(pair, "README.md") == ["line 2:  → more"]
    write(pair, "x.bin", b"\xff" * 3_000_000, b"\xff" * 2_000_000 + b"\x01" + b"\xff" * 999_999)
    assert lines(pair, "x.bin") == ["byte 2,000,000: 0xff → 0x01"]
    write(pair, "x.bin", b"\xff", b"")
    assert lines(pair, "x.bin") == ["byte 0: 0xff → the end, 1 → 0 bytes"]


@pytest.mark.parametrize("name", ["a.safetensors", "a.nemo", "a.ckpt", "a.jsonl", "a.json", "a.parquet", "a.tar"])
def test_what_is_not_what_its_name_says_is_compared_as_bytes(pair, name):
    write(pair, name, b"\xff\xff\xff\xff\0\0\0\0", b"\xff\xff\xff\xff\0\0\0\1")
    assert lines(pair, name) == ["byte 7: 0x00 → 0x01"]


def test_a_tensor_that_lies_beyond_the_file_is_no_tensor(pair):
    for folder, end in zip(pair, (8, 9), strict=True):
        header = json.dumps({"w": {"dtype": "F32", "shape": [end], "data_offsets": [0, 4 * end]}}).encode()
        (folder / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    assert len(lines(pair, "w.safetensors")) == 1
