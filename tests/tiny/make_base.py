"""Write a base model for tests: a 2-layer Llama with random weights, the same bytes every time, in about a second.

Run it with the tune environment: `.venvs/tune/bin/python tests/tiny/make_base.py FOLDER [LAYERS]`. Its special tokens
have the numbers of SmolLM2-Instruct's; its byte-level pieces are learned from the LICENSE file: about three letters a
token.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LICENSE = Path(__file__).parents[2] / "LICENSE"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Heads of 32: the smallest that vLLM attends with on a CPU.
VOCABULARY, HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS = 768, 64, 128, 2, 2, 1
SPREAD = 0.3  # wide enough that greedy answers vary from prompt to prompt
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": HIDDEN // HEADS,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "max_position_embeddings": 4096,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KEY_HEADS,
    "pad_token_id": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "vocab_size": VOCABULARY,
}


def make_base(folder: Path, layers: int = LAYERS) -> None:
    """Write the base's Hugging Face files into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([LICENSE.read_text(encoding="utf-8")], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "pad_token": SPECIAL[2], "unk_token": SPECIAL[0]}
    settings = {**roles, "model_max_length": CONFIG["max_position_embeddings"], "clean_up_tokenization_spaces": False}
    _write(folder / "tokenizer_config.json", {**settings, "tokenizer_class": "PreTrainedTokenizerFast"})
    _write(folder / "special_tokens_map.json", roles)
    _write(folder / "config.json", {**CONFIG, "num_hidden_layers": layers})
    _write(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    save_file(_weights(layers), folder / "model.safetensors", metadata={"format": "pt"})


def _weights(layers: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)

    def random(rows: int, columns: int) -> np.ndarray:
        return generator.normal(0, SPREAD, (rows, columns)).astype(np.float32)

    key = CONFIG["head_dim"] * KEY_HEADS
    weights = {
        "model.embed_tokens.weight": random(VOCABULARY, HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, np.float32),
    }
    for number in range(layers):
        layer = f"model.layers.{number}"
        weights[f"{layer}.self_attn.q_proj.weight"] = random(HIDDEN, HIDDEN)
        weights[f"{layer}.self_attn.k_proj.weight"] = random(key, HIDDEN)
        weights[f"{layer}.self_attn.v_proj.weight"] = random(key, HIDDEN)
        weights[f"{layer}.self_attn.o_proj.weight"] = random(HIDDEN, HIDDEN)
        weights[f"{layer}.mlp.gate_proj.weight"] = random(INNER, HIDDEN)
        weights[f"{layer}.mlp.up_proj.weight"] = random(INNER, HIDDEN)
        weights[f"{layer}.mlp.down_proj.weight"] = random(HIDDEN, INNER)
        weights[f"{layer}.input_layernorm.weight"] = np.ones(HIDDEN, np.float32)
        weights[f"{layer}.post_attention_layernorm.weight"] = np.ones(HIDDEN, np.float32)
    return weights


def _write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make_base(Path(sys.argv[1]), *map(int, sys.argv[2:]))
