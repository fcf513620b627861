"""The bundle beside a staged adapter, outside of its digest: the attestations of its ancestry, and a signature.

attestations.intoto.jsonl   a DSSE envelope per line, one for each step of the ancestry, producers before consumers
model.sig                   OpenSSF model signing over the adapter's own files, which `model_signing verify` checks
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.printable import name_shown
from adapter_build.core.regular_file import open_regular, read_regular
from adapter_build.core.strict_json import Malformed
from adapter_build.hermetic.envelope import parse_envelope
from adapter_build.hermetic.variables import paths_of
from adapter_build.lineage.attested_steps import Step, ancestry, read_step
from adapter_build.lineage.results_folder import BUNDLE, SIGNATURE

STAGED = "stage_adapter/"  # begins the names of the steps that stage an adapter
LONGEST_BUNDLE = 2**26  # bytes; that of the default build has 90 thousand

LARGEST_SIGNATURE = 2**24  # bytes


def write_bundle(folder: Path, steps: dict[str, Step], name: str) -> None:
    """Write both files, each atomically, into the folder of the adapter that the step `name` staged.

    STEP_KEY names the key; without one there is no signature. STEP_CERTIFICATES names the key's certificate, if it has
    one, and the chain from it to a root.
    """
    envelopes = [step.envelope for step in ancestry(steps, [name]).values()]
    write_atomically(folder / BUNDLE, "".join(json.dumps(envelope, sort_keys=True) + "\n" for envelope in envelopes))
    key = os.environ.get("STEP_KEY")
    if not key:
        (folder / SIGNATURE).unlink(missing_ok=True)
        return
    from model_signing import hashing, signing  # 0.3 s

    certificates = paths_of("STEP_CERTIFICATES")
    config = signing.Config().set_hashing_config(hashing.Config().set_ignored_paths(paths=[BUNDLE, SIGNATURE]))
    if certificates:
        config.use_certificate_signer(
            private_key=key, signing_certificate=certificates[0], certificate_chain=certificates[1:]
        )
    else:
        config.use_elliptic_key_signer(private_key=key, password=os.environ.get("SIGNING_KEY_PASSWORD"))
    part = folder / f".{SIGNATURE}.{os.getpid()}"
    try:
        config.sign(folder, part)
        part.replace(folder / SIGNATURE)
    finally:
        part.unlink(missing_ok=True)


def read_bundle(path: Path) -> dict[str, Step]:
    """Return the steps of a bundle by the name that each was attested under.

    Raises `Malformed`, naming the line, for a line that is no attestation or a name that comes twice, and `OSError`.
    """
    steps: dict[str, Step] = {}
    for number, line in enumerate(read_regular(path, LONGEST_BUNDLE).splitlines(), 1):
        try:
            step = read_step(parse_envelope(line))
        except Malformed as error:
            raise Malformed(f"line {number} is not an attestation of a step ({error})") from None
        if step.name in steps:
            raise Malformed(f"line {number} attests {name_shown(step.name)} a second time")
        steps[step.name] = step
    return steps


def last_steps(steps: dict[str, Step]) -> list[Step]:
    """Return the last steps of a bundle: those whose outputs no step read."""
    read = {name for step in steps.values() for name in step.read}
    return [step for step in steps.values() if not read & step.made.keys()]


def staged_name(last: Sequence[Step]) -> str:
    """Return the name of the adapter that the last step of a bundle staged.

    Raises `Malformed` unless there is one last step, with all outputs in the adapter's folder of the model store.
    """
    names = {step.name.removeprefix(STAGED) for step in last if step.name.startswith(STAGED)}
    if len(last) != 1 or not names:
        raise Malformed(
            "it does not lead to one adapter: the attestation of its staging is missing, or others are there"
        )
    [name] = names
    if {Path(path).parent.as_posix() for path in last[0].made} != {f"results/loras/{name}"}:
        raise Malformed(f"its last step is not the staging of {name_shown(name)}")
    return name


def model_signed(folder: Path, keys: list[Path], certificates: list[Path]) -> str | None:
    """Return the reason why the signature over an adapter's files does not hold; None if a trusted key made it."""
    from model_signing import verifying

    if not os.path.lexists(folder / SIGNATURE):
        return "there is none"
    try:
        open_regular(folder / SIGNATURE, most=LARGEST_SIGNATURE).close()
    except OSError as error:
        return str(error.strerror)
    configs: list[Any] = [verifying.Config().use_elliptic_key_verifier(public_key=key) for key in keys]
    if certificates:
        configs.insert(0, verifying.Config().use_certificate_verifier(certificate_chain=certificates))
    reasons = []
    for config in configs:
        try:
            config.verify(folder, folder / SIGNATURE)
        except Exception as error:  # of many kinds, from the libraries below it
            reasons.append(" ".join(str(error).split())[:200] or type(error).__name__)
        else:
            return None
    return reasons[-1] if reasons else "no key to check it with"
