"""Make a base of Llama-3.1-8B's shape with random bfloat16 weights, as the .nemo file that tuning starts from.

    python bench/h100_base.py TOKENIZER NEMO [LAYERS]

TOKENIZER is a folder with tokenizer.json and what lies beside it. For speed and memory alone: it knows nothing.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

SHAPE = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}


def main() -> None:
    """Write the file."""
    tokenizer, nemo, *layers = sys.argv[1:]
    from omegaconf import OmegaConf

    from adapter_build.models.hf_causal_lm import FORMAT, HFCausalLM

    shape = {**SHAPE, "num_hidden_layers": int(*layers)} if layers else SHAPE
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
        (Path(folder) / "config.json").write_text(json.dumps(shape))
        artifacts = {path.name.replace(".", "_"): str(path) for path in sorted(Path(folder).iterdir())}
        config = OmegaConf.create({"format": FORMAT, "dtype": "bfloat16", "artifacts": artifacts})
        HFCausalLM(config, model=random_model(shape).cpu()).save(Path(nemo))


def random_model(shape: dict[str, Any] = SHAPE) -> Any:
    """Return a transformers model of random bfloat16 weights, drawn on the GPU: a CPU takes minutes to."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from adapter_build.models.hf_causal_lm import ATTENTION

    torch.manual_seed(0)
    with torch.device("cuda"):
        return AutoModelForCausalLM.from_config(
            LlamaConfig(**shape), torch_dtype=torch.bfloat16, attn_implementation=ATTENTION
        )


class RandomBase:
    """Stand-in for a restored .nemo file of random weights, without the 16 GB of the file."""

    def __init__(self, tokenizer: str) -> None:
        from transformers import AutoTokenizer

        self.tokenizer, self.model = AutoTokenizer.from_pretrained(tokenizer), random_model()


if __name__ == "__main__":
    main()
