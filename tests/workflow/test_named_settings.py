"""Every setting that reaches a step decides whether it runs, whatever values the step's other settings have.

Snakemake compares a job's params as a set of values without names, so that each must carry its own.
"""

import copy
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, STORE
from jsonschema import Draft202012Validator

from adapter_build.core.faults import BadInput
from adapter_build.workflow.configuration import overlay as put
from adapter_build.workflow.configuration import read_config
from adapter_build.workflow.rule_options import STEP
from adapter_build.workflow.step_runner import parse, step_name

pytestmark = pytest.mark.slow
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
# Where and how steps run, and what no step reads: in no step's command line.
IN_NO_STEP = {
    "isolation", "store.path", "store.timeout", "store.url", "signing.key", "signing.certificates", "signing.trusted",
    "local_steps",
}  # fmt: skip
# Settings without another value that this checkout could be planned with: another source of data or of the base,
# NVIDIA's images, keys. Where they take effect, steps have other inputs, or are others.
ELSEWHERE = {
    "data.source", "data.path", "data.dataset", "base.name", "base.path", "base.format", "base.nemo", "tune.backend",
    "runtime", "deploy.engine", "curate.nodes", "signing.key", "signing.certificates", "signing.trusted",
}  # fmt: skip
# What the settings of packs go with.
PACKED = {"adapters": {"law-titlegen": {"micro_batch_size": 1, "pack_length": 128, "kernels": "fused"}}}
OF_PACKS = {
    f"adapters.*.{key}" for key in ("pack_length", "kernels", "products", "activations", "weights", "attention")
}


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the path of every key of config.yaml that holds no others, `*` for an adapter's name, and its schema."""
    for key, value in schema.get("properties", {}).items():
        if "properties" in value:
            yield from leaves(value, (*path, key))
        elif isinstance(value.get("additionalProperties"), dict):
            yield from leaves(value["additionalProperties"], (*path, key, "*"))
        else:
            yield (*path, key), value


KEYS = {".".join(path): (path, schema) for path, schema in leaves(SCHEMA)}


def overlay(path: tuple[str, ...], value: Any, context: dict[str, Any]) -> dict[str, Any]:
    """Return an overlay of config.yaml that sets one key, on top of `context`."""
    for key in reversed(path):
        value = {"law-titlegen" if key == "*" else key: value}
    changed = copy.deepcopy(context)
    put(changed, value)
    return changed


def at(config: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        config = config["law-titlegen" if key == "*" else key]
    return config


def others(value: Any, schema: dict[str, Any], taken: list[str]) -> Iterator[Any]:
    """Yield other values of a key: first those that another setting of a step has (`taken`), then any."""
    kinds = {"integer": int, "number": float, "string": str}
    for text in taken:
        try:
            yield kinds.get(schema.get("type", "string"), str)(text)
        except ValueError:
            continue
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value * 2, value + 1, value / 2, 0.5)
    elif isinstance(value, list):
        yield from (value[:-1], [], ["acquire_raw"])
    yield from schema.get("enum", [])
    yield from ("ab" * 32, "other", "prompts/law-answer.jq", "0.0.0.0")


def plans(checkout, folder: Path, overlays: dict[str, Any], which: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, per overlay, step → the job that Snakemake plans: its runner's words, its params."""
    folder.mkdir()
    files = {}
    for number, (name, content) in enumerate(overlays.items()):
        files[name] = folder / f"{number}.yaml"
        files[name].write_text(yaml.safe_dump(content))
    driver = [sys.executable, str(Path(__file__).with_name("many_plans.py")), which, json.dumps(STORE)]
    subprocess.run([*driver, *map(str, files.values())], cwd=checkout.folder, check=True)
    found = {}
    for name, file in files.items():
        plan = Path(f"{file}.json")
        assert plan.is_file(), (name, Path(f"{file}.log").read_text())
        jobs = {}
        for job in json.loads(plan.read_text())["jobs"]:
            if "scripts/step.py" in job["command"]:
                words = shlex.split(job["command"])[2:]
                jobs[step_name(parse(words))] = {"words": words, "params": job["params"]}
        found[name] = jobs
    return found


def followed(jobs: dict[str, dict[str, Any]], steps: set[str]) -> set[str]:
    """Return the steps and all that read, directly or not, what they make."""
    reads, makes = {}, {}
    for step, job in jobs.items():
        options = parse(job["words"])
        reads[step] = {path for _, *paths in options.input for path in paths}
        makes[step] = {path for _, *paths in options.output for path in paths}
    found = set(steps)
    while more := {step for step in jobs if any(reads[step] & makes[made] for made in found)} - found:
        found |= more
    return found


@pytest.fixture(scope="module")
def planned(built, tmp_path_factory):
    """The plans without and with packs, and that of an overlay per key that another value can be given."""
    folder = tmp_path_factory.mktemp("plans")
    contexts = {"plain": {}, "packed": PACKED}
    before = plans(built, folder / "before", contexts, "all")
    overlays = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(built.folder)
        for name, (path, schema) in KEYS.items():
            context = "packed" if name in OF_PACKS else "plain"
            value = at(configured(contexts[context]), path)
            for other in others(value, schema, taken(before[context], path[-1].replace("_", "-"))):
                changed = overlay(path, other, contexts[context])
                if other != value and Draft202012Validator(schema).is_valid(other) and configured(changed):
                    overlays[name] = changed
                    break
    tried = {name: changed for name, changed in overlays.items() if name not in ELSEWHERE}
    after = plans(built, folder / "after", tried, "all")
    return {name: (before["packed" if name in OF_PACKS else "plain"], after[name], tried[name]) for name in tried}


def configured(changes: dict[str, Any]) -> dict[str, Any] | None:
    """Return the tiny chain's configuration under an overlay; None where it is refused."""
    written = Path("overlay-under-test.yaml")
    written.write_text(yaml.safe_dump(changes))
    try:
        return read_config(Path("config.yaml"), Path("tests/tiny/config.yaml"), written)
    except BadInput:
        return None
    finally:
        written.unlink()


def taken(jobs: dict[str, dict[str, Any]], option: str) -> list[str]:
    """Return the values of the other params of each step that has this one."""
    given = [{key: values for key, *values in parse(job["words"]).param} for job in jobs.values()]
    return [value for params in given if option in params for key in params if key != option for value in params[key]]


def told(job: dict[str, Any]) -> list[str]:
    """Return what a step's runner is told but other steps' files, which Snakemake compares as files."""
    options = vars(parse(job["words"]))
    own = [words for words in options["input"] if words[0] in ("program", "source", "source-files")]  # may hold braces
    return [str(own), *(str(options[name]) for name in options if name not in ("input", "output", "memory", "log"))]


def test_every_key_is_tried(planned):
    """A key that is added to the schema is tried, or a reason stands above why it is not."""
    assert set(KEYS) - set(planned) - ELSEWHERE == set()
    assert set(KEYS) >= ELSEWHERE | IN_NO_STEP


def test_a_changed_setting_changes_what_snakemake_remembers_of_each_step_that_reads_it(planned):
    read_by_none = set()
    for name, (before, after, overlay) in planned.items():
        read = {step for step, job in after.items() if step not in before or told(job) != told(before[step])}
        seen = {step for step, job in after.items() if step not in before or job["params"] != before[step]["params"]}
        assert seen == read, (name, overlay)
        if after == before:
            read_by_none.add(name)
    assert read_by_none == IN_NO_STEP - ELSEWHERE


def test_a_changed_setting_plans_exactly_the_steps_that_read_it_and_those_after_them(planned, built, tmp_path):
    expected = {}
    for name, (before, after, _) in planned.items():
        read = {step for step, job in after.items() if step not in before or job["words"] != before[step]["words"]}
        if name not in OF_PACKS and read - {"check_deployment", "report"}:
            expected[name] = followed(after, read) - {"check_deployment", "report"}
    assert len(expected) > 25
    pending = plans(built, tmp_path / "pending", {name: planned[name][2] for name in expected}, "pending")
    assert {name: set(jobs) for name, jobs in pending.items()} == expected


def test_where_two_settings_have_one_value_a_change_of_either_is_seen(built, planned, tmp_path):
    """The pairs that were seen to change nothing: 1 to 2 beside a 2, and rank and alpha exchanged."""
    one = {
        "micro_batch_size": 1,
        "global_batch_size": 2,
        "patience": 0,
        "validation_interval": 20,
        "rank": 8,
        "alpha": 16,
    }
    changes = {
        "micro": {"micro_batch_size": 2},
        "global": {"global_batch_size": 8},
        "patience": {"patience": 2},
        "interval": {"validation_interval": 0},
        "exchanged": {"rank": 16, "alpha": 8},
    }
    overlays = {"base": one, **{name: {**one, **change} for name, change in changes.items()}}
    found = plans(
        built, tmp_path / "p", {name: {"adapters": {"law-titlegen": o}} for name, o in overlays.items()}, "all"
    )
    step = "tune_adapter/law-titlegen"
    assert not [name for name in changes if found[name][step]["params"] == found["base"][step]["params"]]


# --- what a rule may say ---


# The params of a step, from the one statement that names them all; the command, with what it may take of a job.
NAMED = re.compile(r"(\*\*step\(|\),?$|#)")
GIVEN = {"params.options", "resources.mem_mb", "log", "params.files", "params.script"}


def faults(text: str) -> list[str]:
    """Return what of a rule file's params Snakemake would remember without a name, and what a command takes of a job
    beside them; and the environments in which a rule's job runs without having waited for them.
    """
    found = []
    for block in re.findall(r"^( *)params:\n((?:\1 +.*\n|\n)*)", text, re.MULTILINE):
        indent, body = block
        entries = re.findall(rf"^{indent}    (\S.*)$", body, re.MULTILINE)
        found += [entry for entry in entries if not NAMED.match(entry)]
    shells = re.findall(r"^( *)shell:\n((?:\1 +.*\n)+)", text, re.MULTILINE)
    found += re.findall(r"\{(?:config|threads|params\b)[^}]*\}", "".join(body for _, body in shells))
    for rule in re.split(r"^ *(?:use )?rule ", text, flags=re.MULTILINE):
        waited = re.findall(r"(?<!\w)venv\(([^)]*)\)", rule)
        run = re.findall(r"\*\*step\(\s*(?:lambda wildcards: )?([^,]*),", rule)
        found += [name for name in run if waited and name not in waited]
    return found


def test_every_param_of_every_rule_carries_its_name():
    files = sorted((ROOT / "rules").glob("*.smk"))
    assert len(files) > 10
    assert {file.name: found for file in files if (found := faults(file.read_text()))} == {}
    assert {name.partition(":")[0] for name in re.findall(r"\{(.*?)\}", STEP)} == GIVEN


@pytest.mark.parametrize(
    "added",
    [
        "        rank=8,\n",
        '        rank=lookup("adapters/{adapter}/rank", within=config),\n',
        "        8,\n",
    ],
)
def test_a_rule_with_a_bare_value_is_found(added):
    text = (ROOT / "rules/split.smk").read_text()
    assert not faults(text)
    assert faults(text.replace("    params:\n", f"    params:\n{added}"))


@pytest.mark.parametrize("word", ["{config[split][seed]}", "{params.seed}", "{threads}"])
def test_a_value_that_no_param_has_is_found(word):
    text = (ROOT / "rules/split.smk").read_text()
    assert faults(text.replace("        STEP", f'        STEP + " --param seed {word}"'))


def test_a_rule_that_waits_for_another_environment_is_found():
    text = (ROOT / "rules/split.smk").read_text()
    assert faults(text.replace('venv("curate")', 'venv("tune")')) == ['"curate"']
