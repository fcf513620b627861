"""A step on several nodes of its Slurm job: Ray curates, and tuning averages gradients."""

import json

import pytest
from slurm_fixtures import PROFILE

from adapter_build.lineage.attested_steps import read_lineage

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def spread(checkout, overlay, target):
    """Build a target under an overlay, as Slurm jobs."""
    (checkout.folder / "spread.yaml").write_text(overlay)
    configuration = ("--configfile", "tests/tiny/config.yaml", "spread.yaml")
    done = checkout.snakemake(*PROFILE, *configuration, "--", target, tiny=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ray_curates_on_two_nodes(cluster, copy_of_built, built):
    """The bytes of a split that one process curated."""
    spread(copy_of_built, "curate: {executor: ray, nodes: 2}", "results/curated/law-qa-train.jsonl")
    assert copy_of_built.digests() == built.digests()
    step = read_lineage(copy_of_built.folder / "results")["curate_split/train"]
    assert step.parameters["executor"] == ["ray"] and step.parameters["nodes"] == ["2"]
    assert "All 2 node(s) connected" in (copy_of_built.folder / "logs/curate_split/train.log").read_text()


def test_two_nodes_tune(cluster, copy_of_built, built):
    """The losses of one node, but for the order of their sums."""
    metrics = "results/checkpoints/law-titlegen.metrics.jsonl"
    spread(copy_of_built, "nodes: 2", metrics)
    alone, together = (
        [json.loads(line) for line in (checkout.folder / metrics).read_text().splitlines()]
        for checkout in (built, copy_of_built)
    )
    assert alone != together
    for row, other in zip(alone, together, strict=True):
        assert other == pytest.approx(row, rel=1e-4)
