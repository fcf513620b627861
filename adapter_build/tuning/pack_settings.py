"""Settings of packs in an adapter's configuration: their plain values, and the combinations that do not work."""

from collections.abc import Mapping
from typing import Any

# Settings that need packs, and their values without any.
UNPACKED = {
    "pack_length": 0, "kernels": "plain", "products": "full", "activations": "keep", "weights": "full",
    "attention": "repeatable",
}  # fmt: skip


def incompatible_setting(adapter: Mapping[str, Any]) -> str | None:
    """Return the first incompatible setting, the reason, and the fix, in one line; None if all settings agree."""
    packed, kernels, dropout = adapter["pack_length"], adapter["kernels"], adapter["dropout"]
    if not packed:
        changed = [key for key, plain in UNPACKED.items() if adapter[key] != plain]
        return f"{changed[0]}: {adapter[changed[0]]} requires packing: set pack_length" if changed else None
    if (micro := adapter["micro_batch_size"]) != 1:
        return f"micro_batch_size: {micro}, but packs count as micro-batches of one record: set it to 1"
    if packed < adapter["sequence_length"]:
        return f"pack_length: {packed} is less than sequence_length, {adapter['sequence_length']}: raise it"
    for key, value in (("products", "fp8"), ("weights", "fp8"), ("attention", "fastest")):
        if adapter[key] == value and kernels == "plain":
            return f"{key}: {value} requires fused layers: set kernels to fused or graphed"
    if adapter["products"] == adapter["weights"] == "fp8":
        return (
            "weights: fp8 gives products in full, and products: fp8 holds weights of its own: set one of them to full"
        )
    if kernels != "plain" and dropout:
        return f"dropout: {dropout:g}, which {kernels} layers do not support: set it to 0, or kernels to plain"
    return None
