"""Write adapters with PEFT itself, one of each kind, and print the fields of its configuration."""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

out = Path(sys.argv[1])
sizes = LlamaConfig(**json.loads((out / "base/config.json").read_text()))
LINEAR = ["q_proj", "v_proj"]
CASES = {
    "plain": {},
    "untyped": {"task_type": None},
    "rslora": {"use_rslora": True},
    "dropout": {"lora_dropout": 0.1},
    **{kind: {"init_lora_weights": kind} for kind in ("gaussian", "orthogonal", "mica", "pissa", "olora")},
    "pissa converted": {"init_lora_weights": "pissa"},
    "every linear": {"target_modules": "all-linear"},
    "dora": {"use_dora": True},
    "bias": {"bias": "lora_only"},
    "head": {"modules_to_save": ["lm_head"]},
    "embeddings": {},
    "ranks": {"rank_pattern": {"q_proj": 2}},
}
for name, changes in CASES.items():
    torch.manual_seed(0)
    model = LlamaForCausalLM(sizes)
    model.name_or_path = "example/tiny-llama"
    options = {"r": 4, "target_modules": LINEAR, "task_type": "CAUSAL_LM", **changes}
    peft = get_peft_model(model, LoraConfig(**options))
    converted = {}
    if name == "pissa converted":
        peft.peft_config["default"].init_lora_weights = True
        peft.save_pretrained(out / "start")
        converted = {"path_initial_model_for_weight_conversion": str(out / "start")}
    for key, value in peft.named_parameters():
        if "lora_" in key:
            value.data += 0.05 * torch.randn_like(value)
    peft.save_pretrained(out / name, save_embedding_layers=name == "embeddings", **converted)
print(json.dumps([field.name for field in dataclasses.fields(LoraConfig)]))
