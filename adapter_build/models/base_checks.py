"""Checks of a base model: Llama-shaped, whole, in full precision, with one end token that generation obeys.

The weights are checked by the headers of their files alone: in a second, of any size.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import shown
from adapter_build.core.strict_json import given_object
from adapter_build.models.base_settings import check_settings
from adapter_build.models.llama_shape import LlamaShape, positions, shape_of
from adapter_build.models.safetensors_file import BITS, DTYPES, read_header
from adapter_build.models.tokenizer_files import MEND, TokenizerFiles, check_end
from adapter_build.models.weight_files import FETCH, INDEX, SINGLE, weight_files

ARCHITECTURE = "LlamaForCausalLM"
TOKENIZER = ("tokenizer_config.json", "tokenizer.json")
QUANTISED = ("quantization_config", "compression_config")  # keys of config.json
# Endings of the tensors that quantisers write: GPTQ, AWQ; bitsandbytes; FP8; compressed-tensors.
PACKED = (
    ".qweight", ".qzeros", ".scales", ".g_idx", ".absmax", ".quant_map", ".SCB", ".weight_scale", ".weight_scale_inv",
    ".input_scale", ".weight_packed", ".weight_shape", ".weight_zero_point",
)  # fmt: skip
IN_FULL = "take the base in full: the repository it was quantised from, or one that its maker gives as bfloat16"
BUFFER = "rotary_emb.inv_freq"  # computed anew by every reader


def named(files: Iterable[Path]) -> dict[str, Path]:
    """Return the files by base name."""
    return {path.name: path for path in files}


def check_base(files: Iterable[Path]) -> None:
    """Check a base's Hugging Face files. Raises `BadInput` naming the file and its fault."""
    by_name = named(path for path in files if not path.is_dir())
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if name not in by_name:
            raise BadInput(f"the base has no {name}: {MEND}")
    config, shape = read_shape(by_name)
    check_base_weights(by_name, config, shape)
    check_tokens(by_name, config, shape.vocabulary)


def read_shape(by_name: Mapping[str, Path]) -> tuple[dict[str, Any], LlamaShape]:
    """Return a base's config.json, checked, and the shape that it gives. Raises `BadInput`."""
    where = by_name["config.json"]
    config = given_object(where, MEND)
    check_llama(config, where)
    check_quantisation(config, where)
    settings, tokenizer = (given_object(by_name[name], MEND) for name in TOKENIZER)
    check_settings(config, settings, tokenizer, by_name)
    shape = shape_of(config, where)
    positions(config, where)
    return config, shape


def check_tokens(by_name: Mapping[str, Path], config: Mapping[str, Any], rows: int) -> None:
    """Check a base's tokenizer; the base's embedding has `rows` tokens. Raises `BadInput`."""
    tokens = TokenizerFiles(by_name)
    check_end(tokens, by_name, config)
    check_vocabulary(tokens, rows, by_name["config.json"])


def check_llama(config: dict[str, Any], where: Path) -> None:
    """Refuse a config.json that is not of a Llama-shaped model."""
    if config.get("model_type") != "llama" or config.get("architectures") != [ARCHITECTURE]:
        raise BadInput(
            f"{where}: a {shown(config.get('model_type'))} model with architectures "
            f"{shown(config.get('architectures'))}, but only Llama-shaped bases ('llama', ['{ARCHITECTURE}']) can be "
            "tuned and served: set base.name to another base"
        )


def check_vocabulary(tokens: TokenizerFiles, rows: int, where: Path) -> None:
    """Refuse a tokenizer that uses a token for which the base has no row."""
    text, number = max(tokens.used(), key=lambda token: token[1], default=("", -1))
    if number >= rows:
        raise BadInput(
            f"{tokens.tokenizer}: token {shown(text)} has the number {number}, but vocab_size in {where} is {rows}: "
            "take tokenizer and weights of one base"
        )


def check_quantisation(config: Mapping[str, Any], where: Path) -> None:
    """Refuse a config.json of quantised weights."""
    for key in QUANTISED:
        if (found := config.get(key)) is not None:
            method = found.get("quant_method") if isinstance(found, dict) else found
            raise BadInput(
                f"{where}: {key} is set ({method}): quantised weights are not tuned or served here: {IN_FULL}"
            )


def check_base_weights(by_name: Mapping[str, Path], config: Mapping[str, Any], shape: LlamaShape) -> None:
    """Refuse weights that config.json and index do not describe: a file, a tensor, its shape or its type."""
    weights = weight_files(by_name, by_name.get(INDEX, Path(INDEX)), "the base")
    if weights.others:
        named = f"{INDEX} does not name it" if weights.placed else f"its weights are {SINGLE}"
        raise BadInput(f"{by_name[weights.others[0]]}: is no file of the base, {named}: leave it out")
    main = INDEX if weights.placed else SINGLE
    if (other := config.get("transformers_weights")) not in (None, main):
        raise BadInput(f"{by_name['config.json']}: transformers_weights is {other!r}, expected {main!r}: leave it out")
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in weights.names:
        if name == INDEX:
            continue
        for tensor, entry in read_header(by_name[name], FETCH, BITS)[1].items():
            if weights.placed and weights.placed.get(tensor) != name:
                said = f"places it in {weights.placed[tensor]}" if tensor in weights.placed else "does not name it"
                raise BadInput(f"{by_name[name]}: has tensor {tensor}, but {INDEX} {said}: {FETCH}")
            found[tensor] = (name, entry)
    if absent := sorted(set(weights.placed) - set(found)):
        raise BadInput(
            f"{by_name[weights.placed[absent[0]]]}: has no tensor {absent[0]}, which {INDEX} places there: {FETCH}"
        )
    _check_tensors(by_name, found, shape)


def _check_tensors(
    by_name: Mapping[str, Path], found: Mapping[str, tuple[str, dict[str, Any]]], shape: LlamaShape
) -> None:
    config = by_name["config.json"]
    wanted = shape.tensors()
    optional = {"lm_head.weight": (shape.vocabulary, shape.hidden)} if shape.tied else {}
    for tensor, (name, entry) in sorted(found.items()):
        where = f"{by_name[name]}: tensor {tensor}"
        if tensor.endswith(PACKED) or (entry["dtype"] not in DTYPES and not tensor.endswith(BUFFER)):
            raise BadInput(
                f"{where} is {entry['dtype']}, as quantised weights are; expected {', '.join(DTYPES)}: {IN_FULL}"
            )
        if tensor.endswith(BUFFER):
            continue
        if tensor not in wanted and tensor not in optional:
            keys = {".bias": "attention_bias and mlp_bias", "lm_head.weight": "tie_word_embeddings"}
            key = next((key for end, key in keys.items() if tensor.endswith(end)), "num_hidden_layers")
            raise BadInput(
                f"{where} does not belong to the model that {config} describes (see {key}): {FETCH}, or correct it"
            )
        expected = wanted.get(tensor) or optional[tensor]
        if tuple(entry["shape"]) != expected:
            raise BadInput(
                f"{where} has shape {entry['shape']}, but {config} asks for {list(expected)}: {FETCH}, or correct it"
            )
    if missing := [tensor for tensor in wanted if tensor not in found]:
        raise BadInput(
            f"the base's weights lack {len(missing)} of the {len(wanted)} tensors that {config} asks for, the first "
            f"{missing[0]}: {FETCH}, or correct it"
        )
