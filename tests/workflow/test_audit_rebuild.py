"""audit rebuild: an untouched build is the same again; what was altered, changed or left to chance is named."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, STORE
from safetensors.numpy import load_file, save_file

from adapter_build.core.digests import file_digest
from adapter_build.core.jsonl import read_jsonl, write_jsonl
from adapter_build.hermetic.devices import cpu_facts, cpu_named
from adapter_build.hermetic.envelope import read_statement, seal
from adapter_build.records.ledger import read_ledger, write_ledger

pytestmark = pytest.mark.slow
WEIGHTS = Path("results/adapters/law-titlegen/adapter_model.safetensors")
EXPORT = "export_adapter/law-titlegen"
PROMPTS = "format_prompts/law-titlegen/val"


def command(*words, config=()):
    options = ["--", "--configfile", "tests/tiny/config.yaml", *(["--config", *config] if config else []), "--", *STORE]
    return [ROOT / ".venvs/workflow/bin/python", "-m", "adapter_build.cli.audit", "rebuild", *words, *options]


def rebuild(checkout, *words, code, **options):
    done = subprocess.run(command(*words, **options), cwd=checkout.folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert not [path for path in (checkout.folder / "results/.attempts").iterdir() if path.is_dir()]
    return done.stderr if code == 2 else done.stdout


def outcomes(said):
    """Return step → outcome, of the lines that say one."""
    lines = [line.split() for line in said.partition("\n\n")[0].splitlines()]
    return {words[-1]: " ".join(words[:-3]) for words in lines}


def test_an_untouched_build_is_the_same_again(built):
    made = built.digests()
    kept = sorted(path.stat().st_mtime_ns for path in (built.folder / ".store").rglob("*"))
    said = outcomes(rebuild(built, code=0))
    lineage = built.folder / "results/lineage"
    assert said.keys() == {path.relative_to(lineage).with_suffix("").as_posix() for path in lineage.rglob("*.json")}
    assert {*said.values()} == {"same"}
    assert built.digests() == made
    assert sorted(path.stat().st_mtime_ns for path in (built.folder / ".store").rglob("*")) == kept


def test_what_was_altered_is_named_down_to_its_place(built, copy_of_built):
    folder = copy_of_built.folder
    tensors = load_file(folder / WEIGHTS)
    name = sorted(tensors)[3]
    tensors[name][1, 2] += 0.5
    save_file(tensors, folder / WEIGHTS)
    rows = list(read_jsonl(folder / "results/split/val.jsonl"))
    write_jsonl(folder / "results/split/val.jsonl", [{**rows[0], "title": "Altered"}, *rows[1:]])
    nemo = folder / "results/base/tiny.nemo"
    content = nemo.read_bytes()
    assert content.count(b"format: hf") == 1
    nemo.write_bytes(content.replace(b"format: hf", b"format: hg"))
    ledger = read_ledger(folder / "results/curated/ledger.parquet")
    ledger[2]["position"] += 1
    write_ledger(folder / "results/curated/ledger.parquet", ledger)
    (folder / "results/lineage/collect_ledger.json").write_text(json.dumps(seal({}, None)))
    (folder / "results/loras/law-titlegen/README.md").unlink()

    steps = ["export_adapter", "split_records", "convert_base", "collect_ledger", "stage_adapter", "acquire_raw"]
    said = rebuild(copy_of_built, *steps, "--keep", "kept", code=1)
    assert outcomes(said) == {
        "acquire_raw": "same", "split_records": "differs", "convert_base/tiny": "differs", EXPORT: "differs",
        "collect_ledger": "differs", "stage_adapter/law-titlegen": "could not run",
    }  # fmt: skip
    assert f"{name}: 1 of {tensors[name].size} numbers, by up to 0.5 (" in said and "first at [1, 2]: " in said
    assert f"record {rows[0]['id']}, title: Altered → {rows[0]['title'][:20]}" in said
    assert "model_config.yaml: line " in said and "format: hg\\n → format: hf\\n" in said
    assert f"record {ledger[2]['record_id']}, position: 3 → 2" in said
    assert said.count("    it was altered here: what was rebuilt is what its step left") == 3
    assert said.count("    no attestation that can be read says what it was made from") == 1
    assert "results/loras/law-titlegen/README.md is not there: make" in said
    whole = built.digests()
    kept = {path: digest for path, digest in copy_of_built.digests().items() if digest != whole[path]}
    assert kept.keys() == {str(Path(path).relative_to("kept/results")) for path in _files(folder, "kept")}
    assert all((folder / "kept/results" / path).read_bytes() == (built.folder / "results" / path).read_bytes()
               for path in kept)  # fmt: skip
    assert "--keep kept: not empty: name a new folder" in rebuild(
        copy_of_built, "acquire_raw", "--keep", "kept", code=2
    )


def _files(folder, name):
    return [path.relative_to(folder).as_posix() for path in (folder / name).rglob("*") if path.is_file()]


def test_a_step_that_leaves_something_to_chance_is_told_from_one_that_has_changed(copy_of_built):
    script = copy_of_built.folder / "scripts/format_prompts.py"
    text = script.read_text()
    random = text.replace(
        'yield {"id": row["id"], ', 'yield {"id": row["id"], "chance": __import__("os").urandom(8).hex(), '
    )
    assert random != text
    script.write_text(random)
    said = rebuild(copy_of_built, PROMPTS, code=1)
    assert "chance: only in what was rebuilt" in said
    assert "since it was made, scripts/format_prompts.py does something else (code " in said
    copy_of_built.build("results/prompts/law-titlegen/val.jsonl")
    said = rebuild(copy_of_built, PROMPTS, code=1)
    assert ", chance: " in said and " more\n" in said
    assert "its inputs, code and settings have not changed: its step does not make the same bytes twice" in said
    assert "made on" not in said
    _elsewhere(copy_of_built.folder / f"results/lineage/{PROMPTS}.json")
    said = rebuild(copy_of_built, PROMPTS, code=1)
    assert "its inputs, code and settings have not changed, but its processor has" in said
    assert f"made on AuthenticAMD family 999 model 1, rebuilt on {cpu_named(cpu_facts())}: " in said
    script.write_text(text)
    copy_of_built.build("results/prompts/law-titlegen/val.jsonl")
    assert outcomes(rebuild(copy_of_built, PROMPTS, code=0)) == {PROMPTS: "same"}


def _elsewhere(path):
    """As if the step had run on another machine of the same class."""
    statement = read_statement(path)
    run = statement["predicate"]["runDetails"]["byproducts"][0]["annotations"]
    run["cpu"] = {"vendor": "AuthenticAMD", "family": "999", "model": "1"}
    path.write_text(json.dumps(seal(statement, None)))


@pytest.mark.parametrize(
    ("devices", "tolerance", "outcome"),
    [(1, 0.5, "within tolerance"), (1, 1e-9, "differs"), (0, 0.5, "differs")],
)
def test_a_step_on_gpus_may_differ_by_as_much_as_is_declared(copy_of_built, devices, tolerance, outcome):
    tensors = load_file(copy_of_built.folder / WEIGHTS)
    name = sorted(tensors)[0]
    tensors[name][0, 0] += np.abs(tensors[name]).max() / 1000
    save_file(tensors, copy_of_built.folder / WEIGHTS)
    path = copy_of_built.folder / f"results/lineage/{EXPORT}.json"
    statement = read_statement(path)
    statement["predicate"]["buildDefinition"]["internalParameters"]["devices"] = devices
    path.write_text(json.dumps(seal(statement, None)))
    said = rebuild(copy_of_built, EXPORT, code=int(outcome == "differs"), config=[f"tolerance={tolerance}"])
    assert outcomes(said) == {EXPORT: outcome}
    assert f"{name}: 1 of " in said


@pytest.mark.parametrize(
    ("promised", "attested", "outcome"),
    [(False, True, "may differ"), (False, False, "differs"), (True, True, "differs")],
)
def test_a_step_whose_options_promise_no_bytes_may_differ(copy_of_built, promised, attested, outcome):
    """But what is not what it left was edited, whatever its options say."""
    folder = copy_of_built.folder
    tensors = load_file(folder / WEIGHTS)
    tensors[sorted(tensors)[0]][0, 0] += 1
    save_file(tensors, folder / WEIGHTS)
    if attested:
        path = folder / f"results/lineage/{EXPORT}.json"
        statement = read_statement(path)
        entry = next(item for item in statement["subject"] if item["name"] == str(WEIGHTS))
        entry["digest"]["sha256"] = file_digest(folder / WEIGHTS)
        path.write_text(json.dumps(seal(statement, None)))
    if not promised:  # as if an option that this step has were one of these
        _unpromised(folder, "adapter", "law-titlegen")
    said = rebuild(copy_of_built, EXPORT, code=int(outcome == "differs"))
    assert outcomes(said) == {EXPORT: outcome}
    assert ("adapter: law-titlegen: other bytes are no sign of an edit" in said) == (outcome == "may differ")
    assert ("it was altered here" in said) == (not attested)


def _unpromised(folder, name, value):
    script = folder / "adapter_build/lineage/guarantees.py"
    text = script.read_text()
    assert text.count('"attention": "fastest"') == 1
    script.write_text(text.replace('"attention": "fastest"', f'"{name}": "{value}"'))


def test_what_there_is_not_is_refused(built):
    said = rebuild(built, "tune_adaptor", code=2)
    assert said == "error: no step of these targets is named 'tune_adaptor'; did you mean 'tune_adapter'?\n"
    assert "did you mean 'tune_adapter/law-titlegen'?" in rebuild(built, "tune_adapter/law-titelgen", code=2)
    if not shutil.which("diffoscope"):
        assert "apt-get install diffoscope" in rebuild(built, "--diffoscope", code=2)


def test_an_input_above_the_checkout_is_found(copy_of_built):
    """And nothing is written beside it: its place in the scratch root is in the scratch root."""
    above = copy_of_built.folder.parent
    shutil.copyfile(copy_of_built.folder / "data/sample/law-questions.json", above / "questions.json")
    config = "data={source: file, path: ../questions.json}"
    done = copy_of_built.snakemake("--quiet", "all", "--config", config, "--", "results/raw/records.jsonl")
    assert done.returncode == 0, done.stderr
    before = sorted(above.iterdir())
    assert outcomes(rebuild(copy_of_built, "acquire_raw", code=0, config=[config])) == {"acquire_raw": "same"}
    assert sorted(above.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_rebuild_that_is_ended(copy_of_built, number):
    attempts = copy_of_built.folder / "results/.attempts"
    running = subprocess.Popen(command("tune_adapter"), cwd=copy_of_built.folder, stdout=subprocess.DEVNULL)
    while running.poll() is None and not list(
        attempts.glob("rebuild-*/scratch/*/checkout/results/.attempts/tune*/out/*")
    ):
        time.sleep(0.01)
    running.send_signal(number)
    assert running.wait(60) == (128 + number if number == signal.SIGTERM else -number)
    deadline = time.monotonic() + 30
    while _running_below(copy_of_built.folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _running_below(copy_of_built.folder)
    if number == signal.SIGKILL:  # the next one sweeps
        assert list(attempts.glob("rebuild-*"))
        rebuild(copy_of_built, "acquire_raw", code=0)
    assert not list(attempts.glob("rebuild-*"))


def _running_below(folder):
    """Return the processes that work in the folder, or in one of its scratch roots."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(process.name)
        except OSError:
            continue
    return found
