"""The software bill of materials of a wheel: the wheel, and its dependencies as locked."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    XsUri,
)
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.lock import LockedPackage

__all__ = ("sbom",)


def sbom(wheel: Path, locked: Iterable[LockedPackage], epoch: int) -> str:
    """Return a CycloneDX 1.6 document in JSON: the same text for the same arguments.

    The dependencies that only the extra `programs` needs have the scope `optional`. A dependency
    refers to its files by package URL, with their SHA-256.

    Args:
        wheel: The wheel to describe.
        locked: The packages that it is tested and shipped with.
        epoch: The time of the document, in seconds since 1970.
    """
    content, metadata = wheel.read_bytes(), _metadata(wheel)
    digest = hashlib.sha256(content).hexdigest()
    root = Component(
        name=metadata["Name"],
        version=metadata["Version"],
        description=metadata["Summary"],
        licenses=[DisjunctiveLicense(id=metadata["License-Expression"])],
        purl=PackageURL("pypi", name=metadata["Name"], version=metadata["Version"]),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        bom_ref="xkeymsg",
    )
    packages = {each.name: each for each in locked}
    required = _required(metadata, packages)
    components = {each.name: _component(each, each.name in required) for each in locked}
    bom = Bom(
        components=components.values(),
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest),
        metadata=BomMetaData(component=root, timestamp=datetime.fromtimestamp(epoch, UTC)),
    )
    bom.metadata.tools.components.clear()  # the versions of tools are in the lock of developers
    for name, package in packages.items():
        for parent in package.required_by:
            bom.register_dependency(components.get(parent, root), [components[name]])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _metadata(wheel: Path) -> Message[Any, Any]:
    with ZipFile(wheel) as file:
        [name] = (each for each in file.namelist() if each.endswith(".dist-info/METADATA"))
        return message_from_bytes(file.read(name))


def _required(metadata: Message[Any, Any], packages: dict[str, LockedPackage]) -> set[str]:
    """Return the names of packages that the library needs without any extra."""
    direct = (Requirement(each) for each in metadata.get_all("Requires-Dist", []))
    found: set[str] = {
        canonicalize_name(each.name) for each in direct if "extra" not in str(each.marker)
    }
    while more := {
        name
        for name, each in packages.items()
        if name not in found and found & {*each.required_by}
    }:  # fmt: skip
        found |= more
    return found


def _component(package: LockedPackage, required: bool) -> Component:
    purl = PackageURL("pypi", name=package.name, version=package.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in package.hashes],
    )
    return Component(
        name=package.name,
        version=package.version,
        scope=ComponentScope.REQUIRED if required else ComponentScope.OPTIONAL,
        purl=purl,
        external_references=[files],
        bom_ref=package.name,
    )
