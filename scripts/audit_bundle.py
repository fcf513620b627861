"""Whether a staged adapter is what its bundle says, beside its build or anywhere else."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import audit_checks as checks
from adapter_bundle import model_signed, read_bundle
from audit_checks import Finding, altered
from hash_files import hash_files
from hermetic.artifacts import BUNDLE, SIGNATURE
from hermetic.keys import public_key
from lineage import Step
from removal import removal


def attestations(steps: dict[str, Step], keys: Sequence[Path]) -> Iterator[Finding]:
    """Check attestations by themselves: their form, their signatures, how they fit together."""
    trusted = [public_key(path) for path in keys]
    return chain(checks.forms(steps), checks.signatures(steps, trusted), checks.chain(steps), checks.promised(steps))


def companions(
    folder: Path, attested: dict[str, str], sound: bool, keys: Sequence[Path], certificates: Sequence[Path]
) -> Iterator[Finding]:
    """Check the bundle and the signature of an adapter that lies in its build, whose own files were checked before."""
    again = removal(folder / "README.md")
    if not (folder / BUNDLE).is_file():
        yield Finding("missing", str(folder / BUNDLE), "the attestations that travel with the adapter", again)
        return
    steps, findings = _bundle(folder, keys, again)
    yield from findings
    for name, digest in _staged(steps).items():
        if attested.get(name) != digest:
            yield Finding("chain", str(folder / BUNDLE), f"it is about another {name} ({digest[:12]}…)", again)
            sound = False
    if sound:
        yield from _signature(folder, keys, certificates, again)


def adapter(folder: Path, keys: Sequence[Path], certificates: Sequence[Path]) -> Iterator[Finding]:
    """Check a staged adapter by its bundle alone."""
    again = "fetch the adapter again"
    steps, findings = _bundle(folder, keys, again)
    yield from findings
    staged = _staged(steps)
    if len({name.rpartition("/")[0] for name in staged}) != 1:
        if steps or not findings:
            yield Finding("attestation", str(folder / BUNDLE), "it does not lead to one adapter", again)
        return
    wanted = {name.rpartition("/")[2]: digest for name, digest in staged.items()}
    here = {path.name: path for path in folder.iterdir() if path.name not in (BUNDLE, SIGNATURE)}
    digests = hash_files(path for path in here.values() if path.is_file() and not path.is_symlink())
    for name, digest in wanted.items():
        path = folder / name
        if name not in here:
            yield Finding("missing", str(path), "it is part of the adapter", again)
        elif path not in digests:
            yield Finding("altered", str(path), "a link or a folder in place of a file", again)
        elif digests[path] != digest:
            yield altered(str(path), digests[path], digest, again)
    for name in sorted(set(here) - set(wanted)):
        yield Finding("foreign", str(here[name]), "it is no part of the adapter", removal(here[name], ""))
    if {path.name: digest for path, digest in digests.items()} == wanted:
        yield from _signature(folder, keys, certificates, again)


def _bundle(folder: Path, keys: Sequence[Path], again: str) -> tuple[dict[str, Step], list[Finding]]:
    """Return the steps of a bundle, and what does not hold of them by themselves."""
    bundle = folder / BUNDLE
    if bundle.is_symlink():
        return {}, [Finding("altered", str(bundle), "a link in place of a file", again)]
    try:
        steps = read_bundle(bundle)
    except (OSError, ValueError) as error:
        return {}, [Finding("attestation", str(bundle), str(error), again)]
    return steps, list(attestations(steps, keys))


def _staged(steps: dict[str, Step]) -> dict[str, str]:
    """Return the files that a bundle leads to, with their digests: what those steps made that no step read from."""
    read = {name for step in steps.values() for name in step.read}
    last = [step for step in steps.values() if not read & step.made.keys()]
    return {name: digest for step in last for name, digest in step.made.items()}


def _signature(folder: Path, keys: Sequence[Path], certificates: Sequence[Path], again: str) -> Iterator[Finding]:
    if (keys or certificates) and (reason := model_signed(folder, list(keys), list(certificates))):
        yield Finding("signature", str(folder / SIGNATURE), f"does not hold: {reason}", again)
