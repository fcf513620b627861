"""Greedy answers of a Llama to many prompts at once, each as it would be alone.

On a GPU a step is recorded once as a CUDA graph: launched one by one, its two thousand kernels would take longer than
they run.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch

from adapter_build.evaluation.answer_batch import AnswerBatch


def answers(
    model: Any, prompts: Sequence[list[int]], most: int, stops: Collection[int], together: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield the number of each prompt, batch by batch, with its answer's tokens, `most` at the most.

    `model` is a transformers Llama, with or without PEFT's LoRA in its layers. An answer ends with the first of
    `stops`, which is its last token then. A batch has `together` tokens of prompts and answers, what fills rows up
    counted, or one prompt.
    """
    for numbers in batches([len(prompt) for prompt in prompts], most, together):
        with torch.inference_mode():
            made = _answer(AnswerBatch(model, [prompts[number] for number in numbers], most), stops)
        yield from zip(numbers, made, strict=True)


def batches(lengths: Sequence[int], most: int, together: int) -> Iterator[list[int]]:
    """Yield the prompts' numbers, those of alike length together, the shortest first."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        if batch and (len(batch) + 1) * (lengths[number] + most) > together:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _answer(batch: AnswerBatch, stops: Collection[int]) -> list[list[int]]:
    """Return the answers of one batch; it ends when all have ended."""
    batch.read()
    made = [[token] for token in batch.tokens[:, 0].tolist()]
    step: Callable[[], None] = batch.step
    for number in range(1, batch.most):
        if all(row[-1] in stops for row in made):
            break
        step()
        for row, token in zip(made, batch.tokens[:, 0].tolist(), strict=True):
            if row[-1] not in stops:
                row.append(token)
        if number == 1 and batch.tokens.is_cuda:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):  # it records and does not run
                batch.step()
            step = graph.replay
    return made
