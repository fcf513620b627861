"""The tokenizer that a GGUF file describes.

transformers' own reader of GGUF tokenizers gets three things wrong for such files (4.53): it takes the start token for
the end token, puts a start token before every text whatever add_bos_token says, and does not split numbers.
"""

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from adapter_build.core.faults import BadInput

CONTROL = 3  # tokenizer.ggml.token_type of a special token
# How a text is cut into words, by tokenizer.ggml.pre.
WORDS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
}


def gguf_tokenizer(fields: dict[str, Any], where: object) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a GGUF file's metadata, given as key → value. Raises `BadInput` for an unknown kind."""

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
