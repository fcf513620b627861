"""The key that signs attestations and adapters: made where there is none, and told."""

from pathlib import Path

from configuration import section
from hermetic.keys import OWN, make_key, private_key, public_half


def own_key(config: Path) -> list[str]:
    """Return lines on this checkout's key; make the default one if it is wanted and missing."""
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
    """Return the public keys that a configuration file trusts, its own builder's first, and the roots of its key."""
    signing = section("signing", config)
    own = public_half(Path(signing["key"])) if signing["key"] else None
    keys = [own] if own and own.is_file() else []
    return [*keys, *map(Path, signing["trusted"])], list(map(Path, signing["certificates"]))[1:]
