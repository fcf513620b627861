"""The loss of a pack: documents in one row, attention within each, logits for the answers' tokens alone."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from adapter_build.kernels.llama_layer import FusedLayer
from adapter_build.kernels.packed_attention import Documents
from adapter_build.kernels.packing import LOGIT_ROWS, rounded_layers


class PackedModel:
    """A transformers Llama whose linear layers have NeMo's LoRA.

    `fused` computes each layer as one function, with FusedLayer's further arguments: `products` and `weights` apply to
    the layers that are rounded (packing.rounded_layers), the others are in full precision. `recompute` saves each
    layer's input alone, and computes the layer again for its gradients: less memory, a third more time.
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
        """Copy the adapter's weights as they are now into the forms that fused layers keep."""
        for layer in self._fused:
            layer.refresh()

    def changed(self) -> bool:
        """Tell if an optimizer has changed the adapter's weights since the previous call."""
        before, self._versions = self._versions, [weight._version for weight in self.trained]
        return before != self._versions

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the sum over a pack's answer tokens of cross entropy times weight: a scalar, float32.

        `batch` holds `input_ids` and `places`, the positions in each document, both (tokens), int64; `starts`, the
        documents' bounds (documents + 1), int32, and the same as numbers in `bounds`; `keep`, the indices of the tokens
        that predict an answer's token, and their `labels`, both (answers), int64, and `weights` (answers), float32.
        """
        if self.changed():
            self.refresh()
        return self.loss_of(batch, Documents.of(batch["starts"], batch["bounds"]))

    def loss_of(self, batch: dict[str, Any], documents: Documents) -> torch.Tensor:
        """Return `loss` of a batch, for layers that are refreshed already."""
        inner = self._model.model
        x = inner.embed_tokens(batch["input_ids"])
        cos, sin = (part.squeeze(0) for part in inner.rotary_emb(x[None], batch["places"][None]))
        for layer in self._layers:
            if self._recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, documents, cos, sin, use_reentrant=False)
            else:
                x = layer(x, documents, cos, sin)
        x = inner.norm(x[batch["keep"]])
        parts = zip(
            x.split(LOGIT_ROWS), batch["labels"].split(LOGIT_ROWS), batch["weights"].split(LOGIT_ROWS), strict=True
        )
        if len(x) <= LOGIT_ROWS or not torch.is_grad_enabled():
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
