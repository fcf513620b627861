"""What tuning reads: examples in micro-batches, as Lightning asks for them."""

from collections.abc import Sequence

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from answer_tokens import Example, collate, real_tokens


class Prompts(pl.LightningDataModule):
    """Examples in micro-batches, in the order given; within a global batch the short ones come first (less padding).

    Of `ranks` nodes that tune together each has every `ranks`-th micro-batch, beginning with its own `rank`-th.
    """

    def __init__(
        self,
        stream: Sequence[Example],
        validation: Sequence[Example],
        micro: int,
        whole: int,
        pad: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        super().__init__()
        batches = [sorted(stream[at : at + whole], key=_length) for at in range(0, len(stream), whole)]
        self._train = [example for batch in batches for at, example in enumerate(batch) if at // micro % ranks == rank]
        self._validation = sorted(validation, key=_length)[rank::ranks]
        self.micro_batch_size, self.global_batch_size = micro, whole // ranks  # finetune checks them
        self._pad = pad

    def train_dataloader(self) -> DataLoader:
        """Return the training micro-batches."""
        return self._loader(self._train)

    def val_dataloader(self) -> DataLoader:
        """Return the validation micro-batches."""
        return self._loader(self._validation)

    def _loader(self, examples: list[Example]) -> DataLoader:
        return DataLoader(examples, batch_size=self.micro_batch_size, collate_fn=self._batch)

    def _batch(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        batch = {name: torch.tensor(rows) for name, rows in collate(examples, self._pad).items()}
        return {**batch, "tokens": torch.tensor(real_tokens(examples))}


def _length(example: Example) -> int:
    return len(example.tokens)
