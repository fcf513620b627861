"""Preflight of GPU memory: refuse tuning that will not fit before anything is loaded, and name settings that fit."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput, guard
from adapter_build.kernels.packing import GRAPH_STEP, GRAPHS, graph_sizes, pack_count, packs
from adapter_build.models.nemo_archive import read_member
from adapter_build.records.prompts import training_order
from adapter_build.tuning.gpu_memory import MIB, needed, peak
from adapter_build.tuning.layer_memory import Shape, Work
from adapter_build.tuning.pack_settings import incompatible_setting

LEAST = 1024  # tokens: the shortest pack that is proposed


@dataclass(frozen=True)
class Size:
    """A record's tokens, and how many of them are the answer's."""

    tokens: int
    answer: int


@guard
def preflight(options: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], free: int, card: str) -> None:
    """Say what tuning is estimated to take; raise `BadInput` if the card has less. See `estimate`."""
    if found := estimate(options, rows, free, card):
        print(f"{found} MiB were estimated")


def estimate(options: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], free: int, card: str) -> int | None:
    """Return the estimate of the peak in MiB; None for a base that is no Llama.

    `options` are tune_adapter's, `free` the card's bytes that nobody has. Raises `BadInput` if the run takes more.
    """
    try:
        shape = Shape.of(json.loads(read_member(options["base"], "config.json")))
    except KeyError:
        return None
    sizes = _sizes(options["base"], rows, options["sequence_length"])
    order = training_order(len(sizes), options["max_steps"] * options["global_batch_size"], options["seed"])
    return check(shape, options, [sizes[number] for number in order], free, card)


def check(shape: Shape, adapter: Mapping[str, Any], stream: Sequence[Size], free: int, card: str) -> int:
    """Return the estimate in MiB for records in the order that they are trained on; raises `BadInput` as above."""
    work = largest(adapter, stream)
    wanted = needed(shape, adapter, work)
    if wanted > free:
        found = mends(shape, adapter, stream, free)
        raise BadInput(
            f"tuning takes about {wanted // MIB:,} MiB of the GPU's memory, and {card} has {free // MIB:,} MiB free: "
            + (f"set adapters.<name>.{', or '.join(found)}" if found else "no setting makes it fit: take a larger card")
        )
    return peak(shape, adapter, work) // MIB


def estimate_of(config: Mapping[str, Any], adapter: Mapping[str, Any], free: int | None, card: str) -> str:
    """Return in words what an adapter of the configuration takes at the most, its records being as long as they may.

    `config` is the base's config.json; `free` is None where no card is known. Raises `KeyError` for a base that is no
    Llama, `BadInput` as above.
    """
    shape, length = Shape.of(config), adapter["sequence_length"]
    stream = [Size(length, length // 16)] * adapter["global_batch_size"]
    if free is not None:
        check(shape, adapter, stream, free, card)
    return f"tuning takes {needed(shape, adapter, largest(adapter, stream)) // MIB:,} MiB of the GPU at the most"


def largest(adapter: Mapping[str, Any], stream: Sequence[Size]) -> Work:
    """Return the largest pack or micro-batch that prompt_batches makes of the stream."""
    whole, ranks = adapter["global_batch_size"], adapter.get("nodes", 1)
    batches = [stream[at : at + whole] for at in range(0, len(stream), whole)]
    if not adapter["pack_length"]:
        micro = adapter["micro_batch_size"]
        ordered = [sorted(batch, key=lambda size: size.tokens) for batch in batches]
        groups = [batch[at : at + micro] for batch in ordered for at in range(0, len(batch), micro)]
        width = max(size.tokens - 1 for group in groups for size in group)
        answers = max(min(width, sum(size.answer for size in group)) * len(group) for group in groups)
        return Work(micro * width, answers)
    lengths = [[size.tokens for size in batch] for batch in batches]
    count = pack_count(lengths, adapter["pack_length"], ranks)
    found = [
        [batch[number] for number in pack]
        for batch, some in zip(batches, lengths, strict=True)
        for pack in packs(some, count)
        if pack
    ]
    tokens = [sum(size.tokens - 1 for size in pack) for pack in found]
    alone = [len(pack) == 1 for pack in found]
    answers = max(sum(size.answer for size in pack) for pack in found)
    if adapter["kernels"] != "graphed":
        return Work(max(tokens), answers, any(alone))
    filled = graph_sizes(tokens, GRAPH_STEP, GRAPHS)
    return Work(filled[-1], answers, all(alone), len(filled))


def mends(shape: Shape, adapter: Mapping[str, Any], stream: Sequence[Size], free: int) -> list[str]:
    """Return the changes that make it fit: of one key each, if any; else the first of several that does."""
    ways = list(_ways(adapter, max(size.tokens for size in stream)))
    ways = [
        way
        for way in ways
        if not incompatible_setting({**adapter, **way}) and _fits(shape, {**adapter, **way}, stream, free)
    ]
    single: dict[str, str] = {}
    for way in ways:
        if len(way) == 1:
            key, value = next(iter(way.items()))
            single.setdefault(key, f"{key}: {value}")
    several = [" and ".join(f"{key}: {value}" for key, value in way.items()) for way in ways]
    return list(single.values()) or several[:1]


def _fits(shape: Shape, adapter: Mapping[str, Any], stream: Sequence[Size], free: int) -> bool:
    return needed(shape, adapter, largest(adapter, stream)) <= free


def _ways(adapter: Mapping[str, Any], longest: int) -> Iterator[dict[str, Any]]:
    """Yield changes, those that cost the least first: shorter packs or micro-batches, then what makes it slower."""
    if not adapter["pack_length"]:
        micro = adapter["micro_batch_size"]
        yield from ({"micro_batch_size": less} for less in range(micro - 1, 0, -1) if micro % less == 0)
        yield from ({"micro_batch_size": 1, "sequence_length": less} for less in (2048, 1024, 512) if less < longest)
        return
    most = max(LEAST, adapter["sequence_length"])
    shorter = [2**power for power in range(20, 0, -1) if most <= 2**power < adapter["pack_length"]]
    lengths = [{}, *({"pack_length": length} for length in shorter)]
    slower: list[dict[str, Any]] = [{}]
    if adapter["activations"] == "keep":
        slower.append({"activations": "recompute"})
    if adapter.get("weights") == "full":
        slower += [{**way, "weights": "fp8"} for way in slower]
    yield from ({**way, **length} for way in slower for length in lengths if way or length)


def _sizes(base: Path, rows: Sequence[Mapping[str, Any]], most: int) -> list[Size]:
    """Return the records' sizes, as answer_tokens.encode will make them: by the tokenizer alone, without the model."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(read_member(base, "tokenizer.json").decode())
    tokenizer.encode_special_tokens = True  # what speaks of control tokens is text
    prompts = tokenizer.encode_batch([row["input"] for row in rows])
    answers = tokenizer.encode_batch([f" {row['output'].strip()}" for row in rows], add_special_tokens=False)
    return [
        Size(min(len(prompt) + len(answer) + 1, most), len(answer) + 1)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
