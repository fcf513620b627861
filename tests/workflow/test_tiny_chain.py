"""The chain on a 2-layer random Llama: the same bytes twice, nothing to do the second time, two adapters at once."""

import json
import shutil
import signal
import subprocess

import pytest
import yaml
from conftest import ROOT, STORE

from adapter_build.hermetic.envelope import read_statement

pytestmark = pytest.mark.slow


def test_two_builds_give_the_same_bytes(built, checkout):
    checkout.build(*STORE)
    assert checkout.digests() == built.digests()
    assert len(built.digests()) > 25


def test_second_build_does_nothing(built):
    assert built.pending("--", *STORE) == set()


def test_every_artifact_has_its_attestation(built):
    attested = {}
    for path in (built.folder / "results/lineage").rglob("*.json"):
        for subject in read_statement(path)["subject"]:
            attested[subject["name"].removeprefix("results/")] = subject["digest"]["sha256"]
    assert attested == built.digests()


def test_two_adapters_at_once(copy_of_built):
    overlay = yaml.safe_load((copy_of_built.folder / "tests/tiny/config.yaml").read_text())
    overlay["adapters"]["law-answer"] = {
        **overlay["adapters"]["law-titlegen"],
        "prompt": "prompts/law-answer.jq",
        "sequence_length": 256,
    }
    (copy_of_built.folder / "tests/tiny/config.yaml").write_text(yaml.safe_dump(overlay))
    target = "results/loras/{}/adapter_model.safetensors"
    copy_of_built.build(target.format("law-titlegen"), target.format("law-answer"))
    weights = [(copy_of_built.folder / target.format(name)).read_bytes() for name in ("law-titlegen", "law-answer")]
    assert weights[0] != weights[1]


def test_curated_splits_can_be_brought_along(copy_of_built):
    mine = copy_of_built.folder / "mine"
    mine.mkdir()
    for split in ("train", "val", "test"):
        shutil.copy(copy_of_built.folder / f"results/curated/law-qa-{split}.jsonl", mine)
    shutil.rmtree(copy_of_built.folder / "results")
    done = copy_of_built.snakemake(
        "--quiet", "all", "--config", "data={source: curated, path: mine}", "--",
        "results/prompts/law-titlegen/train.jsonl", "results/curated/ledger.parquet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (copy_of_built.folder / "results/split").exists()
    taken, given = (
        [{**json.loads(line), "position": None} for line in (folder / "law-qa-train.jsonl").read_text().splitlines()]
        for folder in (copy_of_built.folder / "results/curated", mine)
    )
    assert taken == given


AFTER_TUNING = {"tune_adapter", "export_adapter", "evaluate_adapter", "stage_adapter"}
AFTER_CURATION = {"collect_ledger", "format_prompts", *AFTER_TUNING}
# Each: an edit (file, old text, new text; without an old one it is appended), and the rules of which a job runs anew.
CHANGES = {
    "a script of the curation": ("scripts/curate_split.py", "", "CHANGED = True\n", {"curate_split", *AFTER_CURATION}),
    "a module that only tuning imports": (
        "adapter_build/tuning/nemo_tuning.py", "CLIP = 1.0", "CLIP = 2.0", AFTER_TUNING
    ),
    "a name in it that tuning does not use": ("adapter_build/tuning/nemo_tuning.py", "", "CHANGED = True\n", set()),
    "the estimate of a GPU's memory": ("adapter_build/tuning/gpu_memory.py", "* 3 // 100", "* 4 // 100", set()),
    "the jq program": ("prompts/law-titlegen.jq", "", "# changed\n", {"format_prompts", *AFTER_TUNING}),
    "a program that is no step's": ("adapter_build/cli/serve.py", "", "CHANGED = True\n", set()),
}  # fmt: skip


@pytest.mark.parametrize(("path", "old", "new", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_changed_file_reruns_what_depends_on_it(copy_of_built, path, old, new, expected):
    text = (copy_of_built.folder / path).read_text()
    assert not old or text.count(old) == 1
    (copy_of_built.folder / path).write_text(text.replace(old, new) if old else text + new)
    assert copy_of_built.pending("--", *STORE) == expected


# By read_base, which hands them on as modules.
USED_WHOLE = ("serving_reader.py", "tuning_reader.py")


def test_what_steps_do_not_use_plans_nothing(copy_of_built):
    """A comment and a blank in every script and module, and in modules a name that nothing refers to."""
    for folder in ("scripts", "adapter_build"):
        for path in (copy_of_built.folder / folder).rglob("*.py"):
            added = "" if folder == "scripts" or path.name in USED_WHOLE else "UNUSED = True\n"
            path.write_text(f"# a comment\n{path.read_text()}\n\n# a comment\n{added}")
    assert copy_of_built.pending("--", *STORE) == set()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"adapters": {"law-titlegen": {"learning_rate": 0.02}}}, AFTER_TUNING),
        ({"evaluate": {"seed": 7}}, {"evaluate_adapter"}),
        ({"deploy": {"max_rank": 16}}, {"stage_adapter"}),
        ({"deploy": {"timeout": 5}}, set()),
    ],
    ids=str,
)
def test_a_changed_setting_reruns_what_depends_on_it(built, tmp_path, setting, expected):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(setting))
    assert built.pending("--configfile", "tests/tiny/config.yaml", str(overlay), "--", *STORE) == expected


def test_a_changed_lock_reruns_its_steps(copy_of_built):
    # .venvs is shared with this checkout: a folder of links stands in, so that nothing is installed anew here.
    (copy_of_built.folder / ".venvs").unlink()
    (copy_of_built.folder / ".venvs").mkdir()
    for entry in (ROOT / ".venvs").iterdir():
        here = copy_of_built.folder / ".venvs" / entry.name
        if entry.is_dir():
            here.symlink_to(entry)
        else:
            shutil.copy2(entry, here)
    with open(copy_of_built.folder / "containers/curate/requirements.lock", "a") as lock:
        lock.write("# changed\n")
    steps = {"split_records", "curate_split", "collect_ledger"}
    after = {"format_prompts", "tune_adapter", "export_adapter", "evaluate_adapter", "stage_adapter"}
    assert copy_of_built.pending("--", *STORE) == {"environment"} | steps | after


def test_rulegraph_lint_and_dry_run(checkout):
    assert "digraph" in checkout.snakemake("--rulegraph").stdout
    lint = checkout.snakemake("--lint")
    assert lint.returncode == 0, lint.stdout + lint.stderr
    assert {"acquire_raw", "tune_adapter", "check_deployment", "report"} <= checkout.pending()


def test_one_build_at_a_time(checkout):
    command = checkout.command("--quiet", "all", "--", "results/base/tiny.nemo")
    first = subprocess.Popen(command, cwd=checkout.folder, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        lock = checkout.folder / ".snakemake/build.lock"
        while first.poll() is None and not (lock.is_file() and lock.read_text()):
            pass
        first.send_signal(signal.SIGSTOP)  # else, on a busy machine, it ends before the second one looks
        second = checkout.snakemake("--quiet", "all", "--", "results/raw/records.jsonl")
        assert f"another build is running here (pid {first.pid} on " in second.stderr
        assert second.returncode != 0
    finally:
        first.send_signal(signal.SIGCONT)
        first.wait(120)
    assert first.returncode == 0
    checkout.build("results/raw/records.jsonl")
