"""Signing keys: ECDSA on P-256 with SHA-256, in PEM files. OpenSSF's model signing takes them too."""

import hashlib
import hmac
import os
from pathlib import Path
from shlex import quote

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from adapter_build.core.atomic_file import replacing
from adapter_build.core.faults import BadInput

OWN = Path(".keys/builder.pem")  # the key that the first build makes
ECDSA = ec.ECDSA(SHA256())


class PublicKey:
    """A key that verifies signatures. `id` is the sha256 of its SubjectPublicKeyInfo, in hexadecimal."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self.id = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
        self.pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signed(self, signature: bytes, content: bytes) -> bool:
        """Tell whether this key made the signature over these bytes."""
        try:
            self._key.verify(signature, content, ECDSA)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """A key that signs. `public` is its public half."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    def sign(self, content: bytes) -> bytes:
        """Return the signature over these bytes."""
        return self._key.sign(content, ECDSA)

    def derived(self, purpose: bytes) -> bytes:
        """Return a secret (32 bytes) for one purpose: an HMAC-SHA256, from which the key cannot be derived."""
        secret = self._key.private_numbers().private_value.to_bytes(32, "big")
        return hmac.new(secret, purpose, hashlib.sha256).digest()


def public_half(path: Path) -> Path:
    """Return the path of the public half of a private key."""
    return path.with_suffix(".pub.pem")


def make_key(name: str) -> None:
    """Make a private key that this user alone can read, and its public half beside it.

    Do nothing where the file exists, or for an empty name (no key is wanted).
    """
    path = Path(name)
    if not name or path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    with replacing(path) as part:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public_half(path).write_bytes(PublicKey(key.public_key()).pem)


def private_key(path: Path) -> PrivateKey:
    """Read a private key. Raises `BadInput` where there is none, it is of another kind, or others can read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise BadInput(f"{path}: others can read this private key: chmod 600 {quote(str(path))}")
        # model_signing takes its password the same way, but from its command line.
        password = os.environ.get("SIGNING_KEY_PASSWORD", "").encode() or None
        key = load_pem_private_key(path.read_bytes(), password)
    except OSError as error:
        raise BadInput(f"signing.key: {path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput(f"signing.key: {path}: {error} (SIGNING_KEY_PASSWORD has its password, if it has one)") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise BadInput(f"signing.key: {path}: {_EXPECTED}")
    return PrivateKey(key)


def public_key(path: Path) -> PublicKey:
    """Read a public key. Raises `BadInput` where there is none or it is of another kind."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{path}: no public key ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise BadInput(f"{path}: {_EXPECTED}")
    return PublicKey(key)


_EXPECTED = "not an EC key on P-256: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
