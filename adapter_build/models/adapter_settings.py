"""Allow-list of PEFT's settings in an adapter_config.json: the keys and values known to be served as trained.

Taken from PEFT 0.21's LoraConfig, from what vLLM 0.32 reads of it, and from older versions' files. A key that is not
here is one of a later PEFT or of another tool. It passes as null, false, [] or {}: thus PEFT writes a feature that is
off, and adapters of its next version stay servable. Anything else there is refused: 0 and "" may mean something.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapter_build.core.printable import shown

CHECKED_APART = ("peft_type", "base_model_name_or_path", "bias", "r", "lora_alpha", "target_modules")
# Initialisations of A and B that leave the base's own weights as they are.
HARMLESS_INITS = ("gaussian", "eva", "orthogonal", "mica")
# Features that change what the adapter computes, or the base below it. Off: null or false; null or []; null or {};
# null alone, where {} would be the feature with its defaults.
FLAGS = ("use_dora", "lora_bias", "fan_in_fan_out", "use_qalora", "ensure_weight_tying")
LISTS = (
    "modules_to_save", "trainable_token_indices", "layer_replication", "layers_to_transform", "layers_pattern",
    "exclude_modules", "target_parameters", "alora_invocation_tokens",
)  # fmt: skip
MAPPINGS = ("rank_pattern", "alpha_pattern", "megatron_config")
VARIANTS = ("use_bdlora", "velora_config", "kasa_config", "monteclora_config", "arrow_config")
# Traces of an initialisation that altered the base: PEFT leaves them where init_lora_weights was set to true after it.
ALTERATIONS = ("loftq_config", "corda_config", "lora_ga_config")

# alpha / r, or with use_rslora alpha / sqrt(r), the factor of every product. In practice it is 0.002 (alpha 1, r 512)
# to 64; the bounds leave a factor of twenty below and of four above. At 1e29 one request fills the engine with Inf and
# NaN, and every later answer, of the base too, is empty; at 1e-324 the adapter is its base.
LEAST_SCALE, GREATEST_SCALE = 1e-4, 256.0

UNSERVED = "which no server serves: train without it"
CONVERT = "convert it with path_initial_model_for_weight_conversion, or train with init_lora_weights true"
EXPORT = "export the adapter again"


@dataclass(frozen=True)
class Setting:
    """A key's values that pass, and for any other the reason and the mend."""

    passes: Callable[[Any], bool]
    reason: str


def _off(*empty: Any) -> Callable[[Any], bool]:
    return lambda value: value is None or any(type(value) is type(plain) and value == plain for plain in empty)


def _null_or(kind: type) -> Callable[[Any], bool]:
    return lambda value: value is None or type(value) is kind


def _harmless_init(value: Any) -> bool:
    return value is None or type(value) is bool or (type(value) is str and value.lower() in HARMLESS_INITS)


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


def _of_llama(value: Any) -> bool:
    """Accept a Llama's class and the library that defines it: PEFT writes them where no task_type was given."""
    return value is None or (
        type(value) is dict
        and set(value) <= {"base_model_class", "parent_library", "unsloth_fixed"}
        and value.get("base_model_class", "LlamaForCausalLM") == "LlamaForCausalLM"
    )


SETTINGS = {
    "auto_mapping": Setting(_of_llama, "which is no LlamaForCausalLM's: train on the base that is served"),
    "eva_config": Setting(_null_or(dict), f"expected an object: {EXPORT}"),
    "inference_mode": Setting(_null_or(bool), f"expected true or false: {EXPORT}"),
    "init_lora_weights": Setting(
        _harmless_init, f"which is not known to leave the base's weights as they are: {CONVERT}"
    ),
    "lora_dropout": Setting(_share, f"expected a number from 0 up to 1, without 1: {EXPORT}"),
    "megatron_core": Setting(lambda value: value in (None, "megatron.core"), UNSERVED),
    "peft_version": Setting(_null_or(str), f"expected a version: {EXPORT}"),
    "qalora_group_size": Setting(
        lambda value: value is None or (type(value) is int and value > 0), f"expected a whole number: {EXPORT}"
    ),
    "revision": Setting(_null_or(str), f"expected a revision of the base: {EXPORT}"),
    "runtime_config": Setting(
        lambda value: value is None
        or (type(value) is dict and all(key == "ephemeral_gpu_offload" for key in value)),
        UNSERVED,
    ),
    "task_type": Setting(lambda value: value in (None, "CAUSAL_LM"), "but a base is served as CAUSAL_LM: train it so"),
    "use_rslora": Setting(_null_or(bool), f"expected true or false: {EXPORT}"),
    **dict.fromkeys(FLAGS, Setting(_off(False), UNSERVED)),
    **dict.fromkeys(LISTS, Setting(_off([]), UNSERVED)),
    **dict.fromkeys(MAPPINGS, Setting(_off({}), UNSERVED)),
    **dict.fromkeys(VARIANTS, Setting(_off(), UNSERVED)),
    **dict.fromkeys(
        ALTERATIONS,
        Setting(
            _off({}), f"which alters the base's weights: {CONVERT}; if it was converted, set the key to null"
        ),
    ),
}  # fmt: skip
UNKNOWN = Setting(
    _off(False, [], {}), "a setting that is not known to be served as trained: train without it, or set it to null"
)


def unserved(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield each key whose value is not known to be served as trained, with reason and mend; the known keys first."""
    for key in sorted(set(config) - set(CHECKED_APART), key=lambda key: (key not in SETTINGS, key)):
        setting = SETTINGS.get(key, UNKNOWN)
        if not setting.passes(config[key]):
            yield f"{key if key.isidentifier() else repr(key)} is {shown(config[key])}, {setting.reason}"


def scale_of(config: Mapping[str, Any]) -> float:
    """Return the factor of every product B·A, as PEFT and vLLM compute it: alpha / r, with rsLoRA alpha / sqrt(r)."""
    return config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])


def odd_scale(config: Mapping[str, Any]) -> str | None:
    """Return the reason if an alpha and a rank, each sound by itself, scale too far; None if they do not."""
    scale = scale_of(config)
    if LEAST_SCALE <= scale <= GREATEST_SCALE:
        return None
    rule = "alpha / sqrt(r)" if config.get("use_rslora") else "alpha / r"
    bound = f"above {GREATEST_SCALE:g}" if scale > 1 else f"below {LEAST_SCALE:g}"
    return f"{config['lora_alpha']:g}, which with r {config['r']} scales by {scale:.6g} ({rule}), {bound}"
