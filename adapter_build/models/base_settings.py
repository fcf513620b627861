"""Keys of config.json and tokenizer_config.json that transformers 4 and 5 write differently, read as 5 means them.

Tuning and evaluation run on transformers 4.53, servers on 5: keys that 4.53 would misread are given to it under its own
names (`…_for_tuning`), and a key without such a name is refused. Pure JSON, so that every step can check it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import shown

DEFAULT_THETA = 10000.0
# Rotary embeddings that both compute alike; compare_base compares their numbers.
ROPE_TYPES = ("default", "linear", "llama3", "yarn")
# Classes that both know. Every other is refused; compare_base finds the bases that both know and read differently.
TOKENIZER_CLASSES = (
    "CodeLlamaTokenizer", "CodeLlamaTokenizerFast", "GPT2Tokenizer", "GPT2TokenizerFast", "GPTNeoXTokenizerFast",
    "LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast", "Qwen2Tokenizer", "Qwen2TokenizerFast",
    "TokenizersBackend",
)  # fmt: skip
WHOLE = (None, 1, 1.0)  # partial_rotary_factor: all of a head turns
NO_SCALING = ("rope_theta", "type", "rope_type", "partial_rotary_factor")
REBUILT = ("LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast")
PLAIN = "PreTrainedTokenizerFast"  # tokenizer.json as it stands, in every version
MEND = f"set tokenizer_class to {PLAIN}"


def rope_for_tuning(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """Return `rope_theta` and `rope_scaling` of a config.json that has `rope_parameters` instead, else {}.

    Raises `BadInput` naming the key where 4.53 cannot express it.
    """
    if config.get("partial_rotary_factor") not in WHOLE:
        raise BadInput(f"{where}: partial_rotary_factor: a Llama turns all of a head: set base.name to another base")
    both = [key for key in ("rope_parameters", "rope_scaling") if config.get(key)]
    if not both:
        return {}
    if len(both) > 1 and _turned(config["rope_scaling"], config) != _turned(config["rope_parameters"], config):
        raise BadInput(f"{where}: rope_parameters and rope_scaling do not say the same: remove the wrong one")
    key = both[0]
    given = config[key]
    if not isinstance(given, dict) or any(isinstance(value, dict) for value in given.values()):
        raise BadInput(
            f"{where}: {key} is not one set of parameters for all layers: only such can be tuned and served: "
            "set base.name to another base"
        )
    kind = given.get("rope_type", given.get("type", "default"))
    if given.get("type", kind) != kind:
        raise BadInput(
            f"{where}: {key}: rope_type is {shown(kind)} and type {shown(given['type'])}: leave one of them out"
        )
    if kind not in ROPE_TYPES:
        raise BadInput(
            f"{where}: {key}: rope_type is {shown(kind)}, which transformers 4.53 (tuning) and servers compute "
            f"differently or not at all (known: {', '.join(ROPE_TYPES)}): set base.name to another base"
        )
    if given.get("partial_rotary_factor") not in WHOLE:
        raise BadInput(
            f"{where}: {key}: partial_rotary_factor: a Llama turns all of a head: set base.name to another base"
        )
    if kind == "linear" and isinstance(given.get("factor"), int):
        raise BadInput(
            f"{where}: {key}: factor is {shown(given['factor'])}, which vLLM does not take: write "
            f"{shown(given['factor'])}.0"
        )
    outside = config.get("rope_theta")
    if None not in (outside, given.get("rope_theta")) and outside != given["rope_theta"]:
        raise BadInput(
            f"{where}: {key}: rope_theta is {shown(given['rope_theta'])} in it, and {shown(outside)} beside it: remove "
            "the wrong one"
        )
    if key == "rope_scaling" and "rope_theta" not in given:
        return {}  # the old keys, which both know
    scaling = {name: value for name, value in given.items() if name not in NO_SCALING}
    if kind == "llama3":  # transformers 5 fills it in
        scaling.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    return {
        "rope_theta": given.get("rope_theta", DEFAULT_THETA if outside is None else outside),
        "rope_scaling": None if kind == "default" else {"rope_type": kind, **scaling},
    }


def dtype_for_tuning(config: Mapping[str, Any]) -> str | None:
    """Return the dtype's name where a config.json has `dtype` alone, and not `torch_dtype`."""
    return config.get("dtype") if not config.get("torch_dtype") else None


def tokens_for_tuning(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the special tokens of a tokenizer_config.json as 4.53 takes them, where 5 wrote them; else {}."""
    extra = settings.get("extra_special_tokens")
    if not isinstance(extra, list):
        return {}
    every = [*(settings.get("additional_special_tokens") or []), *extra]
    return {"extra_special_tokens": {}, "additional_special_tokens": list(dict.fromkeys(map(_content, every)))}


def check_settings(
    config: Mapping[str, Any], settings: Mapping[str, Any], tokenizer: Mapping[str, Any], where: Mapping[str, Path]
) -> None:
    """Refuse a base that tuning and servers are known to read differently, or not at all; raises `BadInput`.

    `where` has the paths of the files by name.
    """
    rope_for_tuning(config, where["config.json"])
    path = where["tokenizer_config.json"]
    name = settings.get("tokenizer_class")
    if name is not None and name not in TOKENIZER_CLASSES:
        raise BadInput(
            f"{path}: tokenizer_class is {shown(name)}, which not every environment knows (known: "
            f"{', '.join(TOKENIZER_CLASSES)}): {MEND}, if tokenizer.json is all that it reads"
        )
    if name in (None, *REBUILT) and "ByteLevel" in _kinds(tokenizer.get("pre_tokenizer")):
        raise BadInput(
            f"{path}: tokenizer_class is {shown(name)}, and tokenizer.json is byte-level: servers (transformers 5) "
            f"would rebuild it as SentencePiece's and lose every blank: {MEND}"
        )
    if settings.get("add_eos_token"):
        raise BadInput(
            f"{path}: add_eos_token is set: some servers would put the end token behind every prompt, before the "
            "answer: remove it"
        )
    extra = settings.get("extra_special_tokens")
    if not isinstance(extra, dict | list | None):
        raise BadInput(f"{path}: extra_special_tokens is neither a list nor an object: remove it")


def _turned(given: Any, config: Mapping[str, Any]) -> Any:
    """Return rope_parameters or rope_scaling in one form, for comparison."""
    if not isinstance(given, dict):
        return given
    kind = given.get("rope_type", given.get("type", "default"))
    theta = given.get("rope_theta", config.get("rope_theta"))
    return {**{key: given[key] for key in given if key not in NO_SCALING}, "rope_type": kind, "rope_theta": theta}


def _content(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else str(token)


def _kinds(part: Any) -> set[str]:
    """Return the types of a tokenizer.json's part, and of those that it is a sequence of."""
    if not isinstance(part, dict):
        return set()
    inner = [*part.get("pretokenizers", []), *part.get("normalizers", [])]
    return {str(part.get("type"))}.union(*map(_kinds, inner))
