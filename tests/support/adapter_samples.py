"""A two-layer Llama with a byte-level tokenizer, and LoRA adapters for it: small, real files, made from numpy alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

MODEL = "example/tiny-llama"
HIDDEN, INNER, HEADS, KV_HEADS, HEAD, LAYERS = 64, 96, 2, 1, 32, 2
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MODULES = {"q_proj": (HIDDEN, HEADS * HEAD), "k_proj": (HIDDEN, KV_HEADS * HEAD), "v_proj": (HIDDEN, KV_HEADS * HEAD),
           "o_proj": (HEADS * HEAD, HIDDEN)}  # fmt: skip
LLAMA3: dict[str, Any] = {  # rotary embeddings as transformers 5 writes them
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}  # fmt: skip
Tensors = dict[str, np.ndarray]


def tensor_name(layer: int, module: str, matrix: str) -> str:
    """Return PEFT's name of a LoRA matrix of an attention projection."""
    return f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{matrix}.weight"


def adapter_config(**changes: Any) -> dict[str, Any]:
    """Return a sound adapter_config.json with `changes`."""
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": MODEL, "r": 4, "lora_alpha": 8,
        "lora_dropout": 0.0, "bias": "none", "target_modules": sorted(MODULES), "inference_mode": True,
        "use_dora": False, "use_rslora": False, "modules_to_save": None, "rank_pattern": {}, **changes,
    }  # fmt: skip


def adapter_tensors(seed: int = 1, rank: int = 4, scale: float = 1.0) -> Tensors:
    """Return sound LoRA weights, large enough to change the base's answers."""
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(LAYERS):
        for module, (inputs, outputs) in MODULES.items():
            tensors[tensor_name(layer, module, "A")] = random.standard_normal((rank, inputs), dtype=np.float32)
            tensors[tensor_name(layer, module, "B")] = scale * random.standard_normal((outputs, rank), dtype=np.float32)
    return tensors


def poisoned() -> Tensors:
    """Return weights that hold a NaN: one request to them, and vLLM answers nobody any more."""
    tensors = adapter_tensors(seed=3)
    tensors[tensor_name(0, "v_proj", "B")][:] = np.nan
    return tensors


def write_adapter(folder: Path, config: dict[str, Any] | None = None, tensors: Tensors | None = None) -> list[Path]:
    """Write an adapter's three files into `folder` and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config or adapter_config(), indent=2))
    save_file(tensors or adapter_tensors(), str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    (folder / "README.md").write_text("# An adapter\n")
    return [folder / name for name in ("adapter_config.json", "adapter_model.safetensors", "README.md")]


def write_base(folder: Path) -> list[Path]:
    """Write the base's Hugging Face files into `folder` and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate([*SPECIALS, *_bytes_as_text()])}
    files = {
        "config.json": _model_config(len(vocabulary)),
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        "special_tokens_map.json": {"bos_token": SPECIALS[1], "eos_token": SPECIALS[2], "pad_token": SPECIALS[0]},
        "tokenizer.json": _tokenizer(vocabulary),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIALS[1], "eos_token": SPECIALS[2],
            "pad_token": SPECIALS[0], "model_max_length": 512,
            "chat_template": "{% for message in messages %}{{ message['content'] }}\n{% endfor %}",
        },
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2))
    save_file(_base_tensors(len(vocabulary)), str(folder / "model.safetensors"), metadata={"format": "pt"})
    return sorted(folder.iterdir())


def _model_config(vocabulary: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "vocab_size": vocabulary, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "float32",
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "attention_bias": False, "mlp_bias": False,
    }  # fmt: skip


def _base_tensors(vocabulary: int) -> Tensors:
    random = np.random.default_rng(7)

    def matrix(outputs: int, inputs: int) -> np.ndarray:
        return random.standard_normal((outputs, inputs), dtype=np.float32) / np.float32(np.sqrt(inputs))

    tensors = {"model.embed_tokens.weight": matrix(vocabulary, HIDDEN), "lm_head.weight": matrix(vocabulary, HIDDEN)}
    letters = [
        number + len(SPECIALS) for number, text in enumerate(_bytes_as_text()) if text.isascii() and text.isalpha()
    ]
    # It writes letters: the other rows of the head are nearly nothing.
    tensors["lm_head.weight"][[row for row in range(vocabulary) if row not in letters]] *= 0.01
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for module, (inputs, outputs) in MODULES.items():
            tensors[f"{prefix}.self_attn.{module}.weight"] = matrix(outputs, inputs)
        for module, (inputs, outputs) in {"gate_proj": (HIDDEN, INNER), "up_proj": (HIDDEN, INNER)}.items():
            tensors[f"{prefix}.mlp.{module}.weight"] = matrix(outputs, inputs)
        tensors[f"{prefix}.mlp.down_proj.weight"] = matrix(HIDDEN, INNER)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{norm}.weight"] = np.ones(HIDDEN, np.float32)
    tensors["model.norm.weight"] = np.ones(HIDDEN, np.float32)
    return tensors


def _bytes_as_text() -> list[str]:
    """Return the 256 characters by which byte-level tokenizers write bytes: printable ones stand for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _tokenizer(vocabulary: dict[str, int]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [{"id": number, "content": text, **plain} for number, text in enumerate(SPECIALS)],
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                  "merges": []},
    }  # fmt: skip
