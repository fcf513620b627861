"""The same rules on real posts, as the README has it."""

import collections
import json

import pyarrow.parquet
import pytest
from conftest import ROOT

SLICE = ROOT.parent / "shared/data/law-stackexchange-slice.json.xz"
OVERLAY = ("--configfile", "configs/law-stackexchange.yaml")
PROMPTS = [f"results/prompts/law-titlegen/{split}.jsonl" for split in ("train", "val", "test")]


@pytest.mark.slow
@pytest.mark.skipif(not SLICE.is_file(), reason="needs ../shared/data/law-stackexchange-slice.json.xz")
def test_data_half_on_the_slice(checkout):
    source = f"data={{source: file, path: {SLICE}}}"
    done = checkout.snakemake(
        "--quiet", "all", *OVERLAY, "--config", source, "--", *PROMPTS, "results/curated/ledger.parquet", tiny=False
    )
    assert done.returncode == 0, done.stderr
    ledger = pyarrow.parquet.read_table(checkout.folder / "results/curated/ledger.parquet").to_pylist()
    assert len(ledger) == 4000
    kept = collections.Counter(row["split"] for row in ledger if row["outcome"] == "kept")
    for path in PROMPTS:
        rows = [json.loads(line) for line in (checkout.folder / path).read_text().splitlines()]
        assert len(rows) == kept[path.split("/")[-1].removesuffix(".jsonl")]
        assert all(row["input"].endswith("TITLE:") for row in rows)


def test_unpinned_dataset_says_what_to_type(checkout):
    assert "acquire_raw" in checkout.pending(*OVERLAY, "--", *PROMPTS)
    done = checkout.snakemake("--quiet", "all", *OVERLAY, "--", "results/raw/records.jsonl", tiny=False)
    assert done.returncode != 0
    assert "run: make pin" in done.stderr
    assert not (checkout.folder / "results/raw/records.jsonl").exists()
