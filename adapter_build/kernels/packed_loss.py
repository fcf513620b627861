"""The loss of a pack: documents one after another in one row, each for itself, logits for the answers' tokens alone."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from adapter_build.kernels.llama_layer import FusedLayer
from adapter_build.kernels.packed_attention import Documents
from adapter_build.kernels.packing import rounded_layers

ROWS = 1024  # tokens whose logits are in memory at once


class PackedModel:
    """A transformers Llama whose linear layers have NeMo's LoRA.

    `fused` computes each layer as one function, with FusedLayer's further arguments: `products` and `weights` are of
    the layers that are rounded, others are in full. `recompute` keeps of each layer its input alone, and computes it
    again for its gradients: less memory, a third more time.
    """

    def __init__(
        self,
        model: Any,
        fused: bool,
        recompute: bool,
        products: str = "full",
        weights: str = "full",
        fast: bool = False,
    ) -> None:
        layers = model.model.layers
        rounded = rounded_layers(len(layers))
        kinds = [(products, weights) if number in rounded else ("full", "full") for number in range(len(layers))]
        self._model, self._recompute = model, recompute and not fused
        self._fused = [
            FusedLayer(layer, recompute, *kind, fast) for layer, kind in zip(layers, kinds, strict=True) if fused
        ]
        self._layers = self._fused or [_plain(layer) for layer in layers]
        self.trained = [weight for weight in model.parameters() if weight.requires_grad]
        self._versions: list[int] = []

    def refresh(self) -> None:
        """Take up the adapter's weights as they are now, where a layer keeps them in a form of its own."""
        for layer in self._fused:
            layer.refresh()

    def changed(self) -> bool:
        """Whether an optimizer has changed the adapter's weights since this was asked last."""
        before, self._versions = self._versions, [weight._version for weight in self.trained]
        return before != self._versions

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the sum over a pack's answer tokens of their cross entropy times their weight.

        `input_ids` and `places` are (tokens), `starts` the documents' bounds, `keep` the answer tokens' places in the
        pack, `labels` and `weights` one for each of these.
        """
        if self.changed():
            self.refresh()
        return self.loss_of(batch, Documents.of(batch["starts"], batch["bounds"]))

    def loss_of(self, batch: dict[str, Any], documents: Documents) -> torch.Tensor:
        """Return `loss`, of weights that were refreshed."""
        inner = self._model.model
        x = inner.embed_tokens(batch["input_ids"])
        cos, sin = (part.squeeze(0) for part in inner.rotary_emb(x[None], batch["places"][None]))
        for layer in self._layers:
            if self._recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, documents, cos, sin, use_reentrant=False)
            else:
                x = layer(x, documents, cos, sin)
        x = inner.norm(x[batch["keep"]])
        parts = zip(x.split(ROWS), batch["labels"].split(ROWS), batch["weights"].split(ROWS), strict=True)
        if len(x) <= ROWS or not torch.is_grad_enabled():
            return sum(self._part(*part) for part in parts)
        return sum(checkpoint(self._part, *part, use_reentrant=False, preserve_rng_state=False) for part in parts)

    def _part(self, x: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        logits = self._model.lm_head(x)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return (cross_entropy(logits, labels, reduction="none") * weights).sum()


def _plain(layer: Any) -> Any:
    def compute(x: torch.Tensor, documents: Documents, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        return layer(x[None], position_embeddings=(cos[None], sin[None]), documents=documents)[0][0]

    return compute
