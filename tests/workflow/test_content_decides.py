"""Content decides what is executed: every row of the rebuild table, a failing store, what is said and collected."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from conftest import STORE, Checkout
from rebuild_rows import ROWS, executed, invocations

from adapter_build.hermetic.envelope import read_statement
from adapter_build.hermetic.keys import make_key

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_row(copy_of_built, row):
    before = invocations(copy_of_built.folder)
    folder = row.change(copy_of_built.folder)
    targets = [*STORE, *(["results/loras/law-answer/README.md"] if "adapter added" in row.name else [])]
    targets += ["results/evaluation/law-answer.json"] if "adapter added" in row.name else []
    options = ["--config", *row.options] if row.options else []
    done = Checkout(folder).snakemake("--quiet", "all", *options, "--", *targets)
    assert done.returncode == 0, done.stderr
    assert executed(folder, before) == row.executed


def test_what_is_restored_is_what_was_made(copy_of_built):
    made = copy_of_built.digests()
    for name in ("results", ".snakemake"):
        shutil.rmtree(copy_of_built.folder / name)
    copy_of_built.build(*STORE)
    assert copy_of_built.digests() == made


def attestation(checkout, step):
    return read_statement(checkout.folder / f"results/lineage/{step}.json")


def test_the_attestation_of_a_hit_points_to_the_run_that_made_it(copy_of_built):
    original = attestation(copy_of_built, "split_records")
    (copy_of_built.folder / "results/split/train.jsonl").unlink()
    copy_of_built.build("results/split/train.jsonl")
    again = attestation(copy_of_built, "split_records")
    assert again["subject"] == original["subject"]
    reused = [item for item in again["predicate"]["runDetails"]["byproducts"] if item["name"] == "reused"]
    first = original["predicate"]["runDetails"]["metadata"]["invocationId"]
    assert [item["annotations"]["invocationId"] for item in reused] == [first]
    assert again["predicate"]["runDetails"]["metadata"]["invocationId"] != first


@pytest.mark.parametrize("damage", ["altered", "cut short", "gone"])
def test_a_damaged_object_is_refused_reported_and_made_again(copy_of_built, damage):
    made = copy_of_built.digests()
    digest = made["split/train.jsonl"]
    target = copy_of_built.folder / f".store/objects/{digest[:2]}/{digest}"
    content = target.read_bytes()
    target.chmod(0o644)
    if damage == "gone":
        target.unlink()
    else:
        target.write_bytes(content[:-1] if damage == "cut short" else content[:-2] + b"!\n")
    before = invocations(copy_of_built.folder)
    (copy_of_built.folder / "results/split/train.jsonl").unlink()
    done = copy_of_built.snakemake("--quiet", "all", "--", "results/split/train.jsonl")
    assert done.returncode == 0, done.stderr
    assert copy_of_built.digests() == made
    assert executed(copy_of_built.folder, before) == {"split_records"}
    if damage != "gone":
        assert "was not what its name says" in done.stdout + done.stderr
    assert target.read_bytes() == content, "the store was not mended"


def test_a_poisoned_shared_store_is_refused(copy_of_built):
    """Another machine, whose shared store has one object altered: that step runs, all others are fetched."""
    made = copy_of_built.digests()
    shared = copy_of_built.folder.with_name("shared")
    shutil.copytree(copy_of_built.folder / ".store", shared)
    for name in ("results", ".snakemake", ".store"):
        shutil.rmtree(copy_of_built.folder / name)
    digest = made["split/val.jsonl"]
    poisoned = shared / f"objects/{digest[:2]}/{digest}"
    poisoned.chmod(0o644)
    poisoned.write_bytes(poisoned.read_bytes()[:-9] + b"poisoned\n")
    done = copy_of_built.snakemake("--quiet", "all", "--config", f"store={{url: '{shared}'}}", "--", *STORE)
    assert done.returncode == 0, done.stderr
    assert copy_of_built.digests() == made
    assert executed(copy_of_built.folder, {}) == {"split_records"}


def test_a_record_that_says_something_else_is_not_taken(copy_of_built):
    """Objects that are whole, under the wrong names: what the record says is not what its attestation says."""
    made = copy_of_built.digests()
    step = attestation(copy_of_built, "split_records")
    key = step["predicate"]["buildDefinition"]["internalParameters"]["actionKey"]
    record = copy_of_built.folder / f".store/actions/{key[:2]}/{key}.json"
    entry = json.loads(record.read_text())
    entry["outputs"]["val"], entry["outputs"]["test"] = entry["outputs"]["test"], entry["outputs"]["val"]
    record.chmod(0o644)
    record.write_text(json.dumps(entry))
    before = invocations(copy_of_built.folder)
    (copy_of_built.folder / "results/split/val.jsonl").unlink()
    done = copy_of_built.snakemake("--quiet", "all", "--", "results/split/val.jsonl")
    assert done.returncode == 0 and "its record is not what its attestation says" in done.stdout + done.stderr
    assert copy_of_built.digests() == made
    assert executed(copy_of_built.folder, before) == {"split_records"}


@pytest.mark.parametrize("trusted", [True, False])
def test_a_shared_store_is_believed_if_a_trusted_builder_signed(built, checkout, trusted):
    """The key of another builder is trusted, and it is the one that filled the store; or it is not."""
    shared, theirs = checkout.folder.with_name("shared"), checkout.folder / "theirs.pem"
    shutil.copytree(built.folder / ".store", shared)
    if trusted:
        shutil.copy(built.folder / ".keys/builder.pub.pem", theirs)
    else:
        make_key(str(checkout.folder / "stranger.pem"))
        (checkout.folder / "stranger.pub.pem").rename(theirs)
    settings = [f"store={{url: '{shared}'}}", "signing={trusted: [theirs.pem]}"]
    target = "results/curated/ledger.parquet"
    done = checkout.snakemake("--quiet", "all", "--config", *settings, "--", target)
    assert done.returncode == 0, done.stderr
    ran = executed(checkout.folder, {})
    assert ran == (set() if trusted else set(invocations(checkout.folder)))
    assert ("no key of signing.trusted signed it" in done.stdout + done.stderr) is not trusted
    assert checkout.digests()["curated/ledger.parquet"] == built.digests()["curated/ledger.parquet"]


def test_two_builds_at_once_on_one_store(copy_of_built, checkout):
    """Both are right, and between them nothing is half-written."""
    made = copy_of_built.digests()
    builds = []
    for name in ("results", ".snakemake", ".store"):
        shutil.rmtree(copy_of_built.folder / name)
    store = copy_of_built.folder.with_name("one-store")
    for one in (copy_of_built, checkout):
        command = one.command("--quiet", "all", "--config", f"store={{path: '{store}'}}", "--", *STORE)
        builds.append(subprocess.Popen(command, cwd=one.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    for build in builds:
        _, said = build.communicate()
        assert build.returncode == 0, said
    assert copy_of_built.digests() == checkout.digests() == made
    assert not list(store.rglob(".part-*"))


KILLS = range(int(os.environ.get("KILLS", "20")))  # 200 in `make bench`
IN_A_ROW = 4


@pytest.mark.parametrize("seeds", [KILLS[at : at + IN_A_ROW] for at in KILLS[::IN_A_ROW]], ids=str)
def test_killed_at_a_random_moment(checkout, built, seeds):
    """Killed four times in a row, so that later steps are met too; whatever lies there is right after each.

    Then one more build: the right digests, and nothing orphaned. Curation alone: it has the most steps a second.
    """
    targets = ["results/curated/ledger.parquet"]
    command = checkout.command("--quiet", "all", "--", *targets)
    wanted = {name: digest for name, digest in built.digests().items() if name.startswith(("raw", "split", "curated"))}
    for seed in seeds:
        build = subprocess.Popen(
            command, cwd=checkout.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(random.Random(seed).uniform(0.8, 3.5))
        build.send_signal(signal.SIGKILL)
        build.wait()
        assert checkout.digests().items() <= wanted.items()
    checkout.build(*targets)
    assert {name: digest for name, digest in checkout.digests().items() if name in wanted} == wanted
    assert not list((checkout.folder / "results").glob(".attempts/*/"))


def test_a_miss_says_what_changed_and_so_does_why(copy_of_built):
    step = "curate_split/train"
    script = [str(copy_of_built.folder / ".venvs/workflow/bin/python"), "-m", "adapter_build.cli.why", step]
    asked = [*script, "--", "--configfile", "tests/tiny/config.yaml"]

    def why():
        done = subprocess.run(asked, cwd=copy_of_built.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert why() == [f"{step}: nothing changed"]
    with open(copy_of_built.folder / "scripts/curate_split.py", "a") as script:
        script.write("# a remark\n")
    assert why() == [f"{step}: nothing changed"]
    with open(copy_of_built.folder / "scripts/curate_split.py", "a") as script:
        script.write("CHANGED = True\n")
    said = why()
    assert len(said) == 1 and said[0].startswith(f"{step}: scripts/curate_split.py does something else (code "), said
    assert said[0].endswith("): CHANGED is new"), said
    copy_of_built.build("results/curated/law-qa-train.jsonl")
    assert (copy_of_built.folder / f"logs/{step}.log").read_text().splitlines()[0] == said[0]
    assert why() == [f"{step}: nothing changed"]


def test_gc_keeps_what_a_target_needs(copy_of_built):
    def collect(*options):
        command = [
            str(copy_of_built.folder / ".venvs/workflow/bin/python"),
            "-m",
            "adapter_build.cli.collect_garbage",
            *options,
        ]
        command += ["--", "--configfile", "tests/tiny/config.yaml"]
        return subprocess.run(command, cwd=copy_of_built.folder, capture_output=True, text=True, check=False)

    store = copy_of_built.folder / ".store"
    assert collect().stdout.strip() == "0.0 MB  needed by no target; make gc YES=1 deletes it"
    with open(copy_of_built.folder / "scripts/split_records.py", "a") as script:
        script.write("SEED = 1\n")
    text = (copy_of_built.folder / "scripts/format_prompts.py").read_text()
    (copy_of_built.folder / "scripts/format_prompts.py").write_text(text + "CHANGED = True\n")
    copy_of_built.build(*STORE)
    before = sorted(path for path in store.rglob("*") if path.is_file())
    listed = collect()
    assert listed.stdout.count("/actions/") == 4, listed.stdout
    assert sorted(path for path in store.rglob("*") if path.is_file()) == before
    with open(store / "in-use", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        refused = collect("--yes")
    assert refused.returncode == 2 and "in use by a build" in refused.stderr
    assert "deleted" in collect("--yes").stdout
    made = copy_of_built.digests()
    for name in ("results", ".snakemake"):
        shutil.rmtree(copy_of_built.folder / name)
    copy_of_built.build(*STORE)
    assert copy_of_built.digests() == made
    assert executed(copy_of_built.folder, {}) == set()


@pytest.mark.parametrize("options", [["other.yaml"], ["--config", "store={path: elsewhere}"]])
def test_gc_sweeps_the_store_that_the_configuration_names(copy_of_built, options):
    """By an overlay or by the command line; what a variable says means nothing."""
    (copy_of_built.folder / "other.yaml").write_text("store: {path: elsewhere}\n")
    orphans = [copy_of_built.folder / store / "objects/ab" / f"ab{'0' * 62}" for store in (".store", "elsewhere")]
    for orphan in orphans:
        orphan.parent.mkdir(parents=True, exist_ok=True)
        orphan.touch()
    command = [
        str(copy_of_built.folder / ".venvs/workflow/bin/python"),
        "-m",
        "adapter_build.cli.collect_garbage",
        "--yes",
    ]
    done = subprocess.run(
        [*command, "--", "--configfile", "tests/tiny/config.yaml", *options], cwd=copy_of_built.folder,
        env={**os.environ, "STEP_STORE": ".store"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"elsewhere/objects/ab/{orphans[1].name}" in done.stdout and ".store" not in done.stdout
    assert [orphan.exists() for orphan in orphans] == [True, False]


def test_gc_does_not_take_a_checkout_without_attestations_for_one_that_needs_nothing(copy_of_built):
    """After `make clean` the store is what the next build comes from."""
    shutil.rmtree(copy_of_built.folder / "results")
    before = sorted((copy_of_built.folder / ".store").rglob("*"))
    command = [
        str(copy_of_built.folder / ".venvs/workflow/bin/python"),
        "-m",
        "adapter_build.cli.collect_garbage",
        "--yes",
    ]
    done = subprocess.run(
        [*command, "--", "--configfile", "tests/tiny/config.yaml"],
        cwd=copy_of_built.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "no step of this configuration has run here" in done.stderr
    assert sorted((copy_of_built.folder / ".store").rglob("*")) == before


def swept(checkout, *options):
    """Return what `make gc YES=1` said of the tiny chain, and whether it deleted nothing."""
    kept = checkout.folder / "results/.kept/tune_adapter.law-titlegen-0/state"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch()
    before = sorted((checkout.folder / ".store").rglob("*"))
    command = [
        str(checkout.folder / ".venvs/workflow/bin/python"),
        "-m",
        "adapter_build.cli.collect_garbage",
        "--yes",
        "--",
    ]
    done = subprocess.run(
        [*command, "--configfile", "tests/tiny/config.yaml", *options],
        cwd=checkout.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, kept.exists() and sorted((checkout.folder / ".store").rglob("*")) == before


def test_gc_does_not_take_targets_without_steps_for_a_store_that_nothing_needs(copy_of_built):
    done, untouched = swept(copy_of_built, "--", "environments")
    assert done.returncode == 2 and "these targets have no steps" in done.stderr
    assert untouched


def test_gc_reads_no_log(copy_of_built):
    """A plan that is read out of what Snakemake says is empty when it says nothing."""
    before = sorted((copy_of_built.folder / ".store").rglob("*"))
    done, _ = swept(copy_of_built, "--quiet", "all")
    assert done.returncode == 0, done.stderr
    assert sorted((copy_of_built.folder / ".store").rglob("*")) == before


def test_gc_refuses_an_attestation_that_cannot_be_read(copy_of_built):
    (copy_of_built.folder / "results/lineage/tune_adapter/law-titlegen.json").write_text("{")
    done, untouched = swept(copy_of_built)
    assert done.returncode == 2 and "lineage/tune_adapter/law-titlegen.json: cannot be read" in done.stderr
    assert untouched


def test_gc_says_that_there_is_no_store(copy_of_built):
    command = [
        str(copy_of_built.folder / ".venvs/workflow/bin/python"),
        "-m",
        "adapter_build.cli.collect_garbage",
        "--",
        "--config",
    ]
    for path, said in (("nowhere", "nowhere: no store there"), ("", "no store: store.path is empty")):
        done = subprocess.run(
            [*command, f"store={{path: '{path}'}}"],
            cwd=copy_of_built.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == said


def test_an_altered_artifact_is_named(copy_of_built):
    def verify():
        command = [str(copy_of_built.folder / ".venvs/workflow/bin/python"), "-m", "adapter_build.cli.verify_results"]
        return subprocess.run(command, cwd=copy_of_built.folder, capture_output=True, text=True, check=False)

    assert verify().returncode == 0
    path = copy_of_built.folder / "results/split/train.jsonl"
    kept = path.stat()
    path.write_bytes(path.read_bytes().replace(b"a", b"e", 1))
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    done = verify()
    assert done.returncode == 2
    assert "results/split/train.jsonl is not what its step made" in done.stderr
