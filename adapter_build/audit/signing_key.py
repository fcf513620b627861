"""The key that signs attestations and adapters, and the public keys that this checkout trusts."""

import contextlib
from pathlib import Path

from adapter_build.core.faults import BadInput
from adapter_build.core.printable import removal
from adapter_build.hermetic.keys import OWN, make_key, private_key, public_half, public_key
from adapter_build.workflow.configuration import section


def own_key(config: Path) -> list[str]:
    """Return lines on this checkout's key; make the default key if the configuration names it and it is missing."""
    key = section("signing", config)["key"]
    if not key:
        return ["signing.key is empty: nothing is signed"]
    if key == str(OWN):
        make_key(key)
    public = private_key(Path(key)).public
    half = public_half(Path(key))
    if not half.is_file():
        half.write_bytes(public.pem)
    return [
        f"private key  {key}  (yours alone: whoever has it can sign in your name)",
        f"public key   {half}  (give it to those who verify: make audit ASK='verify --key {half}')",
        f"key id       {public.id}",
        f"also         model_signing verify key results/loras/ADAPTER --signature results/loras/ADAPTER/model.sig "
        f"--public_key {half}",
    ]


def trusted(config: Path) -> tuple[list[Path], list[Path]]:
    """Return the public keys that a configuration file trusts, the builder's own first, and the roots of that key.

    The builder's own key is trusted only with its private key beside it: a public half alone came from somebody else.
    """
    signing = section("signing", config)
    keys = _own(Path(signing["key"])) if signing["key"] else []
    return [*keys, *map(Path, signing["trusted"])], list(map(Path, signing["certificates"]))[1:]


def _own(path: Path) -> list[Path]:
    half = public_half(path)
    if not path.is_file() or not half.is_file():
        return []
    other = False
    with contextlib.suppress(BadInput):  # locked, or not ours to read
        other = private_key(path).public.id != public_key(half).id
    if other:
        raise BadInput(f"{half}: not the public half of {path}: {removal(half, ', then make audit ASK=key')}")
    return [half]
