"""The configuration: defaults filled in, and one clear line for each mistake."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from snakemake.iocontainers import Wildcards

from adapter_build.core.faults import BadInput
from adapter_build.models.adapter_checks import ENGINES
from adapter_build.models.base_model import HUGGING_FACE_FILES, base_model
from adapter_build.serving.engine_command import MAX_MODEL_LEN
from adapter_build.serving.request_bounds import MAX_TOKENS
from adapter_build.workflow.configuration import (
    SCHEMA,
    as_given,
    check,
    engine_of,
    of_the_result,
    overlaid,
    overlay,
    read_config,
)
from adapter_build.workflow.rule_options import step_params
from adapter_build.workflow.step_runner import parse

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(monkeypatch):
    """The project's own configuration, as the Snakefile reads it."""
    monkeypatch.chdir(ROOT)
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def test_defaults_are_filled_in(config):
    check(config)
    assert config["curate"]["filtered_splits"] == ["train"]
    assert config["adapters"]["law-titlegen"]["seed"] == 1234
    assert config["evaluate"] == {
        "limit": 128,
        "max_new_tokens": 25,
        "batch_tokens": 8192,
        "resamples": 1000,
        "seed": 1234,
    }


def test_finished_splits_may_be_packed(config, tmp_path):
    for name in ("train.jsonl.gz", "val.json.xz", "test.jsonl"):
        (tmp_path / f"law-qa-{name}").touch()
    config["data"] = {"source": "curated", "path": str(tmp_path)}
    check(config)
    (tmp_path / "law-qa-test.jsonl").rename(tmp_path / "law-qa-test.zip")
    with pytest.raises(BadInput, match=r"data.path: .*law-qa-test.jsonl: no such file"):
        check(config)


def test_every_overlay_is_valid(config):
    overlays = sorted((ROOT / "configs").glob("*.yaml"))
    assert overlays
    for path in overlays:
        merged = copy.deepcopy(config)
        overlay(merged, yaml.safe_load(path.read_text()))
        merged["data"]["path"] = "config.yaml"  # an overlay may name a file that only its user has
        if merged["base"].get("nemo"):
            merged["base"]["nemo"] = "config.yaml"
        check(merged)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("curate", {"min_word": 5}, "curate: unknown key 'min_word'; did you mean 'min_words'?"),
        ("curate", {"min_words": "fifty"}, "curate.min_words: expected integer, found 'fifty'"),
        ("curate", {"min_words": 600}, "curate.min_words is greater than curate.max_words"),
        ("split", {"method": "shufle"}, "split.method: 'shufle' is none of: hash, shuffle; did you mean 'shuffle'?"),
        ("data", {"path": "data/none.json"}, "data.path: data/none.json: no such file"),
        ("data", {"sha256": "abc"}, "data.sha256: 'abc' does not match"),
        ("base", {"name": "smollm2-135m-instuct"}, "did you mean 'smollm2-135m-instruct'?"),
        ("base", {"path": "models/none"}, "base.path: models/none/config.json: no such file"),
        ("data", {"source": "huggingface", "dataset": "law"}, "data.dataset: data.lock.yaml has no 'law'"),
        ("data", {"source": "curated", "path": "data"}, "data.path: data/law-qa-train.jsonl: no such file"),
        ("deploy", {"embedded": {"host": "localhost"}}, "deploy.embedded.host: 'localhost' does not match"),
        ("deploy", {"embedded": {"host": "1.2.3.256"}}, "deploy.embedded.host: '1.2.3.256' does not match"),
        ("deploy", {"embedded": {"refresh_interval": 0}}, "deploy.embedded.refresh_interval: 0 is less than"),
        ("deploy", {"differing_answers": 9}, "deploy.differing_answers: 9 is greater than the maximum of 8"),
        ("deploy", {"differing_answers": -1}, "deploy.differing_answers: -1 is less than the minimum of 0"),
        ("evaluate", {"max_new_tokens": 1025}, "evaluate.max_new_tokens: 1025 is greater than the maximum of 1024"),
        ("deploy", {"embedded": {"context_length": 63}}, "context_length: 63 is less than the minimum of 64"),
        ("adapters", {}, "adapters:"),
        ("adapters", {"a": {"prompt": "prompts/none.jq"}}, "adapters.a.prompt: prompts/none.jq: no such file"),
        ("adapters", {"smollm2-135m-instruct": {"prompt": "config.yaml"}}, "has the base's own name"),
        ("adapters", {"a": {"prompt": "config.yaml", "rank": 64}}, "adapters.a.rank: 64 is more than deploy.max_rank"),
        (
            "adapters",
            {"a": {"prompt": "config.yaml", "alpha": 1e30}},
            "adapters.a.alpha: 1e+30, which with r 8 scales",
        ),
        (
            "adapters",
            {"a": {"prompt": "config.yaml", "alpha": 1e-9}},
            "adapters.a.alpha: 1e-09, which with r 8 scales",
        ),
        ("adapters", {"a": {"prompt": "config.yaml", "rank": 0}}, "adapters.a.rank: 0 is less than the minimum"),
        (
            "adapters",
            {"a": {"prompt": "config.yaml", "micro_batch_size": 2, "global_batch_size": 3}},
            "adapters.a.global_batch_size: must be a multiple of micro_batch_size",
        ),
        ("adapters", {"a": {"prompt": "config.yaml", "target_modules": ["lm_head"]}}, "'lm_head' is none of"),
        ("adapters", {"../a": {"prompt": "config.yaml"}}, "'../a' does not match"),
        ("curate", {"nodes": 2}, "curate.nodes: more than one node needs curate.executor: ray"),
        ("train", {"lr": 1}, "unknown key 'train'"),
    ],
)
def test_a_mistake_is_named(config, section, values, message):
    config[section] = values if section == "adapters" else {**config.get(section, {}), **values}
    with pytest.raises(BadInput) as fault:
        check(config)
    assert message in str(fault.value)
    assert "\n" not in str(fault.value)


MINE = "{my-titles: {prompt: prompts/law-titlegen.jq}}"
AND = f"{MINE[:-1]}, law-titlegen: "


@pytest.mark.parametrize(
    ("overlays", "adapters"),
    [
        ([MINE], ["my-titles"]),
        ([AND + "{}}"], ["law-titlegen", "my-titles"]),
        ([AND + "null}"], ["my-titles"]),
        (["{law-titlegen: {rank: 4}}"], ["law-titlegen"]),
        (["{law-titlegen: {rank: 4}}", MINE], ["my-titles"]),
        ([MINE, "{my-titles: {rank: 4}}"], ["my-titles"]),
        (["null"], None),
        (["{law-titlegen: null}"], None),
        (["{law-titlegen: ~}", MINE], ["my-titles"]),
    ],
)
def test_an_overlay_with_adapters_of_its_own_builds_those(tmp_path, monkeypatch, overlays, adapters):
    """With read_config as with what Snakemake gives, from a file as from --config."""
    monkeypatch.chdir(ROOT)
    files = [tmp_path / f"{number}.yaml" for number in range(len(overlays))]
    for file, content in zip(files, overlays, strict=True):
        file.write_text(f"adapters: {content}\n")
    config = Path("config.yaml")
    given = [
        overlaid(config, *files),
        as_given(config, files, [], alone=False),
        as_given(config, files[:-1], [f"adapters={overlays[-1]}"], alone=False),
    ]
    assert given[0] == given[1] == given[2]
    if adapters is None:
        with pytest.raises(
            BadInput, match=r"^config: (adapters: needs at least one entry: name one|'adapters' is a required prop.*)$"
        ):
            read_config(config, *files)
    else:
        assert sorted(read_config(config, *files)["adapters"]) == adapters
        check(given[1])
        assert None not in of_the_result(given[1])["adapters"].values()


def test_an_adapter_that_no_file_before_has_needs_a_prompt(tmp_path, monkeypatch):
    """As where an overlay for the default's adapter stands after one that brings another."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "mine.yaml").write_text(f"adapters: {MINE}\n")
    with pytest.raises(
        BadInput, match=r"^config: adapters\.law-titlegen: an adapter that no earlier file has needs a prompt: set it"
    ):
        read_config(Path("config.yaml"), tmp_path / "mine.yaml", Path("configs/fast.yaml"))
    assert "law-titlegen" in read_config(Path("config.yaml"), Path("configs/fast.yaml"))["adapters"]


def test_a_negative_number_is_no_option(config):
    words = step_params(lambda *_: "", "curate", "curate_split.py", {"min_score": -1e-5})["options"](Wildcards())
    [[name, value]] = parse([*words, "--log", "logs/x.log", "--", "scripts/curate_split.py"]).param
    assert name == "min-score" and float(value) == -1e-5
    config["base"]["model"] = "-x"
    with pytest.raises(BadInput, match=r"base\.model: a name that begins with - reads as an option"):
        check(config)


def test_a_null_that_drops_nothing_is_a_mistake(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "mine.yaml").write_text("adapters: {law-titelgen: null}\n")
    with pytest.raises(
        BadInput, match=r"adapters.law-titelgen: null drops an entry of an earlier file, .* did you mean 'law-titlegen'"
    ):
        read_config(Path("config.yaml"), tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text("curate: {min_word: null}\n")
    with pytest.raises(BadInput, match=r"curate: unknown key 'min_word'; did you mean 'min_words'"):
        read_config(Path("config.yaml"), tmp_path / "mine.yaml")


def test_null_takes_a_setting_back(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "mine.yaml").write_text("curate:\nsplit: {seed: null}\nadapters: {law-titlegen: {max_steps: ~}}\n")
    (tmp_path / "first.yaml").write_text("curate: {min_words: 3}\nsplit: {seed: 3}\n")
    config = read_config(Path("config.yaml"), tmp_path / "first.yaml", tmp_path / "mine.yaml")
    assert (config["curate"]["min_words"], config["split"]["seed"]) == (50, 42)
    assert config["adapters"]["law-titlegen"]["max_steps"] == 40


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("threads=1", 1), ("tolerance=1e-3", 0.001), ("runtime=host", "host"), ("threads=", None),
        ("base={model: no}", "no"), ("base={model: '8'}", "8"), ("base={'model': 'a: b'}", "a: b"),
    ],
)  # fmt: skip
def test_a_setting_of_a_command_line_is_read_as_one_of_a_file(entry, value):
    config = as_given(Path("none.yaml"), [], [], alone=True)
    overlay(config, as_given(Path("none.yaml"), [], [entry], alone=True))
    found = config[entry.partition("=")[0]]
    assert (found["model"] if isinstance(found, dict) else found) == value


def test_an_answer_leaves_room_for_a_prompt(config):
    config |= {"evaluate": {"max_new_tokens": 100}, "deploy": {"embedded": {"context_length": 100}}}
    message = r"evaluate.max_new_tokens is 100, .* deploy.embedded.context_length \(100\): lower it or raise that"
    with pytest.raises(BadInput, match=message):
        check(config)
    config["deploy"]["embedded"]["context_length"] = 101
    check(config)


def test_no_answer_is_longer_than_the_server_gives(config):
    check(config)
    assert SCHEMA["properties"]["evaluate"]["properties"]["max_new_tokens"]["maximum"] == MAX_TOKENS
    assert config["deploy"]["embedded"]["context_length"] == MAX_MODEL_LEN


def test_only_where_rounding_differs_may_answers(config):
    """Evaluation in bf16 on a GPU, and NIM: their configurations say how many answers may be others, and why."""
    check(config)
    assert config["deploy"]["differing_answers"] == 0
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        text = path.read_text()
        overlay = yaml.safe_load(text)
        allowed = overlay.get("deploy", {}).get("differing_answers", 0)
        assert (allowed > 0) == (path.name.startswith(("llama", "gpu"))), path
        assert not allowed or re.search(r"differing_answers: \d +# .*bf16", text), path


def test_the_report_is_told_no_setting_that_an_adapters_checkpoint_says(config):
    other = copy.deepcopy(config)
    other["adapters"]["law-titlegen"] |= {"checkpoint_interval": 7, "rank": 4}
    check(config)
    check(other)
    assert config != other and of_the_result(config) == of_the_result(other)
    other["evaluate"]["limit"] += 1
    assert of_the_result(config) != of_the_result(other)


def test_files_of_a_quantized_base():
    entry = {"model": "org/m", "licence": "MIT", "files": {"m.gguf": {}}}
    base = base_model({"name": "m", "path": ""}, {"bases": {"m": entry}})
    assert base.quantized
    assert base.acquired_files == ["results/base/m-gguf/m.gguf"]
    assert base.files == [f"results/base/m/{name}" for name in HUGGING_FACE_FILES]
    assert base.config == "results/base/m/config.json"


def test_files_of_a_folder(tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    base = base_model({"name": "mine", "path": str(tmp_path), "model": ""}, {"bases": {}})
    assert not base.quantized
    assert [Path(path).name for path in base.source_files] == ["config.json", "model.safetensors", "tokenizer.json"]
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"has no \*\.safetensors"):
        base_model({"name": "mine", "path": str(tmp_path), "model": ""}, {"bases": {}})


@pytest.mark.parametrize(
    ("deploy", "engine"),
    [({}, "embedded"), ({"engine": "nim"}, "nim-2"), ({"engine": "nim", "nim": {"version": 1}}, "nim-1")],
)
def test_the_engine_that_adapters_are_checked_for(config, deploy, engine):
    config["deploy"] = deploy
    check(config)
    assert engine_of(config) == engine and engine in ENGINES
