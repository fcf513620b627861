"""Curation in parts: the bytes of the whole, in every artifact that is not itself a part."""

import pytest

from adapter_build.lineage.attested_steps import read_lineage

pytestmark = pytest.mark.slow


def in_parts(checkout):
    config = checkout.folder / "config.yaml"
    config.write_text(config.read_text().replace("curate:\n", "curate:\n  shards: 2\n"))


def test_as_many_jobs_as_parts(checkout, built):
    in_parts(checkout)
    checkout.build("results/curated/ledger.parquet")
    made = checkout.digests()
    parts = {name for name in made if name.startswith("curated/shards/")}
    assert len(parts) == 3 * 2 * 2
    assert {name: made[name] for name in made.keys() - parts}.items() <= built.digests().items()
    assert {"curated/ledger.parquet", "curated/law-qa-train.jsonl"} <= made.keys() - parts
    assert read_lineage(checkout.folder / "results")["curate_shard/train/1"].parameters["shards"] == ["2"]


def test_the_report_does_not_depend_on_it(checkout):
    """Its settings are those that decide the result."""

    def call():
        done = checkout.snakemake("--workflow-profile", "none", "--dry-run", "--forceall", "--printshellcmds")
        return next(
            line for line in (done.stdout + done.stderr).splitlines() if line.endswith("scripts/write_report.py")
        )

    whole = call()
    in_parts(checkout)
    assert "--param settings" in whole and call() == whole
    config = checkout.folder / "config.yaml"
    config.write_text(config.read_text().replace("  min_score: 0\n", "  min_score: 1\n"))
    assert call() != whole
