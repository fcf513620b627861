"""audit: what it says of ancestry, records and drops equals the files that it speaks of."""

import json
import subprocess
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT

from adapter_build.core.digests import file_digest
from adapter_build.core.jsonl import read_jsonl
from adapter_build.hermetic.envelope import read_statement, seal
from adapter_build.models.nemo_archive import read_member
from adapter_build.records.ledger import SCHEMA, query, read_ledger, write_ledger
from adapter_build.report.summaries import data_flow

pytestmark = pytest.mark.slow
WEIGHTS = "results/loras/law-titlegen/adapter_model.safetensors"


def audit(checkout, *arguments, fails=None):
    done = subprocess.run(
        [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.audit", *arguments],
        cwd=checkout.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if fails:
        assert done.returncode == 2 and done.stderr.startswith("error: ") and fails in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
        return ""
    assert done.returncode == 0, done.stderr
    return done.stdout


def nodes(node):
    yield node
    for source in node.get("inputs", []):
        yield from nodes(source)


def test_show_goes_back_to_the_raw_data(built):
    root = json.loads(audit(built, "show", WEIGHTS, "--json"))
    found = list(nodes(root))
    assert all(file_digest(built.folder / node["path"]) == node["sha256"] for node in found)
    assert not [node for node in found if "producer_sha256" in node]
    outside = {node["path"] for node in found if "step" not in node}
    assert "data/sample/law-questions.json" in outside and "prompts/law-titlegen.jq" in outside
    assert not [path for path in outside if path.startswith("results/")]
    jq = ["jq", "-r", ".. | .step? // empty"]
    steps = subprocess.run(jq, input=json.dumps(root), capture_output=True, text=True, check=True).stdout.split()
    assert {"stage_adapter/law-titlegen", "tune_adapter/law-titlegen", "curate_split/train", "acquire_raw"} <= set(
        steps
    )


def test_show_draws_each_step_once(built):
    lines = audit(built, "show", WEIGHTS).splitlines()
    assert lines[0].startswith(f"{WEIGHTS}  ") and lines[0].endswith("by stage_adapter/law-titlegen")
    assert any("data/sample/law-questions.json" in line and "(from outside)" in line for line in lines)
    whole = [line for line in lines if "(above)" not in line and "(from outside)" not in line]
    drawn = [line.rpartition(" by ")[2] for line in whole]
    assert max(Counter(drawn).values()) == 1
    assert lines[-1].startswith("no commit (the checkout is no git repository: ") and lines[-1].endswith(" steps")


@pytest.mark.parametrize(("form", "edge"), [("dot", '"acquire_raw" -> "split_records"'), ("mermaid", " --> ")])
def test_show_draws_a_graph(built, form, edge):
    assert edge in audit(built, "show", WEIGHTS, f"--{form}")


def test_show_tells_a_file_that_is_not_what_its_producer_left(copy_of_built):
    path = copy_of_built.folder / "results/lineage/split_records.json"
    statement = read_statement(path)
    subject = next(item for item in statement["subject"] if item["name"].endswith("train.jsonl"))
    subject["digest"]["sha256"] = "0" * 64
    path.write_text(json.dumps(seal(statement, None)))
    assert "but split_records left 000000000000" in audit(copy_of_built, "show", WEIGHTS)


def test_show_refuses_what_no_step_made(built, copy_of_built):
    audit(built, "show", "config.yaml", fails="config.yaml: no step made it")
    (copy_of_built.folder / "results/lineage/acquire_raw.json").write_text("{}")
    audit(copy_of_built, "show", WEIGHTS, fails="acquire_raw.json: not an attestation")


def test_records_are_those_of_the_files_and_of_the_steps(built):
    rows = [json.loads(line) for line in audit(built, "records", "law-titlegen", "--json").splitlines()]
    roles = Counter(row["role"] for row in rows)
    prompts = built.folder / "results/prompts/law-titlegen"
    for split, role in (("train", "train"), ("val", "validation"), ("test", "test")):
        assert roles[role] == len((prompts / f"{split}.jsonl").read_text().splitlines())
    kept = [row["record_id"] for row in read_ledger(built.folder / "results/curated/ledger.parquet")
            if row["outcome"] == "kept"]  # fmt: skip
    assert [row["record_id"] for row in rows] == kept
    settings = yaml.safe_load(read_member(built.folder / "results/checkpoints/law-titlegen.nemo", "model_config.yaml"))
    assert sum(row["times"] for row in rows) == settings["step"] * settings["global_batch_size"]
    assert len(audit(built, "records", "law-titlegen").splitlines()) == len(rows)
    audit(built, "records", "law-titelgen", fails="(there are: law-titlegen)")


def test_why_tells_what_became_of_every_record(built):
    rows = read_ledger(built.folder / "results/curated/ledger.parquet")
    kept = next(row for row in rows if row["outcome"] == "kept")
    assert f"kept, in the split {kept['split']}" in audit(built, "why", kept["record_id"])
    short = next(row for row in rows if row["outcome"] == "dropped" and row["measured"] is not None)
    said = audit(built, "why", short["record_id"])
    assert f"filter {short['filter']}: {short['field']} was {short['measured']:g}, {short['bound']} was asked" in said
    unusable = next(row for row in rows if row["outcome"] == "dropped" and row["split"] is None)
    assert f"dropped by {unusable['step']}, filter {unusable['filter']}" in audit(built, "why", unusable["record_id"])
    audit(built, "why", "none", fails=f"there are {len(rows):,}")


def miscounted(results):
    """Return what the ledger, asked by SQL, counts otherwise than the files and the report's figures do."""
    ledger = results / "curated/ledger.parquet"
    counted = {
        (row["split"], row["outcome"]): row["n"]
        for row in query("SELECT split, outcome, count(*) AS n FROM ledger GROUP BY ALL", ledger=ledger)
    }
    ids = {path: [str(row.get("id", row.get("question_id"))) for row in read_jsonl(results / path)]
           for path in ["raw/records.jsonl", "split/unusable.jsonl",
                        *(f"{folder}{split}.jsonl" for folder in ("split/", "curated/law-qa-") for split in
                          ("train", "val", "test"))]}  # fmt: skip
    expected = {(None, "dropped"): len(ids["split/unusable.jsonl"])}
    dropped = list(ids["split/unusable.jsonl"])
    for split in ("train", "val", "test"):
        taken, kept = ids[f"split/{split}.jsonl"], ids[f"curated/law-qa-{split}.jsonl"]
        expected |= {(split, "kept"): len(kept), (split, "dropped"): len(taken) - len(kept)}
        dropped += sorted(set(taken) - set(kept))
    found = [key for key in {*counted, *expected} if counted.get(key, 0) != expected.get(key, 0)]
    rows = query("SELECT record_id FROM ledger ORDER BY position", ledger=ledger)
    found += ["order"] if [row["record_id"] for row in rows] != ids["raw/records.jsonl"] else []
    rows = query("SELECT record_id FROM ledger WHERE outcome = 'dropped'", ledger=ledger)
    found += ["dropped"] if sorted(row["record_id"] for row in rows) != sorted(dropped) else []
    by_filter = query(
        "SELECT step, filter, field, bound, count(*) AS count FROM ledger WHERE outcome = 'dropped' GROUP BY ALL",
        ledger=ledger,
    )
    flow = data_flow(read_ledger(ledger))
    told = [{key: group[key] for key in ("step", "filter", "field", "bound", "count")} for group in flow["filters"]]
    found += ["filters"] if sorted(map(str, by_filter)) != sorted(map(str, told)) else []
    stages = {stage["name"]: stage["left"] for stage in flow["stages"]}
    return found + [split for split in ("train", "val", "test") if stages[split] != expected[split, "kept"]]


def test_the_ledger_counts_what_the_files_hold(built):
    assert miscounted(built.folder / "results") == []
    cases = json.loads((ROOT / "tests/support/sample_cases.json").read_text())
    train = {row["id"] for row in read_jsonl(built.folder / "results/split/train.jsonl")}
    expected = {
        (name, field): sorted(str(record) for case in named for record in cases[case] if str(record) in train)
        for (name, field), named in {
            ("word_count", "question"): ["question_too_short", "question_too_long"],
            ("word_count", "answer"): ["answer_too_short", "answer_too_long"],
            ("min_score", "question_score"): ["negative_question_score"],
            ("min_score", "answer_score"): ["negative_answer_score"],
        }.items()
    } | {("has_answer", "answers"): sorted(map(str, cases["no_answer"]))}
    groups = query(
        "SELECT filter, field, list(record_id ORDER BY record_id) AS ids FROM ledger WHERE filter IS NOT NULL"
        " GROUP BY ALL",
        ledger=built.folder / "results/curated/ledger.parquet",
    )
    assert {(group["filter"], group["field"]): group["ids"] for group in groups} == expected


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda rows: rows.pop(), "order"),
        (lambda rows: rows[0].update(split="val"), ("val", "kept")),
        (lambda rows: next(row for row in rows if row["filter"] == "word_count").update(outcome="kept"), "dropped"),
    ],
)
def test_an_edited_ledger_counts_otherwise(copy_of_built, edit, found):
    results = copy_of_built.folder / "results"
    rows = read_ledger(results / "curated/ledger.parquet")
    edit(rows)
    for row in rows:
        if row["outcome"] == "kept":
            row.update(filter=None)
    write_ledger(results / "curated/ledger.parquet", rows)
    assert found in miscounted(results)


def test_what_is_no_ledger_is_refused(copy_of_built):
    path = copy_of_built.folder / "results/curated/ledger.parquet"
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    path.write_bytes(whole[:4] + bytes(footer - 4) + whole[footer:])
    audit(copy_of_built, "why", "1001", fails="ledger.parquet: cannot be read")
    path.write_bytes(whole[:footer] + bytes(len(whole) - 8 - footer) + whole[-8:])
    audit(copy_of_built, "why", "1001", fails="ledger.parquet: not a Parquet file")
    path.write_bytes(whole[:-4])
    audit(copy_of_built, "why", "1001", fails="ledger.parquet: not a Parquet file")
    pq.write_table(pa.table({"record_id": ["1001"], "outcome": ["kept"]}), path)
    for asked in (("why", "1001"), ("records", "law-titlegen")):
        audit(copy_of_built, *asked, fails="ledger.parquet: not a ledger: its columns are record_id, outcome")
    table = pa.table({field.name: pa.nulls(1) for field in SCHEMA})
    pq.write_table(table, path)  # the right names, of other types
    audit(copy_of_built, "why", "1001", fails="not a ledger")
    path.unlink()
    audit(copy_of_built, "why", "1001", fails="ledger.parquet: no such file")


def test_a_folder_may_have_any_name(copy_of_built):
    named = copy_of_built.folder / "o'd [1]*"
    (copy_of_built.folder / "results").rename(named)
    assert "kept" in audit(copy_of_built, "--results", named.name, "why", "1001")
