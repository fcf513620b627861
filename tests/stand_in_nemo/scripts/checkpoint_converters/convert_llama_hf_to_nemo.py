"""Stands in for NeMo 24.07's converter: its options, the base's network, and of the weights one number."""

import json
import tarfile
import tempfile
from argparse import ArgumentParser
from pathlib import Path

import torch
import yaml


def main() -> None:
    """Read Hugging Face files, leave a .nemo as NeMo writes one."""
    parser = ArgumentParser()
    parser.add_argument("--input_name_or_path", type=Path, required=True)
    parser.add_argument("--output_path", type=Path, required=True)
    parser.add_argument("--hparams_file")
    parser.add_argument("--precision", default="16")
    options = parser.parse_args()
    base = json.loads((options.input_name_or_path / "config.json").read_text())
    config = {
        "num_layers": base["num_hidden_layers"], "hidden_size": base["hidden_size"], "mcore_gpt": True,
        "num_attention_heads": base["num_attention_heads"], "num_query_groups": base["num_key_value_heads"],
        "ffn_hidden_size": base["intermediate_size"], "precision": options.precision,
        "tokenizer": {"library": "huggingface", "type": "meta-llama/Meta-Llama-3-8B", "use_fast": True},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model_config.yaml").write_text(yaml.safe_dump(config))
        torch.save({"model.embedding.word_embeddings.weight": torch.zeros(1)}, Path(folder) / "model_weights.ckpt")
        with tarfile.open(options.output_path, "w:") as archive:
            archive.add(folder, arcname="./")


if __name__ == "__main__":
    main()
