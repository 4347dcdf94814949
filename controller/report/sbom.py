"""One instance as a CycloneDX 1.6 bill of materials with VEX: what is installed, what threatens it, and what became of each threat. Pure.

A vulnerability is listed once for each state it is in: one CVE may be fixed in one package and exploitable through another. The report of
which all this is made stands in the bill's own properties, packed: so the bill can be made again of what it holds.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.impact_analysis import ImpactAnalysisResponse, ImpactAnalysisState
from cyclonedx.model.vulnerability import (
    BomTarget,
    Vulnerability,
    VulnerabilityAnalysis,
    VulnerabilityRating,
    VulnerabilitySeverity,
    VulnerabilitySource,
)
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from controller.report import text
from controller.report.edition import edition
from controller.report.seal import canonical_line, sealed

_STATES: Final = {
    "MISSING": ImpactAnalysisState.EXPLOITABLE,
    "FAILED": ImpactAnalysisState.EXPLOITABLE,
    "PENDING_REBOOT": ImpactAnalysisState.EXPLOITABLE,  # what runs is still the old code
    "EXCEPTED": ImpactAnalysisState.IN_TRIAGE,
    "INSTALLED": ImpactAnalysisState.RESOLVED,
}
_SEVERITIES: Final = {
    "CRITICAL": VulnerabilitySeverity.CRITICAL,
    "IMPORTANT": VulnerabilitySeverity.HIGH,
    "MODERATE": VulnerabilitySeverity.MEDIUM,
    "LOW": VulnerabilitySeverity.LOW,
}
_ROOT: Final = "instance"
_SCOPE: Final = "the newest installed build of each name and architecture; older kernels beside it are not listed"
"""A report judges the newest build (R7) and names no other: a reader of the bill must not take their absence for a fact."""


PACKED: Final = "patchwarden:report"
EDITION: Final = "patchwarden:edition"
MAX_REPORT_BYTES: Final = 32 * 2**20


def bill_of_materials(
    question: text.Document, report: text.Document, serial_number: str, made_by: str | None = None
) -> bytes:
    """Return the document, canonical JSON. `report` must hold all items; `serial_number` is "urn:uuid:...".

    `made_by` is the edition that it names.
    """
    found = document(report, serial_number)
    found["metadata"]["properties"] = [
        {"name": EDITION, "value": made_by or edition()},
        {"name": PACKED, "value": pack({"asked": question, "report": sealed(report)})},
    ]
    return (json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def pack(value: text.Document) -> str:
    """Return plain values as text for a property: canonical JSON, deflated (zlib), in base 64."""
    return base64.b64encode(zlib.compress(canonical_line(value), 9)).decode()


def unpack(packed: str) -> bytes:
    """Return what was packed. Raises ValueError, also for what is too large to be a report."""
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(base64.b64decode(packed, validate=True), MAX_REPORT_BYTES)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(str(error)) from None
    if not unpacking.eof:
        raise ValueError("it is cut off, or too large")
    if unpacking.unused_data:
        raise ValueError("something was added to it")
    return found


def document(report: text.Document, serial_number: str) -> dict[str, Any]:
    """Return the bill of materials as plain values, without the report that it is made of."""
    root = Component(
        type=ComponentType.DEVICE,
        bom_ref=_ROOT,
        name=report["instance_name"],
        properties=_properties(report),
    )
    system = report["operating_system"] or {}
    components = [Component(type=ComponentType.OPERATING_SYSTEM, bom_ref="os", name=text.system(report) or "unknown")]
    if system.get("id"):
        components[0].version = system.get("version") or None
        components[0].properties.add(Property(name="patchwarden:os_id", value=system["id"]))
    packages = dict[str, Component]()
    for item in report["items"]:  # a package that is there for two reasons is installed once
        packages.setdefault(package_url(item, system), _component(item, system, f"package-{len(packages) + 1}"))
    components += packages.values()
    as_of = (report["inputs"] or {}).get("as_of")
    bom = Bom(
        metadata=BomMetaData(component=root, timestamp=text.instant(as_of) if as_of else None),
        components=components,
        vulnerabilities=_vulnerabilities(
            report["items"], [str(packages[package_url(i, system)].bom_ref) for i in report["items"]]
        ),
    )
    bom.register_dependency(root, components)
    made_document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    made_document["serialNumber"] = serial_number
    if as_of is None:
        del made_document["metadata"]["timestamp"]  # the library would say when it ran
    return made_document


def package_url(item: text.Document, system: text.Document) -> str:
    """Return pkg:rpm/<OS id>/<name>@<version-release>?arch=..&distro=..&epoch=.. of an installed package."""
    return _package_url(item, system).to_string()


def _package_url(item: text.Document, system: text.Document) -> PackageURL:
    qualifiers = dict[str, str]()
    if item["arch"] and item["arch"] != "(none)":
        qualifiers["arch"] = item["arch"]
    epoch, version = text.epoch_and_rest(item["installed"])
    if epoch:
        qualifiers["epoch"] = str(epoch)
    if system.get("id") and system.get("version"):
        qualifiers["distro"] = f"{system['id']}-{system['version']}"
    return PackageURL("rpm", (system.get("id") or "").lower() or None, item["name"], version or None, qualifiers)


def _component(item: text.Document, system: text.Document, ref: str) -> Component:
    purl = _package_url(item, system)
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=ref,
        name=item["name"],
        version=item["installed"] or None,
        purl=purl,
        properties=_of_package(item),
    )


def _of_package(item: text.Document) -> Iterator[Property]:
    yield Property(name="patchwarden:status", value=item["status"] or "unknown")
    if item["available_security"]:  # R4: known and newer, but not approved yet
        yield Property(name="patchwarden:available_security", value=item["available_security"])


def _properties(report: text.Document) -> Iterator[Property]:
    yield Property(name="patchwarden:instance_id", value=report["instance_id"])
    yield Property(name="patchwarden:instance_status", value=report["status"] or "unknown")
    yield Property(name="patchwarden:packages", value=_SCOPE)
    for number, reason in enumerate(
        report["reasons"], start=1
    ):  # that nothing is listed must not look like that nothing is there
        yield Property(name=f"patchwarden:undetermined:{number}", value=f"{reason['reason']}: {reason['detail']}")
    for name, value in text.inputs(report):
        yield Property(name=f"patchwarden:input:{name.replace(' ', '_')}", value=value)


def _vulnerabilities(items: list[text.Document], refs: list[str]) -> Iterator[Vulnerability]:
    """Yield a vulnerability for each id and state and reason of that state, with the packages it is about."""
    found = dict[tuple[str, str, str], list[int]]()
    for number, item in enumerate(items):
        if item["status"] in _STATES:
            for name in _ids(item):
                found.setdefault((name, item["status"], _detail(item)), []).append(number)
    for count, ((name, status, detail), numbers) in enumerate(sorted(found.items()), start=1):
        about = [items[n] for n in numbers]
        yield Vulnerability(
            bom_ref=f"vulnerability-{count}",
            id=name,
            source=VulnerabilitySource(name="NVD" if name.startswith("CVE-") else "vendor advisory"),
            ratings=[VulnerabilityRating(severity=s) for s in {_severity(item) for item in about}],
            recommendation=_recommendation(about) if status in text.NON_COMPLIANT else None,
            properties=[
                Property(name="patchwarden:advisory", value=a)
                for a in sorted({a for item in about for a in item["advisories"]})
            ],
            analysis=VulnerabilityAnalysis(
                state=_STATES[status],
                detail=detail or None,
                responses=[ImpactAnalysisResponse.UPDATE] if status in ("MISSING", "FAILED") else None,
            ),
            affects=[BomTarget(ref=ref) for ref in dict.fromkeys(refs[n] for n in numbers)],
        )


def _ids(item: text.Document) -> list[str]:
    """CVEs; where the vendor names none, its security advisories."""
    if item["cves"]:
        return list(item["cves"])
    return list(item["advisories"]) if (item["category"] or "").upper() == "SECURITY" else []


def _detail(item: text.Document) -> str:
    why = text.visible(item["why"] or "")
    if item["status"] == "INSTALLED" and item["advisories"]:
        return why or f"fixed by {', '.join(item['advisories'])}"
    return why or item["reason"] or ""


def _severity(item: text.Document) -> VulnerabilitySeverity:
    return _SEVERITIES.get((item["severity"] or "").upper(), VulnerabilitySeverity.UNKNOWN)


def _recommendation(about: list[text.Document]) -> str | None:
    wanted = sorted({f"{item['name']} {item['required']}" for item in about if item["required"]})
    return f"Update to {', '.join(wanted)}" if wanted else None
