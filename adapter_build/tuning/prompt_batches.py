"""Lightning data modules of tuning: examples in micro-batches, or in packs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from adapter_build.kernels.packing import pack_count, packs
from adapter_build.models.answer_tokens import Example, collate, real_tokens


class Prompts(pl.LightningDataModule):
    """Examples in micro-batches, in the order given; within a global batch the short ones come first (less padding).

    `micro` and `whole` are the records of a micro-batch and of a global batch, `pad` the padding token. Rank r of
    `ranks` nodes takes micro-batches r, r + ranks, …
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
        self._pad, self._begin = pad, 0

    def begin_after(self, step: int) -> None:
        """Leave out the micro-batches of the first steps."""
        self._begin = step * self.global_batch_size

    def train_dataloader(self) -> DataLoader:
        """Return the training micro-batches."""
        return self._loader(self._train[self._begin :])

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


@dataclass(frozen=True)
class PackSizes:
    """Sizes of a run's packs: the tokens of each; the most records, answer tokens and tokens of one record in any."""

    tokens: list[int]
    records: int
    answers: int
    longest: int


class Packs(pl.LightningDataModule):
    """Examples in packs of at most `most` tokens: every global batch (`whole` records) has the same number of packs.

    An answer token of a record with n of them weighs packs / (whole · n): the mean over a step's packs is then the mean
    over its records of the mean over their answer tokens, which is the loss of micro-batches of one record. In
    validation each token weighs one. Rank r of `ranks` nodes takes packs r, r + ranks, … of each step.
    """

    def __init__(
        self,
        stream: Sequence[Example],
        validation: Sequence[Example],
        most: int,
        whole: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        super().__init__()
        batches = [stream[at : at + whole] for at in range(0, len(stream), whole)]
        lengths = [[_length(example) for example in batch] for batch in batches]
        self.count = pack_count(lengths, most, ranks)  # packs of a step, on all nodes together
        self._train = [
            _pack([batch[number] for number in pack], self.count / whole)
            for batch, sizes in zip(batches, lengths, strict=True)
            for pack in packs(sizes, self.count)[rank::ranks]
        ]
        self.sizes = PackSizes(
            [pack["tokens"] for pack in self._train],
            max(len(pack["bounds"]) - 1 for pack in self._train),
            max(len(pack["keep"]) for pack in self._train),
            max(map(_length, stream)),
        )
        mine = validation[rank::ranks]
        sizes = [_length(example) for example in mine]
        self._validation = [
            _pack([mine[number] for number in pack], None) for pack in packs(sizes, pack_count([sizes], most))
        ]
        self.micro_batch_size = self.global_batch_size = 1  # finetune asks for both
        self._begin, self._ranks = 0, ranks

    def begin_after(self, step: int) -> None:
        """Leave out the packs of the first steps."""
        self._begin = step * self.count // self._ranks

    def train_dataloader(self) -> DataLoader:
        """Return the training packs."""
        return DataLoader(self._train[self._begin :], batch_size=None, pin_memory=torch.cuda.is_available())

    def val_dataloader(self) -> DataLoader:
        """Return the validation packs."""
        return DataLoader(self._validation, batch_size=None, pin_memory=torch.cuda.is_available())


def _pack(examples: Sequence[Example], weight: float | None) -> dict[str, Any]:
    """Return a pack as `PackedModel.loss` takes it; each record's answer tokens weigh `weight` together, or one each.

    A record's last token is left out: it predicts nothing.
    """
    bounds = [0, *accumulate(_length(example) - 1 for example in examples)]
    begins = list(zip(bounds, examples, strict=False))
    keep, labels, weights = [], [], []
    for begin, example in begins:
        answer = example.tokens[example.prompt :]
        keep += range(begin + example.prompt - 1, begin + len(example.tokens) - 1)
        labels += answer
        weights += [1.0 if weight is None else weight / len(answer)] * len(answer)
    return {
        "input_ids": torch.tensor([token for example in examples for token in example.tokens[:-1]]),
        "tokens": bounds[-1],
        "places": torch.tensor([place for example in examples for place in range(_length(example) - 1)]),
        "starts": torch.tensor(bounds, dtype=torch.int32),
        "bounds": bounds,
        "keep": torch.tensor(keep),
        "labels": torch.tensor(labels),
        "weights": torch.tensor(weights),
    }
