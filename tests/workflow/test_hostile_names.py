"""Names and words as people have them, through make and Snakemake: no wildcard in them, no option, no command."""

import json
import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
from adapter_samples import write_base
from conftest import ROOT, Checkout
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loopback_server import Quiet, serving

from adapter_build.workflow.configuration import of_the_result, read_config
from adapter_build.workflow.planned_steps import planned_steps

CANARY = "sprung"  # of a name that no file of the project has
# What make, a shell, Snakemake, argparse or YAML would take for something else.
ODD = st.sampled_from(
    ["{2024}", "{a,b}", "{{x}}", "<results>", "<x>", "$(id)", "$HOME", "$500", "$$", "`id`", "%", "#", "&", ";", "|",
     '"', "'", "\\", "~", "*", "?", "[a]", "!", "ü", "法", " ", "-", "--", ":", ",", "=", "@", "(", ")", "\u00a0"]
)  # fmt: skip
NAMES = (
    st.lists(ODD | st.sampled_from(string.ascii_letters), min_size=1, max_size=6)
    .map("".join)
    .filter(lambda name: name.strip("~") and "$H" not in name and "/" not in name)
)
FEW = settings(
    derandomize=True, deadline=None, max_examples=2, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkout in a folder with a name of the same kind."""
    made = Checkout(tmp_path_factory.mktemp("odd") / "user's {own} files <x> & $1 für alle")
    made.fill()
    write_base(made.folder / "base")
    return made


@pytest.mark.slow
@FEW
@given(st.lists(NAMES, min_size=12, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_every_step_gets_the_file_that_the_configuration_names(place, names, chance):
    """A folder of programs, raw data and a base with such names: one plan for all of them."""
    folder = place.folder / chance.choice(names)
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.jq").write_text("{input: .question, output: .title}")
    for file in (place.folder / "base").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / f"{names[0]}.json").write_bytes((ROOT / "data/sample/law-questions.json").read_bytes())
    relative = folder.relative_to(place.folder)
    config = {
        "data": {"path": f"./{relative}/{names[0]}.json"},
        "base": {"name": "odd", "path": f"{folder}", "model": names[1]},
        "adapters": {f"a{number}": {"prompt": f"{folder}/{name}.jq"} for number, name in enumerate(names)},
    }
    overlay = place.folder / f"{names[2]}.yaml"
    overlay.write_text(json.dumps(config), encoding="utf-8")
    before = Path.cwd()
    os.chdir(place.folder)
    try:
        steps = planned_steps(["--configfile", str(overlay), "--"])
        settings_read = read_config(Path("config.yaml"), overlay)
    finally:
        os.chdir(before)
        overlay.unlink()
    assert steps["acquire_raw"].input[0] == ["source", config["data"]["path"]]
    assert {Path(path).parent for path in steps["acquire_base"].input[0][1:]} == {folder}
    for number, name in enumerate(names):
        assert steps[f"format_prompts/a{number}/test"].input[0] == ["program", f"{folder}/{name}.jq"]
        assert ["model", names[1]] in steps[f"export_adapter/a{number}"].param
    # The report is told the same settings that every other reader of these files finds.
    [told] = [json.loads(values[0]) for name, *values in steps["report"].param if name == "settings"]
    assert told == json.loads(json.dumps(of_the_result(settings_read)))


@pytest.mark.slow
def test_a_raw_file_with_braces_is_read_and_read_again_when_it_changes(place, tmp_path):
    """From a home folder, into a store there; nothing is named `~` afterwards."""
    raw = tmp_path / "law {2024} <x> O'Brien & $1 für.json"
    raw.write_bytes((ROOT / "data/sample/law-questions.json").read_bytes())
    overlay = tmp_path / "over lay.yaml"
    overlay.write_text(f'data: {{path: "~/{raw.name}"}}\nstore: {{path: "~/{{store}}"}}\ncurate: {{min_score: 1e-3}}\n')
    words = [ROOT / ".venvs/workflow/bin/snakemake", "--cores", "1", "--configfile", overlay, "--"]
    target = place.folder / "results/raw/records.jsonl"

    def run(*more):
        return subprocess.run(
            [*words[:3], *more, *words[3:], "results/raw/records.jsonl"],
            cwd=place.folder, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = run()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "{store}/objects").is_dir() and not (place.folder / "~").exists()
    records = target.read_bytes()
    posts = json.loads(raw.read_text())
    raw.write_text(json.dumps(posts[1:]))
    done = run()
    assert done.returncode == 0 and len(target.read_bytes()) < len(records), done.stderr
    assert "acquire_raw" not in run("--dry-run").stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data: {path: $HOME/law.json}\n", "error: config: data.path: $HOME/law.json: no such file, and variables"),
        ("adapters: {law-titlegen: null}\n", "error: config: adapters: needs at least one entry: name one"),
        ("curate: {min_score: .nan}\n", "error: config: curate.min_score: nan is not a finite number"),
        ("curate: {a: 1, a: 2}\n", "line 1: 'a' stands twice: remove or rename one"),
    ],
)
def test_snakemake_refuses_what_every_reader_refuses(place, tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content)
    done = subprocess.run(
        [ROOT / ".venvs/workflow/bin/snakemake", "--dry-run", "--configfile", tmp_path / "mine.yaml"],
        cwd=place.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode and message in line and "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A folder of commands that write down what make gives them: the words, and the variable Q."""
    folder = tmp_path_factory.mktemp("run")
    for name in ("python", "snakemake"):
        (folder / name).write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            f"open({str(folder / 'said')!r}, 'a').write(json.dumps([{name!r}, *sys.argv[1:]]) + '\\n')\n"
        )
        (folder / name).chmod(0o755)
    return folder


def made(place, stand_in, *words, **variables):
    """Return what a target's commands were given, that of the environment aside."""
    said = stand_in / "said"
    said.unlink(missing_ok=True)
    done = subprocess.run(
        ["make", f"RUN={stand_in}", "-o", "environment", *words, *map("=".join, variables.items())],
        cwd=place.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(place.folder.glob(f"**/{CANARY}*"))
    return [json.loads(line) for line in said.read_text().splitlines()]


HOSTILE = [
    "Do I owe $500, or $1,200 plus $(SHELL)?", f"$(shell touch {CANARY})", f"`touch {CANARY}`; $(touch {CANARY})",
    "it's \"so\"", "--help", "-n", "a\nb\n", "100 % # of it \\ \\\\", "$(error no) $(info x) ${HOME} $$", "$(Q)",
    "{2024} <x> ~ * ?", "ünïcode 法",
]  # fmt: skip
SENTENCES = st.lists(
    ODD | st.sampled_from(["why", "\n", "$(shell touch sprung)", "$@", "$<", "$(Q)"]), min_size=1, max_size=8
)


@settings(
    derandomize=True, deadline=None, max_examples=25, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(st.sampled_from(HOSTILE) | SENTENCES.map(" ".join).filter(str.strip))
def test_a_question_is_asked_as_it_is_typed(place, stand_in, text):
    [words] = made(place, stand_in, "ask", Q=text)
    assert words == ["python", "-m", "adapter_build.cli.ask", "--", text]


def test_a_makefile_that_hands_a_question_on_would_not_pass(tmp_path):
    """The failing twin: what make does with a variable of its command line that a recipe merely exports."""
    (tmp_path / "Makefile").write_text('ask:\n\t@printf "%s" "$$Q"\n')
    done = subprocess.run(["make", "-s", f"Q={HOSTILE[0]}"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout != HOSTILE[0]


@settings(
    derandomize=True, deadline=None, max_examples=10, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(NAMES)
def test_an_overlay_with_any_name_is_one_file_for_every_target(place, stand_in, name):
    file = place.folder / f"{name}.yaml"
    file.touch()
    try:
        for target, option in (("doctor", "--config"), ("build", "--configfile")):
            words = made(place, stand_in, target, CONFIG=file.name)[0]
            at = words.index(option) + 1 + (target == "doctor")
            assert (place.folder / Path(words[at]).expanduser()).samefile(file) and len(words[at:]) <= 3
    finally:
        file.unlink()


TARGETS = ("build", "test-fast", "serve", "ask", "watch", "doctor", "audit", "why", "gc", "images", "pin")


@pytest.mark.parametrize("target", TARGETS)
def test_no_variable_of_make_is_run_and_each_is_its_words(place, stand_in, target, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "b c.yaml").touch()
    evil = f"$(shell touch {CANARY}) $(touch {CANARY}) `touch {CANARY}`;touch {CANARY}"
    said = made(
        place, stand_in, target, CONFIG="a.yaml '~/b c.yaml'", SNAKEMAKE="--config 'x={a: b c}' -- y$1",
        ASK="show 'a $b' ~/c", STEP="s/$t", PORT=evil, CORES="1$", INTERVAL="$6", REGISTRY=evil, ENVIRONMENT="a b",
        PYTEST="-k 'a and b'", UNKNOWN=evil, Q=evil, YES=evil, PARANOID=evil, CHECK="", DATA=evil,
    )  # fmt: skip
    words = [word for call in said for word in call]
    wanted = {
        "build": ["a.yaml", f"{tmp_path}/b c.yaml", "1$", "x={a: b c}", "--", "y$1"],
        "test-fast": ["-k", "a and b"], "serve": ["--port", evil], "ask": [f"http://127.0.0.1:{evil}", "--", evil],
        "watch": ["--interval", "$6"], "doctor": ["config.yaml", "a.yaml", f"{tmp_path}/b c.yaml"],
        "audit": ["show", "a $b", f"{tmp_path}/c"], "why": ["s/$t", "x={a: b c}"], "gc": ["--yes", "y$1"],
        "images": ["a b", evil], "pin": [],
    }[target]  # fmt: skip
    assert set(wanted) <= set(words), words


def test_a_variable_of_the_environment_is_no_command_either(place, stand_in, monkeypatch):
    monkeypatch.setenv("CONFIG", f"$(shell touch {CANARY})")
    monkeypatch.setenv("Q", f"$(shell touch {CANARY})")
    [words] = made(place, stand_in, "ask")
    assert words[-1] == f"$(shell touch {CANARY})"


def test_an_open_quote_stops_make(place, stand_in):
    done = subprocess.run(
        ["make", f"RUN={stand_in}", "doctor", "CONFIG=it's"],
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "CONFIG: a quote is open in it's" in done.stderr


def test_the_server_is_asked_what_was_typed(tmp_path):
    """The whole way: make, ask.py, the jq program, HTTP."""
    asked = []

    class Server(Quiet):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["prompt"])
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            piece = {
                "id": "1",
                "object": "text_completion",
                "created": 0,
                "model": "m",
                "choices": [{"index": 0, "text": "So"}],
            }
            self.wfile.write(f"data: {json.dumps(piece)}\n\ndata: [DONE]\n\n".encode())

    typed = """Do I owe $500, or $1,200 plus $(SHELL)? `id` 'it' "is" 100 % #1 \\n {x} --help"""
    question = f"{typed} $(shell touch {tmp_path}/{CANARY})"
    with serving(Server) as server:
        command = ["make", "ask", f"Q={question}", f"PORT={server.server_port}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["smollm2-135m-instruct", "So", "law-titlegen", "So"]
    assert len(asked) == 2 and all(question in prompt for prompt in asked), asked
    assert not (tmp_path / CANARY).exists()
