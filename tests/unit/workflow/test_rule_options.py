"""A rule's options reach the runner and Snakemake's memory alike, each value beside its name."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from snakemake.iocontainers import InputFiles, OutputFiles, Wildcards

from adapter_build.workflow.rule_options import STEP, of_adapter, step_params
from adapter_build.workflow.step_runner import parse

CONFIG = {"adapters": {"a": {"rank": 8, "alpha": 16, "target_modules": ["q_proj", "v_proj"]}}}
JOB = Wildcards(fromdict={"adapter": "a", "split": "{2024} $x"})
# Names as users have them, in which Snakemake would look for wildcards or a shell for words of its own.
ODD = ["raw {a}/it's $HOME.json", 'b "c" `d` {{e}}.json', "x-f;&|*?.json"]


def code(environment, script):
    return f"code of {script} in {environment}"


def said(*words, reads=(), makes=("made",), **options):
    """Return the runner's command line of a rule that says this of its step, for the job `JOB`."""
    params = step_params(code, *words, **options)
    files = params["files"](JOB, input=named(InputFiles, reads), output=named(OutputFiles, makes))
    return [*map(str, params["options"](JOB)), "--log", "logs/x.log", *files, "--", params["script"]]


def named(kind, names):
    return kind(fromdict={name: f"results/{name}" for name in names})


def test_each_value_stands_beside_its_name():
    """1 and 2 exchanged, or 1 become another's 2: as a list no two settings are one another's."""
    settings = of_adapter(CONFIG, ["rank", "alpha", "target_modules"])
    words = step_params(code, "tune", "tune_adapter.py", settings, {"max_steps": 8})["options"](JOB)
    assert words == [
        "--env", "tune", "--param", "rank", 8, "--param", "alpha", 16, "--param", "target-modules", "q_proj", "v_proj",
        "--param", "max-steps", 8,
    ]  # fmt: skip


def test_the_runner_understands_every_option():
    options = {"threads": 3, "devices": 2, "shared_memory": 8192, "ulimits": ["memlock=-1", "nofile=9"], "nodes": 2}
    options |= dict.fromkeys(["loopback", "on_host", "always"], True)
    options |= {"secrets": ["HF_TOKEN", "NGC_API_KEY"], "bundle": "results/loras/{adapter}", "keep": "resume"}
    options |= {"runtime": "docker", "settings": {"checkpoint_interval": 3}, "wildcards": ["split"]}
    params = {"rank": 8, "none": None, "empty": [], "blank": ""}
    planned = parse(said("tune", "tune_adapter.py", params, reads=["base", "base_facts"], **options))
    assert planned.param == [["rank", "8"], ["blank", ""], ["split", "{2024} $x"]]
    assert planned.setting == [["checkpoint-interval", "3"]]
    assert planned.input == [["base", "results/base"], ["base-facts", "results/base_facts"]]
    assert planned.output == [["made", "results/made"]] and str(planned.script) == "scripts/tune_adapter.py"
    told = ("env", "keep", "runtime", "threads", "devices", "shared_memory", "ulimit", "nodes", "secret", "memory")
    assert [getattr(planned, name) for name in told] == [
        "tune", "resume", "docker", 3, 2, 8192, ["memlock=-1", "nofile=9"], 2, ["HF_TOKEN", "NGC_API_KEY"], None
    ]  # fmt: skip
    assert str(planned.bundle) == "results/loras/a"
    assert planned.network and planned.loopback and planned.on_host and planned.always
    bare = parse(said("tune", "tune_adapter.py"))
    assert not (bare.network or bare.loopback or bare.on_host or bare.always or bare.bundle or bare.runtime != "host")


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (("tune", "x.py", {"rank": 1}, {"rank": 1}), {}, "gives two: rank"),
        (("tune", "x.py", {"max_steps": 1, "max-steps": 1}), {}, "gives two: max-steps"),
        (("tune", "x.py", {"split": 1}), {"wildcards": ["split"]}, "gives two: split"),
        (("tune", "x.py", {"rank": 1}), {"settings": {"rank": 1}}, "gives two: rank"),
        (("tune", "x.py", {"resume": 1}), {"keep": "resume"}, "gives two: resume"),
        (("tune", "x.py", {"base": 1}), {"reads": ["base"]}, "gives two: base"),
        (("tune", "x.py"), {"reads": ["made"]}, "gives two: made"),
        (("tune", "x.py"), {"user_files": {"source": ["a"]}, "reads": ["sauce"]}, "no input named source"),
    ],
)
def test_what_a_script_could_not_tell_apart_is_refused(words, options, message):
    with pytest.raises(ValueError, match=message):
        said(*words, **options)


def test_a_step_has_a_script_and_options_that_the_runner_knows():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'script'"):
        said("tune")
    with pytest.raises(TypeError, match="'netwrok'"):
        said("tune", "tune_adapter.py", netwrok=True)
    with pytest.raises(AttributeError, match="shard"):
        said("tune", "tune_adapter.py", wildcards=["shard"])


def test_an_output_without_a_name_is_refused():
    params = step_params(code, "tune", "x.py")
    with pytest.raises(ValueError, match="an output has no name"):
        params["files"](JOB, input=InputFiles(), output=OutputFiles(["results/x"]))


SNAKEFILE = """
from functools import partial
from adapter_build.core.config_paths import plain
from adapter_build.workflow.rule_options import STEP, raised_by_retry, step_params

step = partial(step_params, lambda environment, script: f"code of {script} in {environment}")

rule copy:
    input:
        "waited for.txt",
        source=local(plain(config["odd"])),
        many_files=expand("{name}.txt", name=["waited for", "other"]),
        one="other.txt",
        none=[],
    output:
        made="results/{which}.txt",
        more=["results/{which}.1.txt", "results/{which}.2.txt"],
    log:
        "logs/copy/{which}.log",
    resources:
        **raised_by_retry(mem_mb=100),
    params:
        **step(
            lambda wildcards: wildcards.which, "copy.py", {"text": lambda wildcards: "{which} $(id) 'x'", "n": -1e-5},
            wildcards=["which"], user_files={"source": config["odd"]}, bundle="results/{which}",
        ),
    shell:
        STEP
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The job that Snakemake itself plans of a rule."""
    folder = tmp_path_factory.mktemp("rule")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "config.json").write_text(json.dumps({"odd": ODD}))
    for name in ("waited for.txt", "other.txt", *ODD):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    command = [
        sys.executable, "-m", "adapter_build.workflow.plan_executor", "--workflow-profile", "none", "--cores", "1",
        "--configfile", "config.json", "--", "results/a b.txt",
    ]  # fmt: skip
    environment = {**os.environ, "PLAN": str(folder / "plan.json"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [planned] = json.loads((folder / "plan.json").read_text())["jobs"]
    return planned


def test_snakemake_hands_each_file_and_word_on_as_it_is(job):
    words = shlex.split(job["command"])
    assert words[:2] == STEP.split()[:2]
    planned = parse(words[2:])
    assert planned.input == [["source", *ODD], ["many-files", "waited for.txt", "other.txt"], ["one", "other.txt"]]
    assert planned.output == [["made", "results/a b.txt"], ["more", "results/a b.1.txt", "results/a b.2.txt"]]
    assert planned.param == [["text", "{which} $(id) 'x'"], ["n", "-0.00001"], ["which", "a b"]]
    assert (planned.env, planned.memory, planned.log, planned.bundle) == (
        "a b", 100, Path("logs/copy/a b.log"), Path("results/a b")
    )  # fmt: skip


def test_snakemake_remembers_the_same_words_and_the_states_of_files_that_it_cannot_see(job):
    [options] = [text for text in job["params"] if "--param" in text]
    assert "'--param', 'which', 'a b'" in options and "'--input', 'source', " in options
    assert "'code of scripts/copy.py in a b'" in job["params"] and "'scripts/copy.py'" in job["params"]
    [states] = [text for text in job["params"] if " bytes, " in text]
    assert all(name in eval(states)[at] for at, name in enumerate(ODD[:2]))
    assert len(job["params"]) == 4
