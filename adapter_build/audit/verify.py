"""Verify that files are as attested: those of a whole build, or of a staged adapter that went elsewhere."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from adapter_build.audit.signing_key import trusted
from adapter_build.audit.verify_attestations import (
    NOTE,
    UNPROVEN,
    Finding,
    altered,
    check_attestations,
    check_code,
    check_commits,
    check_images,
    within_results,
)  # fmt: skip
from adapter_build.audit.verify_bundle import check_adapter, check_companions, check_without_bundle
from adapter_build.core.digests import hash_files
from adapter_build.core.faults import BadInput, say
from adapter_build.core.printable import removal
from adapter_build.core.strict_json import Malformed
from adapter_build.lineage.attested_steps import Step, made, producers, read_attestation
from adapter_build.lineage.results_folder import BUNDLE, IN_PROGRESS, SIGNATURE, files_and_links
from adapter_build.workflow.planned_steps import planned_steps


def verify(path: Path, keys: Sequence[Path], certificates: Sequence[Path]) -> list[Finding]:
    """Return the findings on a results folder, or on a staged adapter's folder with its bundle; sorted.

    `keys` are the public keys that are trusted. Every file is read and hashed; no cached digest is used.
    """
    for key in (*keys, *certificates):
        if key.resolve().is_relative_to(path.resolve()):
            raise BadInput(
                f"{key}: lies in {path}, which it is to prove: take the public key from its builder, by another way"
            )
    if os.path.lexists(path / BUNDLE):
        return sorted(set(check_adapter(path, keys, certificates)))
    if (path / "lineage").is_dir():
        return sorted(set(_tree(path, keys, certificates)))
    if any(os.path.lexists(path / name) for name in (SIGNATURE, "adapter_config.json")):
        return sorted(set(check_without_bundle(path, keys, certificates)))
    raise BadInput(f"{path}: neither a results folder (no lineage/) nor a staged adapter (no {BUNDLE}): run make")


def report(path: Path, keys: list[Path] | None, certificates: list[Path], as_json: bool) -> bool:
    """Print the findings, one a line, then the verdict; return whether all holds and all is proven."""
    if keys is None:
        keys, roots = trusted(Path("config.yaml"))
        certificates = certificates or roots
    findings = verify(path, keys, certificates)
    unproven = sum(finding.kind == UNPROVEN for finding in findings)
    faults = sum(finding.kind not in (NOTE, UNPROVEN) for finding in findings)
    for finding in findings:
        if as_json:
            print(json.dumps(asdict(finding)))
        else:
            mend = f": {finding.mend}" if finding.mend else ""
            say(f"{finding.kind:<12}{finding.name}: {finding.what}{mend}")
    verdict = [f"{faults} things do not hold"] * bool(faults) + [f"{unproven} are not proven"] * bool(unproven)
    if not as_json:
        say(f"{path}: {', '.join(verdict) or 'all holds'}")
    return not verdict


def _tree(results: Path, keys: Sequence[Path], certificates: Sequence[Path]) -> Iterator[Finding]:
    steps: dict[str, Step] = {}
    for path in sorted((results / "lineage").rglob("*.json")):
        try:
            step = read_attestation(results, path)
            steps[step.name] = step
        except (OSError, Malformed) as error:
            reason = getattr(error, "strerror", None) or error
            yield Finding("attestation", str(path), f"not an attestation of a step ({reason})", "make clean, then make")
    if not steps:
        yield Finding(UNPROVEN, str(results), "no attestation there can be read: nothing is proven", "make")
    yield from check_attestations(steps, keys)
    yield from check_code(steps, results.parent)
    yield from check_commits(steps, results.parent)
    yield from check_images(steps)
    here = {f"results/{path.relative_to(results).as_posix()}": path for path in files_and_links(results)}
    attested = made(steps)
    read = {(name, digest): step for step in steps.values() for name, digest in step.read.items()}
    outside = {name: results.parent / name for name, _ in read if not within_results(name)}
    links = [name for name, path in here.items() if path.is_symlink()]
    files = {name: path for name, path in {**here, **outside}.items() if path.is_file() and not path.is_symlink()}
    hashed = hash_files(path for name, path in files.items() if name in attested or name in outside)
    digests = {name: hashed[path] for name, path in files.items() if path in hashed}
    for name, step in producers(steps).items():
        if link := next((link for link in links if name.startswith(f"{link}/")), None):
            yield Finding("altered", link, "a link in place of a folder", removal(link))
        elif name not in here:
            unwanted = removal(f"results/lineage/{step.name}.json", " if it is not wanted any more")
            yield Finding("missing", name, f"{step.name} made it", f"make, or {unwanted}")
        elif name not in digests:
            yield Finding("altered", name, "a link in place of a file", removal(name))
        elif digests[name] != attested[name]:
            yield altered(name, digests[name], attested[name], removal(name))
    for (name, digest), step in read.items():
        if name not in outside:
            continue
        if name not in digests:
            yield Finding("missing", name, f"{step.name} read it", "bring it back, or make with other data")
        elif digests[name] != digest:
            yield altered(name, digests[name], digest, "make, or bring the old one back")
    folders = {parent.as_posix() for name in attested for parent in Path(name).parents}
    staged = sorted({name.split("/")[2] for name in attested if name.startswith("results/loras/")})
    beside = {f"results/loras/{name}/{companion}" for name in staged for companion in (BUNDLE, SIGNATURE)}
    yield from _strangers(sorted(here.keys() - attested.keys() - folders - beside - {name for name, _ in read}))
    yield from _misplaced(results)
    for folder in (results / "loras" / name for name in staged if (results / "loras" / name).is_dir()):
        names = [name for name in {*here, *attested} - beside if name.startswith(f"results/loras/{folder.name}/")]
        sound = all(name in attested and digests.get(name) == attested[name] for name in names)
        yield from check_companions(folder, attested, sound, keys, certificates)


def _misplaced(results: Path) -> Iterator[Finding]:
    """Report files among attestations and work in progress that are neither."""
    for folder, folders, files in os.walk(results / "lineage"):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for path in sorted(Path(folder, name) for name in [*links, *files]):
            if path.suffix != ".json" or path.name in links:
                yield Finding("foreign", str(path), "no attestation", removal(path, ""))
    for name, known in sorted(IN_PROGRESS.items()):
        folder = results / name
        found = [folder] if folder.is_symlink() else sorted(folder.glob("*"))
        for path in found:
            if not known.fullmatch(path.name) or path.is_symlink():
                yield Finding("foreign", str(path), "not a file of a step in progress", removal(path, ""))


def _strangers(names: list[str]) -> Iterator[Finding]:
    """Report files without an attestation: `unexplained` where a step of this checkout makes them, else `foreign`."""
    if not names:
        return
    try:
        planned = {str(path) for call in planned_steps().values() for _, *paths in call.output for path in paths}
    except BadInput:  # no checkout here, or one that cannot build
        planned = set()
    for name in names:
        if name in planned:
            yield Finding("unexplained", name, "no attestation names the step that made it", removal(name))
        else:
            yield Finding("foreign", name, "no step makes it", removal(name, ", or keep it elsewhere"))
