"""Checks of attestations by themselves: form, signatures, how they fit together, the code and images that they name."""

import hashlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shlex import quote

from google.protobuf.json_format import ParseDict, ParseError
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2

from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.core.printable import removal
from adapter_build.hermetic.action import key_of
from adapter_build.hermetic.checkout import git
from adapter_build.hermetic.closure import code_of
from adapter_build.hermetic.envelope import signer, unseal
from adapter_build.hermetic.images import image_of
from adapter_build.hermetic.keys import PublicKey, public_key
from adapter_build.lineage.attested_steps import Step, origins, producers
from adapter_build.lineage.guarantees import promises, unconfined

NOTE = "note"
UNPROVEN = "unproven"
KEY = "PUBLIC_KEY, from its builder and not from there"


@dataclass(frozen=True, order=True)
class Finding:
    """A result of an audit: a fault of some kind, with its mend.

    Kind `unproven` is a claim that may or may not hold; kind `note` is a fact that a reader should know.
    """

    kind: str
    name: str
    what: str
    mend: str = ""


def again(step: Step) -> str:
    """Return the command that makes a step run again."""
    plain = [path for path in step.made if within_results(path)]
    return removal(min(plain)) if plain else "make clean, then make"


def altered(name: str, digest: str | None, attested: str, mend: str) -> Finding:
    """Return the finding on a file that is not as attested; a digest of None: it cannot be read."""
    found = f"sha256 {digest[:12]}…" if digest else "it cannot be read"
    return Finding("altered", name, f"{found}, attested {attested[:12]}…", mend)


def check_attestations(steps: Mapping[str, Step], keys: Sequence[Path]) -> Iterator[Finding]:
    """Check attestations by themselves: their form, their signatures by public `keys`, how they fit together."""
    trusted = [public_key(path) for path in keys]
    yield from check_forms(steps)
    yield from check_signatures(steps, trusted)
    yield from check_chain(steps)
    yield from check_guarantees(steps)


def check_forms(steps: Mapping[str, Step]) -> Iterator[Finding]:
    """Check every statement against in-toto's and SLSA's published messages, and that its outputs lie in results/."""
    for step in steps.values():
        document = unseal(step.envelope)
        try:
            ParseDict(document, statement_pb2.Statement())  # pyright: ignore[reportAttributeAccessIssue] - made as protobuf loads it
            ParseDict(document["predicate"], provenance_pb2.Provenance())  # pyright: ignore[reportAttributeAccessIssue] - the same
        except ParseError as error:
            yield Finding("attestation", step.name, f"no SLSA provenance: {error}", again(step))
        for path in step.made:
            if not within_results(path):
                yield Finding("attestation", step.name, f"says that it made {path!r}, outside of results/", again(step))


def check_guarantees(steps: Mapping[str, Step]) -> Iterator[Finding]:
    """Check that each step's options are those of its action key, and note the limits of its guarantees."""
    for step in steps.values():
        internal = unseal(step.envelope)["predicate"]["buildDefinition"]["internalParameters"]
        if internal["action"].get("params") != step.parameters or key_of(internal["action"]) != step.key:
            yield Finding("attestation", step.name, "its options differ from those in its action key", again(step))
        yield from (Finding(NOTE, step.name, limit) for limit in promises(step))
    yield from (Finding(NOTE, name, confinement) for name, confinement in unconfined(steps.values()))


def within_results(name: str) -> bool:
    """Tell whether a name is a normalized path of a file below results/."""
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and parts[0] == "results" and ".." not in parts and "/".join(parts) == name


def check_signatures(steps: Mapping[str, Step], keys: Sequence[PublicKey]) -> Iterator[Finding]:
    """Check that one of the keys signed every attestation. Without a key nothing is proven, whatever they state."""
    if not keys:
        unsigned = sum(not step.envelope["signatures"] for step in steps.values())
        if unsigned:
            what = f"{unsigned} of {len(steps)} attestations: whoever edits them and the files is not seen"
            yield Finding(UNPROVEN, "unsigned", what, "signing.key in config.yaml, and build anew")
        if unsigned < len(steps):
            yield Finding(UNPROVEN, "attestations", "signed, but no key to check them with", f"--key {KEY}")
        return
    known = {key.id for key in keys}
    for step in steps.values():
        if signer(step.envelope, keys):
            continue
        named = [str(entry.get("keyid")) for entry in step.envelope["signatures"]]
        if not named:
            yield Finding("signature", step.name, "its attestation is not signed", again(step))
        elif known & set(named):
            yield Finding("signature", step.name, "its attestation was changed after it was signed", again(step))
        else:
            mend = f"--key PUBLIC_KEY if you trust it, else {again(step)}"
            yield Finding("signature", step.name, f"signed with a key that is not trusted ({named[0][:12]}…)", mend)


def check_chain(steps: Mapping[str, Step]) -> Iterator[Finding]:
    """Check that every step read each file as its producer left it, and that no file was made twice."""
    made_by = producers(dict(steps))
    for step in steps.values():
        for path in step.made:
            if made_by[path] is not step:
                what = f"{step.name} and {made_by[path].name} both say that they made it"
                yield Finding("attestation", path, what, again(step))
        for path, digest in step.read.items():
            if path in made_by and made_by[path].made[path] != digest:
                left = made_by[path].made[path]
                what = f"read {path} as {digest[:12]}…, but {made_by[path].name} left {left[:12]}…"
                yield Finding("chain", step.name, what, again(step))
            elif path not in made_by and within_results(path):
                yield Finding(
                    "unexplained",
                    path,
                    f"{step.name} read it, but no attestation names the step that made it",
                    removal(path),
                )


def check_code(steps: Mapping[str, Step], root: Path) -> Iterator[Finding]:
    """Check the scripts and locks that ran against those that lie here. An edit of nothing that ran is a note."""
    here: dict[str, dict[str, str]] = {}
    for (path, digest), ran in _ran(steps.values()).items():
        mend = f"git checkout -- {quote(path)}, or make"
        if not (root / path).is_file():
            yield Finding("code", path, f"gone since it ran (in {ran[0].name})", mend)
        elif file_digest(root / path) != digest:
            for step in ran:
                if step.script not in here:
                    here[step.script] = _code(root, step.script)
            other = [step for step in ran if path not in step.does or here[step.script].get(path) != step.does[path]]
            if other:
                yield Finding("code", path, f"edited since it ran (in {other[0].name})", mend)
            else:
                yield Finding(NOTE, path, f"edited since it ran, in nothing that {ran[0].name} uses of it", mend)


def _code(root: Path, script: str) -> dict[str, str]:
    """Return file → sha256 of what a step's script uses of it here; nothing where that cannot be told."""
    root = root.resolve()
    try:
        found = code_of(root / "scripts" / script, root)
    except (OSError, SyntaxError, ValueError):
        return {}
    return {path.relative_to(root).as_posix(): code.digest for path, code in found.items()}


def check_commits(steps: Mapping[str, Step], root: Path) -> Iterator[Finding]:
    """Check the scripts and locks that ran against their commits, as far as this repository has those.

    Steps without a commit are noted, with the reason.
    """
    for origin, names in origins(steps.values()).items():
        if not steps[names[0]].commit:
            yield Finding(NOTE, "commit", f"{origin}: {names[0] if len(names) == 1 else f'{len(names)} steps'}")
    of_commit: dict[str, list[Step]] = {}
    for step in steps.values():
        if step.commit:
            of_commit.setdefault(step.commit, []).append(step)
    for commit, found in of_commit.items():
        if _git(root, "cat-file", "-e", f"{commit}^{{commit}}") is None:
            yield Finding(NOTE, commit[:12], "this repository does not have the commit: code not compared with it")
            continue
        for (path, digest), (step, *_) in _ran(found).items():
            content = _git(root, "cat-file", "blob", f"{commit}:./{path}")
            if content is None or hashlib.sha256(content).hexdigest() != digest:
                what = f"what ran (in {step.name}) is not what commit {commit[:12]} has"
                yield Finding(NOTE if step.altered else "code", path, what, "git diff")


def _ran(steps: Iterable[Step]) -> dict[tuple[str, str], list[Step]]:
    """Return (path, sha256) of every script and lock, each with the steps that it ran in, the last one first."""
    found: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        for file in step.code.items():
            found.setdefault(file, []).insert(0, step)
    return found


def _git(root: Path, *arguments: str) -> bytes | None:
    """Return the output of a git command; None if it fails, or where there is no git."""
    try:
        done = git(root, *arguments)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def check_images(steps: Mapping[str, Step]) -> Iterator[Finding]:
    """Check that every container that ran is of the image that its environment stands for now."""
    for step in steps.values():
        if not step.image:
            continue
        try:
            now = image_of(step.environment).reference
        except BadInput as fault:
            yield Finding(NOTE, step.name, f"ran in {step.image}, which cannot be compared: {fault}")
            continue
        if now.rpartition("@")[2] != step.image.rpartition("@")[2]:
            what = f"ran in {step.image}, but {step.environment} is {now} now"
            yield Finding("image", step.name, what, again(step))
