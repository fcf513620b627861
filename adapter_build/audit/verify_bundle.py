"""Check a staged adapter against the bundle that travels with it, beside its build or anywhere else."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from adapter_build.audit.verify_attestations import KEY, UNPROVEN, Finding, altered, check_attestations
from adapter_build.core.digests import hash_files
from adapter_build.core.printable import name_shown, removal
from adapter_build.core.strict_json import Malformed
from adapter_build.lineage.adapter_bundle import last_steps, model_signed, read_bundle, staged_name
from adapter_build.lineage.attested_steps import Step
from adapter_build.lineage.results_folder import BUNDLE, SIGNATURE


def check_companions(
    folder: Path, attested: dict[str, str], sound: bool, keys: Sequence[Path], certificates: Sequence[Path]
) -> Iterator[Finding]:
    """Check the bundle and the signature of an adapter in its build; `sound`: its own files are as attested."""
    again = removal(folder / "README.md")
    if not (folder / BUNDLE).is_file():
        yield Finding("missing", str(folder / BUNDLE), "the attestations that travel with the adapter", again)
        return
    steps, findings = _bundle(folder, keys, again)
    yield from findings
    if fault := _unbound(steps, folder):
        yield Finding("attestation", str(folder / BUNDLE), fault, again)
        sound = False
    for name, digest in _staged(steps).items():
        if attested.get(name) != digest:
            yield Finding("chain", str(folder / BUNDLE), f"it is about another {name} ({digest[:12]}…)", again)
            sound = False
    if sound:
        yield from _signature(folder, keys, certificates, again)


def check_adapter(folder: Path, keys: Sequence[Path], certificates: Sequence[Path]) -> Iterator[Finding]:
    """Check a staged adapter by its bundle alone, wherever it lies."""
    again = "fetch the adapter again"
    steps, findings = _bundle(folder, keys, again)
    yield from findings
    fault = _unbound(steps, folder)
    if fault:
        yield Finding("attestation", str(folder / BUNDLE), fault, again)
    staged = _staged(steps) if len(last_steps(steps)) == 1 else {}
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
        what = "no attestation says that it is part of the adapter"
        yield Finding(
            *(
                ("foreign", str(here[name]), what, removal(here[name], ""))
                if wanted
                else (UNPROVEN, str(here[name]), what)
            )
        )
    if here.keys() == wanted.keys() and {path.name: digest for path, digest in digests.items()} == wanted:
        yield from _signature(folder, keys, certificates, again)


def _bundle(folder: Path, keys: Sequence[Path], again: str) -> tuple[dict[str, Step], list[Finding]]:
    """Return the steps of a bundle, and the findings on these by themselves."""
    bundle = folder / BUNDLE
    if bundle.is_symlink():
        return {}, [Finding("altered", str(bundle), "a link in place of a file", again)]
    try:
        steps = read_bundle(bundle)
    except (OSError, Malformed) as error:
        return {}, [Finding("attestation", str(bundle), getattr(error, "strerror", None) or str(error), again)]
    if not steps:
        return {}, [Finding(UNPROVEN, str(bundle), "it is empty: no attestation says what made the adapter", again)]
    return steps, list(check_attestations(steps, keys))


def _staged(steps: dict[str, Step]) -> dict[str, str]:
    """Return file → sha256 of the outputs of a bundle's last steps."""
    return {name: digest for step in last_steps(steps) for name, digest in step.made.items()}


def _unbound(steps: dict[str, Step], folder: Path) -> str | None:
    """Return the reason why a bundle does not belong to the folder's adapter; None if it does, or has no steps."""
    if not steps:
        return None
    try:
        name = staged_name(last_steps(steps))
    except Malformed as error:
        return str(error)
    here = folder.resolve().name
    return None if name == here else f"it is of the adapter {name}, and this folder is named {name_shown(here)}"


def _signature(folder: Path, keys: Sequence[Path], certificates: Sequence[Path], again: str) -> Iterator[Finding]:
    path = str(folder / SIGNATURE)
    if not keys and not certificates:
        signed = "no key to check it with" if (folder / SIGNATURE).is_file() else "no signature over the files"
        yield Finding(UNPROVEN, path, signed, f"--key {KEY}")
    elif reason := model_signed(folder, list(keys), list(certificates)):
        yield Finding("signature", path, f"does not hold: {reason}", again)


def check_without_bundle(folder: Path, keys: Sequence[Path], certificates: Sequence[Path]) -> Iterator[Finding]:
    """Report that nothing is proven of an adapter's folder without a bundle; check its signature, if it has one."""
    again = "fetch the adapter again, with its attestations"
    yield Finding(UNPROVEN, str(folder / BUNDLE), "it is missing: no attestation says what made the adapter", again)
    yield from _signature(folder, keys, certificates, again)
