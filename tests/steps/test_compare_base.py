"""read_base and compare_base in the real environments: bases read in two ways are refused by key, all others agree.

Bases are drawn by hypothesis from the keys that people's files have; each environment reads all of them in one process.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from tiny_chain import ROOT, refused, run, script

from adapter_build.core.faults import BadInput
from adapter_build.models.base_settings import check_settings
from compare_base import faults

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow  # transformers, twice

TINY = {
    "byte": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
    "metaspace": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
}
CLASSES = [
    "PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast",
    "GPT2Tokenizer", None, "Qwen2TokenizerFast",
]  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

tokenizers = st.fixed_dictionaries(
    {"tokenizer_class": st.sampled_from(CLASSES)},
    optional={
        "add_bos_token": st.booleans(),
        "add_eos_token": st.just(False),
        "add_prefix_space": st.booleans(),
        "legacy": st.booleans(),
        "clean_up_tokenization_spaces": st.booleans(),
        "split_special_tokens": st.booleans(),
        "model_max_length": st.sampled_from([16, 10**30]),
        "extra_special_tokens": st.sampled_from([{}, [], ["<|im_end|>"]]),
    },
)
ropes = st.sampled_from(
    [
        {"rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_parameters": {**LLAMA3, "rope_theta": 5e5, "original_max_position_embeddings": 1024}},
        {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}}, {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_theta": 5e5, "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 1024}},
        {"rope_theta": 5e5, "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 1024},
         "original_max_position_embeddings": 512},
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5e5}},
    ]
)  # fmt: skip
configs = st.tuples(ropes, st.sampled_from([{"torch_dtype": "float32"}, {"dtype": "float32"}, {}]))

# What must be among them: the cases of the field, with the key that the refusal names; None: read alike.
FIELD: dict[str, tuple[str, dict[str, Any], dict[str, Any], str | None]] = {
    "sound": ("byte", {"tokenizer_class": "PreTrainedTokenizerFast"}, {"rope_theta": 5e5}, None),
    "blanks-lost": ("byte", {"tokenizer_class": "LlamaTokenizerFast"}, {"rope_theta": 5e5}, "tokenizer_class"),
    "rope-of-5": (
        "byte", {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}, "dtype": "float32"}, None,
    ),
    "backend": ("byte", {"tokenizer_class": "TokenizersBackend", "is_local": True}, {"rope_theta": 5e5}, None),
    "list": (
        "byte", {"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": ["<|im_end|>"]},
        {"rope_theta": 5e5}, None,
    ),
    "extra-blank": (
        "byte", {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True}, {"rope_theta": 5e5},
        "add_prefix_space",
    ),
    "llama-2": ("metaspace", {"tokenizer_class": "LlamaTokenizer", "legacy": False}, {}, "tokenizer_class"),
    "llama-2-plain": ("metaspace", {"tokenizer_class": "PreTrainedTokenizerFast"}, {}, None),
    "end-behind": ("metaspace", {"tokenizer_class": "LlamaTokenizer", "add_eos_token": True}, {}, "tokenizer_class"),
    "no-bos": ("metaspace", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": None}, {}, "bos_token"),
    "two-dtypes": (
        "byte", {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"rope_theta": 5e5, "torch_dtype": "bfloat16", "dtype": "float32"}, "torch_dtype and dtype",
    ),
    "two-lengths": (
        "byte", {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"rope_theta": 5e5, "original_max_position_embeddings": 512,
         "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 1024}}, "rope_scaling",
    ),
    "no-such-pad": (
        "byte", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}, {"rope_theta": 5e5}, "pad_token",
    ),
}  # fmt: skip


def drawn(strategy: st.SearchStrategy, count: int) -> list[Any]:
    """Return what hypothesis draws, the same in every run."""
    found: list[Any] = []

    @seed(1)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate])
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


@pytest.fixture(scope="module")
def readings(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any, Any]]:
    """Return folder, tuning's and serving's reading of every base by its name."""
    folder = tmp_path_factory.mktemp("bases")
    for name in ("bases", "scratch"):
        (folder / name).mkdir()
    metaspace = folder / "metaspace.json"
    command = [ROOT / ".venvs/tune/bin/python", ROOT / "tests/support/metaspace_tokenizer.py", metaspace]
    subprocess.run(command, check=True)
    sources = {"byte": tiny_base / "tokenizer.json", "metaspace": metaspace}

    def write(name: str, kind: str, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
        own = folder / "bases" / name
        own.mkdir()
        shutil.copy(sources[kind], own / "tokenizer.json")
        settings_ = {"eos_token": None, **TINY[kind], **tokenizer}
        settings_ = {key: value for key, value in settings_.items() if (key, value) != ("tokenizer_class", None)}
        (own / "tokenizer_config.json").write_text(json.dumps(settings_))
        plain = json.loads((tiny_base / "config.json").read_text())
        del plain["rope_theta"], plain["torch_dtype"]
        (own / "config.json").write_text(json.dumps({**plain, **config}))

    for name, (kind, tokenizer, config, _) in FIELD.items():
        write(name, kind, tokenizer, config)
    every = drawn(st.tuples(st.sampled_from(list(TINY)), tokenizers, configs), 18)
    for number, (kind, tokenizer, (rope, dtype)) in enumerate(every):
        write(f"drawn-{number:02}", kind, tokenizer, {**rope, **dtype})
    texts = folder / "texts.json"
    texts.write_text(json.dumps(drawn(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), 40)))
    for environment in ("tune", "serve"):
        (folder / environment).mkdir()
        command = [ROOT / f".venvs/{environment}/bin/python", HERE / "read_bases.py", folder / "bases", texts]
        done = run([*command, folder / environment], folder / "scratch", PYTHONPATH=f"{ROOT}:{ROOT / 'scripts'}")
        assert done.returncode == 0, done.stderr
    return {
        own.name: (own, *(json.loads((folder / part / f"{own.name}.json").read_text()) for part in ("tune", "serve")))
        for own in (folder / "bases").iterdir()
    }


@pytest.mark.parametrize("name", FIELD)
def test_cases_of_the_field(readings: dict[str, tuple[Path, Any, Any]], name: str) -> None:
    fault = next(faults(*readings[name]), None)
    key = FIELD[name][3]
    if key is None:
        assert fault is None
    else:
        assert fault and key in fault and str(readings[name][0]) in fault and ".json: " in fault


def agreeing(readings: dict[str, tuple[Path, Any, Any]]) -> Iterator[tuple[Path, Any, Any]]:
    """Yield the bases that are taken."""
    for folder, tuning, serving in readings.values():
        if next(faults(folder, tuning, serving), None) is None:
            yield folder, tuning, serving


def test_what_is_taken_is_read_alike_on_texts_that_nobody_chose(readings: dict[str, tuple[Path, Any, Any]]) -> None:
    taken = list(agreeing(readings))
    assert len(taken) >= 9
    for folder, tuning, serving in taken:
        assert tuning["drawn"] == serving["drawn"], folder


def test_what_is_refused_is_refused_in_one_line_with_a_mend(readings: dict[str, tuple[Path, Any, Any]]) -> None:
    lines = [next(faults(*found), None) for found in readings.values()]
    refusals = [line for line in lines if line]
    assert len(refusals) >= 9
    assert not [line for line in refusals if "\n" in line or ": " not in line]
    mends = ("set ", "remove ", "write ", "take it out", "name one", "correct ")
    assert not [line for line in refusals if not any(mend in line.rpartition(": ")[2] for mend in mends)], refusals


def test_what_is_known_without_reading_is_refused_by_reading_too(
    readings: dict[str, tuple[Path, Any, Any]],
) -> None:
    """The check that every direct call makes refuses no base that is read alike."""

    def known(folder: Path) -> None:
        by_name = {path.name: path for path in folder.iterdir()}
        names = ("config.json", "tokenizer_config.json", "tokenizer.json")
        config, settings, tokenizer = (json.loads(by_name[name].read_text()) for name in names)
        check_settings(config, settings, tokenizer, by_name)

    for folder, _, _ in agreeing(readings):
        known(folder)
    with pytest.raises(BadInput, match="byte-level"):
        known(readings["blanks-lost"][0])


def test_the_step_writes_facts_or_nothing(readings: dict[str, tuple[Path, Any, Any]], tmp_path: Path) -> None:
    for name in ("sound", "blanks-lost", "llama-2-plain"):
        folder, *both = readings[name]
        paths = [tmp_path / f"{name}.{part}.json" for part in ("tune", "serve")]
        for path, reading in zip(paths, both, strict=True):
            path.write_text(json.dumps(reading))
        facts = tmp_path / f"{name}.facts.json"
        options = {"files": list(folder.iterdir()), "tuning": paths[0], "serving": paths[1], "facts": facts}
        done = script("workflow", "compare_base", tmp_path / "s", **options)
        if name == "blanks-lost":
            refused(
                done, "tokenizer_class", "'may my landlord keep the deposit'", "'maymylandlordkeepthedeposit'",
                "set tokenizer_class to PreTrainedTokenizerFast",
            )  # fmt: skip
            assert not facts.exists()
        else:
            assert done.returncode == 0, done.stderr
            found = json.loads(facts.read_text())
            assert found["adds_bos"] == (name == "llama-2-plain")
            assert set(TINY["byte" if name == "sound" else "metaspace"].values()) <= set(found["special"])
