"""The entities of an RO-Crate: files, values, images, attestations; each exists once, however often it is named."""

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from adapter_build.core.digests import file_digest
from adapter_build.hermetic.environments import lock_path
from adapter_build.lineage.attested_steps import Step
from adapter_build.lineage.built_adapter import Build

TERMS = "https://w3id.org/ro/terms/workflow-run"
BIOSCHEMAS = "https://bioschemas.org/profiles"
TERMS_USED = ("ContainerImage", "DockerImage", "containerImage", "registry")
CODE = ("adapter_build/", "scripts/", "containers/", "prompts/", "schemas/")


class Crate:
    """A crate under construction; entities keep their order, so that the same build gives the same crate.

    It contains the adapter, its scores, its ledger, the code and the attestations. Data, models and intermediate files
    are named by digest (RFC 6920: ni:///sha-256;…) and stay where they are.
    """

    def __init__(self, build: Build) -> None:
        self.build = build
        self.checkout = build.results.absolute().parent
        self.crate: Any = ROCrate(version="1.1")  # its methods have no types
        # Defined here, not by the address of a context: a crate must be readable without network.
        self.crate.metadata.extra_terms.update({term: f"{TERMS}#{term}" for term in TERMS_USED})
        self.crate.metadata.extra_terms["buildInstructions"] = "https://codemeta.github.io/terms/buildInstructions"
        self.carried = [*build.staged, f"results/evaluation/{build.adapter}.json", "results/curated/ledger.parquet"]

    def add(self, identifier: str, kind: str, **properties: Any) -> Entity:
        """Return the entity of this identifier, which is added if it is new."""
        identifier = f"#{quote(identifier[1:])}" if identifier.startswith("#") else identifier
        described = {"@type": kind, **properties}
        return self.crate.get(identifier) or self.crate.add(ContextEntity(self.crate, identifier, properties=described))

    def file(self, path: str, digest: str) -> Entity:
        """Return the entity of a file: in the crate if it carries the file and that is unchanged, else by digest."""
        source = self.build.file(path) if path.startswith("results/") else self.checkout / path
        properties = {"name": path, "sha256": digest}
        carried = (path in self.carried or path.startswith(CODE)) and ".." not in Path(path).parts
        if carried and source.is_file() and file_digest(source) == digest:
            return self.crate.get(quote(path)) or self.crate.add_file(source, path, properties=properties)
        hashed = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
        address = f"ni:///sha-256;{hashed}"
        entity = self.crate.get(address) or self.crate.add_file(address, properties=properties)
        if entity["name"] != path:
            once(entity, "alternateName", path)  # the same bytes under two names
        return entity

    def code(self, step: Step) -> tuple[Entity, Entity]:
        """Return the script of a step, with its closure of modules as parts, and its environment's lock."""
        names = f"scripts/{step.script}", str(lock_path(step.environment))
        tool, lock = (self.file(name, step.code[name]) for name in names)
        properties: dict[str, Any] = tool.properties()
        properties["@type"] = ["File", "SoftwareSourceCode"]
        tool["version"] = f"sha256:{step.code[names[0]]}"
        lock["encodingFormat"] = "text/plain"
        for path, digest in step.code.items():
            if path not in names:
                once(tool, "hasPart", self.file(path, digest))
        return tool, lock

    def example(self, of: Entity, key: str, identifier: str, kind: str, value: Entity) -> None:
        """Add a formal parameter, `input` or `output` of a tool or of the workflow, with a value as its example."""
        parameter = self.add(identifier, "FormalParameter", name=value["name"], additionalType=kind)
        parameter["conformsTo"] = {"@id": f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE"}
        once(of, key, parameter)
        once(parameter, "workExample", value)
        once(value, "exampleOfWork", parameter)

    def attestation(self, step: Step) -> Entity:
        """Add the attestation of a step with its signature."""
        path = f"results/lineage/{step.name}.json"
        properties = {"name": f"Attestation of {step.name}", "encodingFormat": "application/vnd.dsse.envelope.v1+json"}
        return self.crate.add_file(self.build.file(path), path, properties=properties)

    def image(self, reference: str) -> Entity:
        """Return the entity of a container's image."""
        repository, _, digest = reference.partition("@sha256:")
        registry, _, name = repository.partition("/")
        properties = {"registry": registry, "name": name, "sha256": digest}
        return self.add(
            f"docker://{reference}", "ContainerImage", additionalType={"@id": f"{TERMS}#DockerImage"}, **properties
        )


def once(entity: Entity, key: str, value: Entity | str) -> None:
    """Add a value to a property unless it has it; a single value is no list."""
    known = entity.get(key)
    if known is None:
        entity[key] = value
    elif value not in (known if isinstance(known, list) else [known]):
        entity.append_to(key, value)
