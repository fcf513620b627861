"""audit diff: a build is changed in every kind of thing that it is made of, and each is told, and nothing else."""

import json
import shutil
import subprocess

import pytest
import yaml
from conftest import STORE, Checkout
from test_audit import audit

from adapter_build.core.jsonl import read_jsonl
from adapter_build.hermetic.envelope import read_statement, seal
from adapter_build.records.ledger import read_ledger

pytestmark = pytest.mark.slow
SECTIONS = ("data", "records", "parameters", "code", "images", "metrics", "files", "unexplained")
ADDED = 9001


def json_diff(checkout, before, after):
    return json.loads(audit(checkout, "diff", str(before), str(after), "--json"))


def git(folder, *arguments):
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Changed(Checkout):
    """A checkout that was changed: its shortest record, an edited one, one that is gone, its bound and its commit."""

    shortest: str
    edited: str
    gone: str
    bound: str
    commit: str


@pytest.fixture(scope="module")
def changed(built, tmp_path_factory):
    """A copy of the build, in git now, built again with another record of every kind, parameter, script and adapter."""
    made = Changed(tmp_path_factory.mktemp("changed") / "checkout")
    shutil.copytree(built.folder, made.folder, symlinks=True)
    kept = [row["id"] for row in read_jsonl(made.folder / "results/curated/law-qa-train.jsonl")]
    words = {row["id"]: len(row["question"].split()) for row in read_jsonl(
        made.folder / "results/curated/law-qa-train.jsonl")}  # fmt: skip
    made.shortest = min(kept, key=lambda record: (words[record], record))
    made.edited, made.gone = [record for record in sorted(kept) if record != made.shortest][:2]
    source = made.folder / "data/sample/law-questions.json"
    records = {str(record["question_id"]): record for record in json.loads(source.read_text())}
    records[made.edited]["question_body"] += "<p>In Derby.</p>"
    del records[made.gone]
    records["added"] = {**records[made.edited], "question_id": ADDED}
    source.write_text(json.dumps(list(records.values())))
    overlay = yaml.safe_load((made.folder / "tests/tiny/config.yaml").read_text())
    overlay["adapters"]["law-titlegen"]["learning_rate"] = 0.02
    other = {**overlay["adapters"]["law-titlegen"], "rank": 2, "prompt": "prompts/law-titlegen.jq"}
    overlay["adapters"]["other"] = other
    overlay["curate"] = {"min_words": words[made.shortest] + 1}
    made.bound = f"{words[made.shortest] + 1}..500"
    (made.folder / "tests/tiny/config.yaml").write_text(yaml.safe_dump(overlay))
    git(made.folder, "init", "--quiet")
    git(made.folder, "add", ".")
    git(made.folder, "commit", "--quiet", "-m", "A build")
    made.commit = git(made.folder, "rev-parse", "HEAD")
    with open(made.folder / "scripts/export_adapter.py", "a") as script:
        script.write("# as before\n")
    made.build(*STORE, "results/loras/other/adapter_model.safetensors", "results/evaluation/other.json")
    return made


def test_equal_builds_say_so(built, copy_of_built):
    """A build and its copy, and one whose results the store gave back, under attestations of their own."""
    where = f"{copy_of_built.folder}/results"
    assert "\nnothing changed: h1:" in audit(built, "diff", "results", where)
    (copy_of_built.folder / "results").rename(copy_of_built.folder / "old")
    copy_of_built.build(*STORE)
    found = json_diff(copy_of_built, "old", "results/loras/law-titlegen")
    assert not any(found[section] for section in SECTIONS)
    assert found["before"]["digest"] == found["after"]["digest"]


def test_records(built, changed):
    found = json_diff(changed, f"{built.folder}/results", "results/loras/law-titlegen")
    rows = {row.pop("record_id"): row for row in found["records"]}
    added = next(row for row in read_ledger(changed.folder / "results/curated/ledger.parquet")
                 if row["record_id"] == str(ADDED))  # fmt: skip
    role = {"val": "validation"}.get(added["split"], added["split"])
    assert rows == {
        changed.edited: {"change": "edited", "raw": "edited", "prompt": "edited", "before": "train", "after": "train"},
        changed.gone: {"change": "out", "raw": "out", "prompt": None, "before": "train", "after": None},
        str(ADDED): {"change": "in", "raw": "in", "prompt": None, "before": None, "after": role},
        changed.shortest: {
            "change": "out", "raw": None, "prompt": None, "before": "train",
            "after": "dropped from the split train by curate_split, filter word_count: question was "
            f"{int(changed.bound.partition('.')[0]) - 1}, {changed.bound} was asked for",
        },
    }  # fmt: skip
    assert found["data"][0]["name"] == "data/sample/law-questions.json"
    train = [len((side / "results/prompts/law-titlegen/train.jsonl").read_text().splitlines())
             for side in (built.folder, changed.folder)]  # fmt: skip
    counts = {entry["name"]: (entry["before"], entry["after"]) for entry in found["data"]}
    assert counts["records: train"] == tuple(train)


def test_parameters_code_and_metrics(built, changed):
    found = json_diff(changed, f"{built.folder}/results", "results/loras/law-titlegen")
    parameters = {entry["name"]: (entry["before"], entry["after"], entry["steps"]) for entry in found["parameters"]}
    splits = [f"curate_split/{split}" for split in ("test", "train", "val")]
    assert parameters == {
        "min-words": (["50"], [changed.bound.partition(".")[0]], splits),
        "learning-rate": (["0.01"], ["0.02"], ["tune_adapter/law-titlegen"]),
    }
    code = {entry["name"]: entry for entry in found["code"]}
    assert set(code) == {"scripts/export_adapter.py", "commit"}
    assert code["scripts/export_adapter.py"]["steps"] == ["export_adapter/law-titlegen"]
    assert code["commit"]["before"] is None
    assert code["commit"]["after"] == f"{changed.commit[:12]} and what was not committed"
    assert found["images"] == [] and found["unexplained"] == []
    loss = next(entry for entry in found["metrics"] if entry["name"] == "least validation loss")
    told = [json.loads(line) for line in (changed.folder / "results/checkpoints/law-titlegen.metrics.jsonl").open()]
    assert loss["after"] == min(row["validation_loss"] for row in told if "validation_loss" in row) != loss["before"]
    files = {entry["name"] for entry in found["files"]}
    assert "results/loras/law-titlegen/adapter_model.safetensors" in files and "results/base/tiny.nemo" not in files


def test_two_adapters_of_one_build(changed):
    found = json_diff(changed, "results/loras/law-titlegen", "results/loras/other")
    assert [(entry["name"], entry["before"], entry["after"]) for entry in found["parameters"]] == [
        ("rank", ["4"], ["2"])
    ]
    assert not any(found[section] for section in ("data", "records", "code", "images", "unexplained"))
    assert "results/loras/*/adapter_model.safetensors" in {entry["name"] for entry in found["files"]}


def test_readable_in_a_terminal(built, changed):
    lines = audit(changed, "diff", f"{built.folder}/results", "results/loras/law-titlegen").splitlines()
    assert f"  ~ {changed.edited}  train  (raw and prompt edited)" in lines
    assert f"  - {changed.gone}  train → not in the raw data" in lines
    assert "  learning-rate  0.01 → 0.02  (tune_adapter/law-titlegen)" in lines
    assert max(map(len, lines)) < 160


def test_refusals(built, changed, copy_of_built):
    audit(changed, "diff", f"{built.folder}/results", "results", fails="has 2 adapters (law-titlegen, other): name one")
    audit(
        built, "diff", "results", "results/loras/none", fails="no adapter 'none' was staged (there are: law-titlegen)"
    )
    audit(built, "diff", "results", "data", fails="data/lineage: no attestations there")
    ledger = copy_of_built.folder / "results/curated/ledger.parquet"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    audit(copy_of_built, "diff", "results", "results", fails="ledger.parquet: not what its step made")


def test_other_bytes_of_the_same_action_are_told(built, copy_of_built):
    path = copy_of_built.folder / "results/lineage/convert_base/tiny.json"
    statement = read_statement(path)
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    path.write_text(json.dumps(seal(statement, None)))
    found = json_diff(copy_of_built, f"{built.folder}/results", "results")
    assert [(entry["name"], entry["steps"]) for entry in found["unexplained"]] == [
        ("results/base/tiny.nemo", ["convert_base/tiny"])
    ]
    text = audit(copy_of_built, "diff", f"{built.folder}/results", "results")
    assert "convert_base/tiny made another results/base/tiny.nemo" in text and "nothing changed" not in text
