"""audit: what it says of ancestry, records and drops equals the files that it speaks of."""

import json
import subprocess
from collections import Counter

import pytest
import yaml
from conftest import ROOT

from hermetic.digests import file_digest
from hermetic.envelope import seal, unseal
from ledger import read_ledger
from nemo_archive import read_member

pytestmark = pytest.mark.slow
WEIGHTS = "results/loras/law-titlegen/adapter_model.safetensors"


def audit(checkout, *arguments, fails=None):
    done = subprocess.run(
        [ROOT / ".venvs/workflow/bin/python", "scripts/audit.py", *arguments],
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


@pytest.mark.parametrize(("form", "edge"), [("dot", '"acquire_raw" -> "split_records"'), ("mermaid", " --> ")])
def test_show_draws_a_graph(built, form, edge):
    assert edge in audit(built, "show", WEIGHTS, f"--{form}")


def test_show_tells_a_file_that_is_not_what_its_producer_left(copy_of_built):
    path = copy_of_built.folder / "results/lineage/split_records.json"
    statement = unseal(json.loads(path.read_text()))
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
