"""The packages of the locks that made an adapter, with the licences that each states, as CycloneDX components."""

from typing import Any

import yaml
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.component import Component, ComponentType
from packageurl import PackageURL

from adapter_build import ROOT
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput
from adapter_build.pins.advisories import PINNED

LISTED = ROOT / "containers/licences.yaml"


def packages(lock: str, digest: str) -> list[Component]:
    """Return a component for each package of a lock, if the lock that lies here is the one that was built with.

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
