"""An adapter as a CycloneDX 1.6 ML-BOM: model and card, base, data, images, environments with packages and licences.

Dependencies tell which component was made of which.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# The decorator of cyclonedx's classes hides their types.

import datetime
import json
import uuid
from pathlib import Path
from typing import Any

import yaml
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Commit, Component, ComponentType, Pedigree
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import fixup_id
from packageurl import PackageURL

from adapter_build import ROOT
from adapter_build.audit.diff_records import raw_files
from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.core.jsonl import read_jsonl
from adapter_build.core.strict_json import read_object
from adapter_build.lineage.attested_steps import Step, producers
from adapter_build.lineage.built_adapter import Build
from adapter_build.pins.advisories import PINNED

WEIGHTS = ("adapter_model.safetensors", ".nemo")  # of either layout
LISTED = ROOT / "containers/licences.yaml"


def write_bom(build: Build, target: str) -> str:
    """Write the bill of materials as JSON; return a line that says so. Raises `BadInput` for an altered artifact."""
    scores = build.results / "evaluation" / f"{build.adapter}.json"
    build.check([scores, *raw_files(build.results), *map(build.file, build.staged)])
    bom = _bom(build)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library cannot write a model card yet; its schema has one.
    document["metadata"]["component"]["modelCard"] = model_card(build, read_object(scores, "make"))
    write_atomically(Path(target), json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return f"{target}: a CycloneDX 1.6 ML-BOM, {len(bom.components)} components beside the model"


def _bom(build: Build) -> Bom:
    made_by = producers(build.steps)
    data = {name: _file(name, digest, ComponentType.DATA) for name, digest in sorted(_data(build).items())}
    for path in raw_files(build.results):
        licences = {row["license"] for row in read_jsonl(path) if row.get("license")}
        data[f"results/{path.relative_to(build.results).as_posix()}"].licenses = map(_licence, licences)
    base, model = _base(build), _model(build)
    software = [*_locks(build), *_images(build)]
    last = max(step.finished for step in build.steps.values())
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{build.digest} {last}"),
        metadata=BomMetaData(component=model, timestamp=datetime.datetime.fromisoformat(last)),
        components=[base, *data.values(), *software],
    )
    known = data | {part.name: base for part in base.components}
    for name, component in data.items():
        bom.register_dependency(component, _upstream(name, made_by, known))
    weights = next(name for name in build.staged if name.endswith(WEIGHTS))
    bom.register_dependency(model, [*_upstream(weights, made_by, known), *software])
    return bom


def _upstream(name: str, made_by: dict[str, Step], known: dict[str, Component]) -> list[Component]:
    """Return the nearest known components among the ancestors of a file."""
    sources = made_by[name].read if name in made_by else {}
    found = [[known[path]] if path in known else _upstream(path, made_by, known) for path in sources]
    return [component for components in found for component in components]


def _model(build: Build) -> Component:
    """Return the component of the adapter; its hash is that of the weights."""
    base = build.exported("model")
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="adapter",
        name=build.adapter,
        version=build.digest,
        description=f"A LoRA adapter of {base}",
        hashes=[_sha256(build.made[name]) for name in build.staged if name.endswith(WEIGHTS)],
        licenses=_base_licence(build),
        components=[_file(name, build.made[name], ComponentType.FILE) for name in build.staged],
        pedigree=Pedigree(
            ancestors=[_base(build, "ancestor")],
            commits=[Commit(uid=commit) for commit in {step.commit for step in build.steps.values()} if commit],
            notes=f"Low-rank matrices beside the weights of {base}, which are as they were",
        ),
    )


def _base(build: Build, reference: str = "base") -> Component:
    """Return the component of the base model, with its files as tuning read them."""
    converted = next((name for name in build.steps if name.startswith("convert_base/")), "convert_base/*")
    files = build.step(converted).read
    parts = [_file(name, digest, ComponentType.FILE, f"{reference}/") for name, digest in files.items()]
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=reference,
        name=build.exported("model"),
        version=build.exported("revision") or None,
        licenses=_base_licence(build),
        components=parts,
    )


def _base_licence(build: Build) -> list[DisjunctiveLicense]:
    return [_licence(licence)] if (licence := build.exported("licence")) else []


def _licence(licence: str) -> DisjunctiveLicense:
    known = fixup_id(licence)
    return DisjunctiveLicense(id=known) if known else DisjunctiveLicense(name=licence)


def _data(build: Build) -> dict[str, str]:
    """Return file → sha256 of the records, from the raw data to the prompts."""
    folders = ("results/raw/", "results/curated/law-qa-", f"results/prompts/{build.adapter}/")
    acquired = [step for name, step in build.steps.items() if name in ("acquire_raw", "acquire_curated")]
    brought = {
        name: digest for step in acquired for name, digest in step.read.items() if not name.startswith("schemas/")
    }
    return brought | {name: digest for name, digest in build.made.items() if name.startswith(folders)}


def _locks(build: Build) -> list[Component]:
    locks = {
        name: digest for step in build.steps.values() for name, digest in step.code.items() if name.endswith(".lock")
    }
    found = [_file(name, digest, ComponentType.FILE) for name, digest in sorted(locks.items())]
    for lock in found:
        lock.components = packages(lock.name, locks[lock.name])
    return found


def _images(build: Build) -> list[Component]:
    images = sorted({step.image for step in build.steps.values() if step.image})
    pairs = [image.split("@sha256:") for image in images]
    return [
        Component(type=ComponentType.CONTAINER, bom_ref=f"{name}@{digest}", name=name, hashes=[_sha256(digest)])
        for name, digest in pairs
    ]


def _file(name: str, digest: str, kind: ComponentType, prefix: str = "") -> Component:
    return Component(type=kind, bom_ref=f"{prefix}{name}", name=name, hashes=[_sha256(digest)])


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def packages(lock: str, digest: str) -> list[Component]:
    """Return a component for each package of a lock, if the lock that lies here has the digest of the build's.

    Raises `BadInput` for a version without an entry in containers/licences.yaml.
    """
    path = LISTED.parents[1] / lock
    if not path.is_file() or file_digest(path) != digest:
        return []
    listed = yaml.load(LISTED.read_text("utf-8"), yaml.CBaseLoader)
    return [_package(lock, name, version, listed) for name, version in PINNED.findall(path.read_text("utf-8"))]


def _package(lock: str, name: str, version: str, listed: dict[str, Any]) -> Component:
    reference = f"{lock}#{name}"
    try:
        stated = listed["packages"][name][version]
    except KeyError:
        raise BadInput(f"{LISTED}: {name} {version} of {lock} is missing: run make lock") from None
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=reference,
        name=name,
        version=version,
        purl=PackageURL("pypi", name=name, version=version),
        licenses=map(LicenseFactory().make_from_string, stated) if len(stated) == 1 else map(_named, stated),
        components=[
            Component(
                type=ComponentType.LIBRARY,
                bom_ref=f"{reference}/{part}",
                name=part,
                licenses=[LicenseFactory().make_from_string(licence)],
            )
            for part, licence in listed["bundled"].get(name, {}).items()
        ],
    )


def _named(licence: str) -> Any:
    """Return one licence of several, which CycloneDX takes by identifier or name alone."""
    return LicenseFactory().make_with_name(licence)


def model_card(build: Build, scores: dict[str, Any]) -> dict[str, Any]:
    """Return the model card as CycloneDX 1.6 has it in JSON: training data, settings and scores."""
    tuned = build.step(f"tune_adapter/{build.adapter}")
    metrics = [
        {
            "type": metric,
            "value": f"{score['mean']:g}",
            "slice": f"{scores['records']} test records: {whose}",
            "confidenceInterval": {"lowerBound": f"{score['low']:g}", "upperBound": f"{score['high']:g}"},
        }
        for whose in ("base", "adapter", "difference")
        for metric, score in sorted(scores[whose].items())
    ]
    prompts = sorted(name for name in build.made if name.startswith(f"results/prompts/{build.adapter}/"))
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-generation",
            "architectureFamily": "transformer",
            "modelArchitecture": "LoRA adapter (PEFT)",
            "datasets": [{"ref": name} for name in prompts],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "properties": [
            {"name": f"tune_adapter:{option}", "value": " ".join(words)}
            for option, words in sorted(tuned.parameters.items())
        ],
    }
