"""DSSE envelopes: a statement as bytes, and signatures over exactly those bytes (DSSE 1.0, as in-toto uses it)."""

import base64
import binascii
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adapter_build.core import strict_json
from adapter_build.core.regular_file import read_regular
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.attestation_schema import LONGEST_ENVELOPE, PAYLOAD_TYPE, check_envelope, check_statement
from adapter_build.hermetic.keys import PrivateKey, PublicKey


def seal(statement: dict[str, Any], key: PrivateKey | None) -> dict[str, Any]:
    """Return the envelope of a statement, signed if a key is given."""
    payload = json.dumps(statement, indent=1, sort_keys=True).encode()
    signatures = []
    if key:
        signature = key.sign(authenticated(payload))
        signatures = [{"keyid": key.public.id, "sig": base64.b64encode(signature).decode()}]
    return {"payloadType": PAYLOAD_TYPE, "payload": base64.b64encode(payload).decode(), "signatures": signatures}


def parse_envelope(content: bytes | str) -> dict[str, Any]:
    """Return the envelope in a JSON text. Raises `Malformed`."""
    envelope = strict_json.loads(content, LONGEST_ENVELOPE)
    check_envelope(envelope)
    return envelope


def payload(envelope: dict[str, Any]) -> bytes:
    """Return the bytes that were signed. Raises `Malformed` unless `envelope` is one."""
    check_envelope(envelope)
    return _decoded(envelope["payload"])


def unseal(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return the statement, every field of it checked, whoever signed it. Raises `Malformed`."""
    statement = strict_json.loads(payload(envelope), LONGEST_ENVELOPE)
    check_statement(statement)
    return statement


def read_statement(path: Path) -> dict[str, Any]:
    """Return the statement in an envelope's file. Raises as `unseal` does, and `OSError`."""
    return unseal(parse_envelope(read_regular(path, LONGEST_ENVELOPE)))


def signer(envelope: dict[str, Any], keys: Iterable[PublicKey]) -> PublicKey | None:
    """Return the first of the keys that made one of the signatures; None if none did. Key ids prove nothing."""
    content = authenticated(payload(envelope))
    signatures = [_decoded(entry["sig"]) for entry in envelope["signatures"]]
    return next((key for key in keys if any(key.signed(signature, content) for signature in signatures)), None)


def authenticated(content: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding (PAE) of a payload: the bytes that are signed."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(content), content)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Malformed(f"its envelope is not in base64 ({error})") from None
