"""Whether what lies on disk is what was attested: of a whole build, or of a staged adapter that went elsewhere."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import audit_checks as checks
from audit_bundle import adapter, attestations, companions
from audit_checks import NOTE, Finding, altered
from audit_key import trusted
from faults import BadInput, say
from hash_files import hash_files
from hermetic.artifacts import BUNDLE, NOT_ARTIFACTS, SIGNATURE
from lineage import Step, made, producers, read_attestation
from planned_steps import planned_steps
from removal import removal


def verify(path: Path, keys: Sequence[Path], certificates: Sequence[Path]) -> list[Finding]:
    """Return what does not hold of a results folder, or of a staged adapter's folder that has its bundle; sorted.

    `keys` are the public keys that are trusted. Every file is read and hashed, whatever is known of it.
    """
    if (path / BUNDLE).is_file():
        return sorted(set(adapter(path, keys, certificates)))
    if not (path / "lineage").is_dir():
        raise BadInput(f"{path}: neither a results folder (no lineage/) nor a staged adapter (no {BUNDLE}): run make")
    return sorted(set(_tree(path, keys, certificates)))


def report(path: Path, keys: list[Path] | None, certificates: list[Path], as_json: bool) -> bool:
    """Print what does not hold, one finding a line, and whether all does."""
    if keys is None:
        keys, roots = trusted(Path("config.yaml"))
        certificates = certificates or roots
    findings = verify(path, keys, certificates)
    faults = [finding for finding in findings if finding.kind != NOTE]
    for finding in findings:
        if as_json:
            print(json.dumps(asdict(finding)))
        else:
            say(f"{finding.kind:<12}{finding.name}: {finding.what}{f': {finding.mend}' if finding.mend else ''}")
    if not as_json:
        print(f"{path}: {f'{len(faults)} things do not hold' if faults else 'all holds'}")
    return not faults


def _tree(results: Path, keys: Sequence[Path], certificates: Sequence[Path]) -> Iterator[Finding]:
    steps: dict[str, Step] = {}
    for path in sorted((results / "lineage").rglob("*.json")):
        try:
            step = read_attestation(results, path)
            steps[step.name] = step
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            yield Finding("attestation", str(path), f"not an attestation of a step ({error})", "make clean, then make")
    yield from attestations(steps, keys)
    yield from checks.code(steps, results.parent)
    yield from checks.commits(steps, results.parent)
    yield from checks.images(steps)
    here = {f"results/{path.relative_to(results).as_posix()}": path for path in _listed(results)}
    attested = made(steps)
    read = {(name, digest): step for step in steps.values() for name, digest in step.read.items()}
    outside = {name: results.parent / name for name, _ in read if not checks.within_results(name)}
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
    yield from _strangers(sorted(here.keys() - attested.keys() - folders - {name for name, _ in read}))
    for folder in sorted({path.parent for path in here.values() if path.parent.parent == results / "loras"}):
        names = [name for name in {**here, **attested} if name.startswith(f"results/loras/{folder.name}/")]
        sound = all(name in attested and digests.get(name) == attested[name] for name in names)
        yield from companions(folder, attested, sound, keys, certificates)


def _listed(results: Path) -> Iterator[Path]:
    """Yield every file and link below a results folder that is not work in progress or an adapter's companion."""
    for folder, folders, files in os.walk(results):
        if Path(folder) == results:
            folders[:] = [name for name in folders if name not in NOT_ARTIFACTS]
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in [*links, *files] if name not in (BUNDLE, SIGNATURE))


def _strangers(names: list[str]) -> Iterator[Finding]:
    """Tell files that a step makes, but whose attestation is gone, from those that nothing makes."""
    if not names:
        return
    try:
        planned = {str(path) for call in planned_steps().values() for _, *paths in call.output for path in paths}
    except BadInput:  # no checkout here, or one that cannot build
        planned = set()
    for name in names:
        if name in planned:
            yield Finding("unexplained", name, "no attestation says who made it", removal(name))
        else:
            yield Finding("foreign", name, "no step makes it", removal(name, ", or keep it elsewhere"))
