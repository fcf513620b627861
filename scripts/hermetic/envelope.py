"""A DSSE envelope: a statement as bytes, and signatures over exactly those bytes (DSSE 1.0, as in-toto uses it)."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hermetic.keys import PrivateKey, PublicKey
from hermetic.regular_file import read_regular

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def seal(statement: dict[str, Any], key: PrivateKey | None) -> dict[str, Any]:
    """Return the envelope of a statement, signed if there is a key."""
    payload = json.dumps(statement, indent=1, sort_keys=True).encode()
    signatures = []
    if key:
        signature = key.sign(authenticated(payload))
        signatures = [{"keyid": key.public.id, "sig": base64.b64encode(signature).decode()}]
    return {"payloadType": PAYLOAD_TYPE, "payload": base64.b64encode(payload).decode(), "signatures": signatures}


def payload(envelope: dict[str, Any]) -> bytes:
    """Return the bytes that were signed. Raises `ValueError` or `KeyError` for what is no envelope."""
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise ValueError(f"payload of type {envelope['payloadType']!r}")
    return base64.b64decode(envelope["payload"], validate=True)


def unseal(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return the statement, whoever signed it. Raises as `payload` does."""
    statement = json.loads(payload(envelope))
    if not isinstance(statement, dict):
        raise ValueError("no statement in it")
    return statement


def read_statement(path: Path) -> dict[str, Any]:
    """Return the statement of an envelope's file. Raises as `unseal` does, and `OSError`."""
    return unseal(json.loads(read_regular(path)))


def signer(envelope: dict[str, Any], keys: Iterable[PublicKey]) -> PublicKey | None:
    """Return the first of the keys that made one of the signatures. What an envelope says of its keys is no proof."""
    content = authenticated(payload(envelope))
    signatures = [base64.b64decode(entry["sig"], validate=True) for entry in envelope["signatures"]]
    return next((key for key in keys if any(key.signed(signature, content) for signature in signatures)), None)


def authenticated(content: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding of a payload, which is what a signature is over."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(content), content)
