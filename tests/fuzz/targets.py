"""Every parser of what comes from outside: what it may raise, what holds of what it read, and bytes to begin with."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from common import evr, manifest, nevra
from common.errors import InvalidArgument
from common.manifest import Hold, HoldKind, Problem, ProblemCode, Stream
from controller.cli.export import serial_number
from controller.cli.plain import plain
from controller.compliance import baseline
from controller.inventory.metadata import MetadataError, parse_primary, parse_updateinfo
from controller.inventory.modules import Described, parse_modules
from controller.offline import inventory
from controller.offline.inventory import UnreadableInventory
from controller.report import html, kept_any
from controller.report.html import pages
from controller.report.kept import NotAnExport
from controller.report.pdf import document
from controller.report.render import ndjson, whole_json
from controller.report.sbom import bill_of_materials
from controller.report.seal import asked
from controller.report.sheet import sheet
from controller.report.summary import summarise
from tests.builders import a_baseline, a_manifest, a_package, packages_blob
from tests.scripted_patchctl import a_report

MAX_BYTES: Final = 8 << 20
"""What fuzzed repository files may unpack to: little, so that many fit into a minute."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser. `attack` returns whatever the bytes are, unless a promise is broken."""

    attack: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[str] = ()
    """Pieces that inputs are made of."""


def updateinfo(content: bytes) -> None:
    try:
        found = parse_updateinfo(content, MAX_BYTES)
    except MetadataError:
        return
    assert all(advisory.id for advisory in found if advisory.packages)
    assert all(all(package.nevra) or package.nevra.epoch == 0 for advisory in found for package in advisory.packages)


def primary(content: bytes) -> None:
    try:
        found = parse_primary(content, MAX_BYTES)
    except MetadataError:
        return
    assert all(build.nevra.name and build.nevra.version and build.nevra.release and build.nevra.arch for build in found)


def modules(content: bytes) -> None:
    try:
        found = parse_modules(content, MAX_BYTES)
    except MetadataError:
        return
    assert all(isinstance(text, str) for each in found for text in each[:3])
    needed = [need for each in found if isinstance(each, Described) for need in each.requires]
    assert all(isinstance(text, str) for module, streams in needed for text in (module, *streams))


def host_manifest(content: bytes) -> None:
    try:
        found = manifest.decode(content)
    except ValueError:
        return
    written = manifest.encode(found)
    assert manifest.encode(manifest.decode(written)) == written


def packages(content: bytes) -> None:
    try:
        found = manifest.decode_packages(content)
    except ValueError:
        return
    assert len(found) == content.count(b"\n")
    assert all(0 <= line.nevra.epoch <= manifest.MAX_EPOCH and line.nevra.key for line in found)


def details(content: bytes) -> None:
    try:
        found = manifest.decode_details(content)
    except ValueError:
        return
    assert all(installed >= 0 for installed, _ in found)


def package_name(content: bytes) -> None:
    text = content.decode("utf-8", "surrogateescape")
    try:
        found = nevra.parse(text)
    except ValueError:
        return
    assert nevra.parse(str(found)) == found
    assert found.key == evr.key(*found.evr)


def offline_inventory(content: bytes) -> None:
    try:
        found = inventory.parse(content, "fuzzed")
    except UnreadableInventory:
        return
    assert bool(found.packages) == bool(found.manifest.packages)
    assert len(set(found.packages)) == len(found.packages) == found.manifest.package_count


def kept_export(content: bytes) -> None:
    try:
        kept = kept_any.read(io.BytesIO(content), serial_number)
        damage = list(kept.damage())
        answers = [] if damage else list(kept.answers())
        differing = [answer.differences(_REPORT) + answer.besides(_REPORT) for answer in answers]
    except NotAnExport:
        return
    assert all(what for _, what in damage)
    assert all(isinstance(said, tuple) for said in differing)


def baseline_document(content: bytes) -> None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return
    try:
        found = baseline.parse(document)
    except InvalidArgument:
        return
    assert baseline.parse(baseline.to_document(found)) == found


_UPDATEINFO: Final = b"""<?xml version="1.0" encoding="UTF-8"?>
<updates><update from="a" status="final" type="security" version="1"><id>CESA-2026:1</id><title>t</title>
<issued date="2026-01-02 00:00:00"/><updated date="1700000000"/><severity>Important</severity>
<references><reference href="" id="CVE-2026-1" type="cve" title="CVE-2026-1"/></references>
<pkglist><collection short="s"><name>n</name><module name="m" stream="1" version="2" context="c" arch="x86_64"/>
<package name="bash" epoch="1" version="4.2" release="1.el7" arch="x86_64" src="s"><filename>bash.rpm</filename>
<sum type="sha256">00</sum><reboot_suggested>True</reboot_suggested></package></collection></pkglist></update></updates>"""
_PRIMARY: Final = b"""<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">
<package type="rpm"><name>bash</name><arch>x86_64</arch><version epoch="0" ver="4.2" rel="1.el7"/>
<checksum type="sha256" pkgid="YES">00</checksum><time file="1" build="1700000000"/><size package="1" installed="1" archive="1"/>
<location href="bash.rpm"/><format><rpm:license>x</rpm:license><rpm:provides>
<rpm:entry name="installonlypkg(kernel)" flags="EQ" epoch="0" ver="1" rel="1"/></rpm:provides>
<rpm:obsoletes><rpm:entry name="old" flags="LT" epoch="1" ver="2" rel="3"/></rpm:obsoletes></format></package></metadata>"""
_MODULES: Final = b"""---
document: modulemd
version: 2
data:
  name: nodejs
  stream: "18"
  context: c0ffee
  license: {module: [MIT]}
  dependencies: [{requires: {platform: [el9]}}]
...
---
document: modulemd-defaults
version: 1
data: {module: nodejs, stream: "18"}
...
"""
_MANIFEST: Final = manifest.encode(
    a_manifest(
        streams=(Stream("nodejs", "18"),),
        holds=(Hold(HoldKind.EXCLUDE, "kernel*", "base"),),
        problems=(Problem(ProblemCode.BUSY, "a transaction ran"),),
        install_only=("kernel",),
    )
)
_LINES: Final = (a_package(), a_package("kernel-3.10.0-1160.el7.x86_64"), a_package("a-1:2-3.noarch", "m:1:2:3"))
_XML: Final = (
    "<updates>",
    "<update ",
    "<package ",
    "<collection>",
    "epoch=",
    'date="',
    "<!--",
    "<![CDATA[",
    "&amp;",
    "&#0;",
    "]]>",
)
_JSON: Final = ('"', "{", "}", "[", "]", ":", ",", "null", "true", "1e309", "\\ud800")


def _document(**changes: object) -> bytes:
    return json.dumps(baseline.to_document(a_baseline()) | changes).encode()


_REPORT: Final = plain(a_report())
_ASKED: Final = asked({"all": True}, "2026-11-22T12:40:00Z", all_items=False)
_EXPORTS: Final = (
    b"".join(whole_json(_ASKED, [_REPORT])),
    b"".join(ndjson(_ASKED, [_REPORT, _REPORT])),
    b"".join(sheet([_REPORT, _REPORT])),
    "".join(pages(_ASKED, summarise(_ASKED, [_REPORT]), [_REPORT])).encode(),
    bill_of_materials(_ASKED, _REPORT, serial_number(_REPORT)),
)


TARGETS: Final[dict[str, Target]] = {
    "updateinfo": Target(updateinfo, (_UPDATEINFO, gzip.compress(_UPDATEINFO, mtime=0), b"<updates/>"), _XML),
    "primary": Target(primary, (_PRIMARY, gzip.compress(_PRIMARY, mtime=0)), _XML),
    "modules": Target(
        modules,
        (_MODULES, gzip.compress(_MODULES, mtime=0)),
        ("---\n", "...\n", "data:\n  ", "name: a\n", "&a ", "*a", "[", "{", "!!", "? ", "document: modulemd\n", "| \n"),
    ),
    "manifest": Target(host_manifest, (_MANIFEST,), (*_JSON, *(f'"{key}":' for key in json.loads(_MANIFEST)))),
    "packages": Target(packages, (packages_blob(_LINES), b""), ("\t", "\n", "x86_64", "4294967295")),
    "details": Target(details, (b"1700000000\tCentOS\n1\t\n",), ("\t", "\n", "0")),
    "nevra": Target(
        package_name, (b"bash-4.2.46-34.el7.x86_64", b"1:a-2-3.noarch", b"a-1:2-3.src"), (":", "-", ".", "(none)")
    ),
    "inventory": Target(
        offline_inventory,
        (
            b"bash-0:4.2.46-34.el7.x86_64\nkernel-3.10.0-1160.el7.x86_64\n",
            b"name\tepoch\tversion\trelease\tarch\nbash\t0\t4.2\t1\tx86_64\n",
            json.dumps(
                {
                    "manifest": json.loads(_MANIFEST),
                    "packages": [
                        {"name": "a", "epoch": 1, "version": "2", "release": "3", "arch": "noarch", "module": ""}
                    ],
                }
            ).encode(),
        ),
        (*_JSON, "name\tepoch\tversion\trelease\tarch", "(none)", ".x86_64", '"packages":', '"manifest":'),
    ),
    "export": Target(
        kept_export,
        (*_EXPORTS, document(_ASKED, [_REPORT])),
        (
            *_JSON,
            html.HEAD,
            html.REPORT,
            html.SEAL,
            html.END,
            "\n",
            ",",
            '"sha256":',
            '"asked":',
            "report.sha256",
            " 0 obj\n",
        ),
    ),
    "baseline": Target(
        baseline_document,
        (_document(), _document(rules=[{"products": ["All"], "approve_until": "2026-01-01", "level": "high"}])),
        (
            *_JSON,
            *(f'"{key}":' for key in json.loads(_document())),
            '"approve_after_days":',
            '"severities":',
            '"2026-02-30"',
        ),
    ),
}
