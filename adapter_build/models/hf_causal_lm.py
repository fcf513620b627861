"""A Hugging Face causal language model as a NeMo model, so that NeMo's own code saves it to one .nemo file.

The .nemo file holds model_config.yaml (`format: hf`), the weights (model_weights.ckpt) and, under their own names, the
base's JSON files. This module imports nemo.core alone: the language-model collection takes twice as long.
"""

import re
from pathlib import Path
from typing import Any

import torch
from nemo.core import ModelPT
from nemo.core.connectors.save_restore_connector import SaveRestoreConnector
from omegaconf import DictConfig, OmegaConf
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_utils import no_init_weights

from adapter_build.models.nemo_archive import CONFIG, write_archive
from adapter_build.models.tuning_reader import config_of, tokenizer_of

FORMAT = "hf"
ATTENTION = "sdpa"
TARGET = "hf_causal_lm.HFCausalLM"  # the model class's name in every file, wherever its module lies
UNIQUE = re.compile(r"^[0-9a-f]{32}_")  # NeMo puts a random prefix before each artifact's name


class SameBytes(SaveRestoreConnector):
    """NeMo's connector, writing an archive whose bytes depend on the model alone."""

    @staticmethod
    def _make_nemo_file_from_folder(filename: str, source_dir: str) -> None:
        members: dict[str, Path | bytes] = {UNIQUE.sub("", path.name): path for path in Path(source_dir).iterdir()}
        text = (Path(source_dir) / CONFIG).read_text(encoding="utf-8")
        text = re.sub(r"^target: .*$", f"target: {TARGET}", text, flags=re.MULTILINE)
        members[CONFIG] = re.sub(r"nemo:[0-9a-f]{32}_", "nemo:", text).encode()
        write_archive(filename, members)

    @staticmethod
    def _load_state_dict_from_disk(model_weights: str, map_location: Any = None) -> dict[str, torch.Tensor]:
        # Mapped: the weights are then in memory once, not twice, while they are copied into the model.
        return torch.load(model_weights, map_location="cpu", weights_only=True, mmap=True)


class HFCausalLM(ModelPT):
    """NeMo model around a Hugging Face one: `model` is the transformers model, `tokenizer` its tokenizer."""

    def __init__(self, cfg: DictConfig, trainer: Any = None, model: PreTrainedModel | None = None) -> None:
        super().__init__(cfg=cfg, trainer=trainer)
        files = [Path(self.register_artifact(f"artifacts.{key}", path)) for key, path in cfg.artifacts.items()]
        folder = files[0].parent
        self.tokenizer = tokenizer_of(folder)
        if model is None:
            with no_init_weights():  # they are about to be restored
                made = AutoModelForCausalLM.from_config(
                    config_of(folder), torch_dtype=getattr(torch, cfg.dtype), attn_implementation=ATTENTION
                )
            made.tie_weights()
            model = made
        self.model = model

    @classmethod
    def from_files(cls, files: list[Path]) -> "HFCausalLM":
        """Return the model of Hugging Face files in one folder, in the dtype of its weights."""
        artifacts = {
            path.name.replace(".", "_"): str(path.absolute()) for path in files if path.suffix != ".safetensors"
        }
        folder = files[0].parent
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=config_of(folder), torch_dtype="auto", attn_implementation=ATTENTION
        )
        dtype = str(model.dtype).removeprefix("torch.")
        return cls(OmegaConf.create({"format": FORMAT, "dtype": dtype, "artifacts": artifacts}), model=model)

    @classmethod
    def restore(cls, path: Path) -> "HFCausalLM":
        """Return the model of a .nemo file, on the CPU, in the dtype that its configuration names."""
        return cls.restore_from(str(path), map_location=torch.device("cpu"), save_restore_connector=SameBytes())

    def save(self, path: Path) -> None:
        """Write the .nemo file."""
        self._save_restore_connector = SameBytes()
        self.save_to(str(path.absolute()))

    def setup_training_data(self, train_data_config: Any) -> None:
        """Do nothing: the data is tune_adapter's."""

    def setup_validation_data(self, val_data_config: Any) -> None:
        """Do nothing: the data is tune_adapter's."""

    @classmethod
    def list_available_models(cls) -> list:
        """Return no model: NeMo publishes none of this kind."""
        return []
