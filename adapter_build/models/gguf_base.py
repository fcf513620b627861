"""A base that is one GGUF file, as Hugging Face files: weights in float32, its tokenizer, and one end token."""

import json
import os
import struct
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"  # transformers' bar would be drawn into the step's log; read on import

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from adapter_build.core.faults import BadInput

# Names of the machine or of transformers' version: nothing of the model.
NOISE = ("_name_or_path", "_model_name_or_path", "_from_model_config", "transformers_version")
CONTROL = 3  # tokenizer.ggml.token_type of a special token
# How a text is cut into words, by tokenizer.ggml.pre.
WORDS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
}


def convert(gguf: Path, fields: dict[str, Any], folder: Path) -> None:
    """Write the Hugging Face files of a GGUF file with these `fields` into `folder`, the weights in float32."""
    tokenizer = gguf_tokenizer(fields, gguf)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, torch_dtype=torch.float32)
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model.config.update(ends)
    model.generation_config = GenerationConfig(**ends)
    # GGUF holds it as float32: 1e-05 came back as 9.999999747378752e-06.
    model.config.rms_norm_eps = _shortest_float32(model.config.rms_norm_eps)
    model.save_pretrained(folder, max_shard_size="1000GB")
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    _rewrite(folder / "config.json")
    _rewrite(folder / "generation_config.json")
    # transformers strips "Fast" from it; only the fast class reads tokenizer.json as it stands, in every version.
    _rewrite(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def _rewrite(path: Path, **changes: str) -> None:
    """Leave out of a JSON file what says nothing of the model, and make the changes."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {key: value for key, value in content.items() if key not in NOISE}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _shortest_float32(number: float) -> float:
    """Return the shortest decimal that is the same float32."""
    for digits in range(1, 10):
        short = float(f"{number:.{digits}g}")
        if struct.pack("f", short) == struct.pack("f", number):
            return short
    return number


def gguf_tokenizer(fields: dict[str, Any], where: object) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a GGUF file's metadata, given as key → value. Raises `BadInput` for an unknown kind.

    transformers' own reader of GGUF tokenizers gets three things wrong for such files (4.53): it takes the start token
    for the end token, puts a start token before every text whatever add_bos_token says, and does not split numbers.
    """

    def field(name: str, default: Any = None) -> Any:
        return fields.get(f"tokenizer.ggml.{name}", default)

    if field("model") != "gpt2" or field("pre") not in WORDS:
        raise BadInput(
            f"{where}: a tokenizer of kind {field('model')!r}, {field('pre')!r} cannot be read from GGUF (only 'gpt2' "
            f"with {', '.join(WORDS)}): take the base's Hugging Face files instead (base.path)"
        )
    tokens = field("tokens")
    merges = [tuple(pair.split(" ")) for pair in field("merges")]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = WORDS[field("pre")]
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, field("token_type"), strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    roles = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
    names = {f"{role}_token": tokens[field(key)] for role, key in roles.items() if field(key) is not None}
    if field("add_bos_token") and "bos_token" in names:
        start = names["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, field("bos_token_id"))]
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    names.setdefault("pad_token", names["eos_token"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=fields.get("tokenizer.chat_template"),
        model_max_length=fields[f"{fields['general.architecture']}.context_length"],
        clean_up_tokenization_spaces=False,
        **names,
    )
