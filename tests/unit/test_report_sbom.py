"""The bill of materials of one instance: CycloneDX 1.6 by its own schema, package URLs, and what became of each vulnerability."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion

from common.pb.v1 import report_pb2, types_pb2
from controller.cli.export import serial_number
from controller.cli.plain import plain
from controller.report.sbom import PACKED, bill_of_materials, package_url, unpack
from controller.report.seal import asked, unsealed
from tests.scripted_patchctl import a_report

CENTOS = types_pb2.OperatingSystem(id="centos", version="7.9", product="CentOS 7.9", arch="x86_64")
ASKED = asked({"instances": ["ecs-web-02"]}, None, all_items=True)
SERIAL = "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79"
Item = report_pb2.ReportItem


def item(name: str, status: str, *, cves: tuple[str, ...] = (), **more: Any) -> report_pb2.ReportItem:
    values: dict[str, Any] = {
        "installed": "1:1.0.2k-19.el7",
        "arch": "x86_64",
        "advisories": ["CESA-2023:1335"],
        "severity": types_pb2.SEVERITY_IMPORTANT,
        "category": types_pb2.CATEGORY_SECURITY,
    }
    number = types_pb2.PatchStatus.Value(f"PATCH_STATUS_{status}")
    return Item(name=name, status=number, cves=cves, **(values | more))


def report(*items: report_pb2.ReportItem) -> dict[str, Any]:
    found = a_report()
    found.operating_system.CopyFrom(CENTOS)
    found.inputs.as_of.FromJsonString("2026-11-22T12:40:00Z")
    del found.items[:]
    found.items.extend(items)
    return plain(found)


def made(*items: report_pb2.ReportItem) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bill_of_materials(ASKED, report(*items), SERIAL))
    return found


def states(bill: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Return the state of each vulnerability of each package."""
    names = {c["bom-ref"]: c["name"] for c in bill["components"]}
    return {
        (v["id"], names[affected["ref"]]): v["analysis"]["state"]
        for v in bill.get("vulnerabilities", ())
        for affected in v["affects"]
    }


FULL = (
    item("openssl-libs", "MISSING", cves=("CVE-1", "CVE-2"), required="1:1.0.2k-26.el7_9", why="it is missing"),
    item("openssl", "INSTALLED", cves=("CVE-1",), advisories=["CESA-2023:1335"]),
    item("nginx", "EXCEPTED", cves=("CVE-3",), why="excused by ann until 2026-12-01"),
    item("kernel", "PENDING_REBOOT", cves=("CVE-4",)),
    item("sudo", "FAILED", cves=("CVE-5",)),
    item("tzdata", "INSTALLED_OTHER", advisories=[]),
    item("telnet", "REJECT", advisories=[]),
)


def violation(text: str) -> Any:
    """Return what the schema of CycloneDX 1.6 finds wrong, None when it finds nothing."""
    from cyclonedx.validation.json import JsonStrictValidator  # takes seconds: only who asks it waits for it

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def test_the_bill_is_cyclonedx_1_6_by_the_schema() -> None:
    text = bill_of_materials(ASKED, report(*FULL), SERIAL).decode()
    assert violation(text) is None
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"], bill["serialNumber"]) == ("CycloneDX", "1.6", SERIAL)
    assert bill["metadata"]["timestamp"] == "2026-11-22T12:40:00+00:00"
    assert bill["metadata"]["component"]["name"] == "ecs-web-02"


def test_R1_the_same_inputs_give_the_same_bytes_and_the_same_serial_number() -> None:
    one = report(*FULL)
    assert bill_of_materials(ASKED, one, serial_number(one)) == bill_of_materials(ASKED, one, serial_number(one))
    other = one | {"inputs": one["inputs"] | {"exceptions_version": 1}}
    assert serial_number(other) != serial_number(one)
    assert serial_number(one).startswith("urn:uuid:")


def test_the_bill_holds_the_report_that_it_is_made_of() -> None:
    one = report(*FULL)
    bill = json.loads(bill_of_materials(ASKED, one, SERIAL))
    (packed,) = (p["value"] for p in bill["metadata"]["properties"] if p["name"] == PACKED)
    held = json.loads(unpack(packed))
    assert (held["asked"], unsealed(held["report"])) == (ASKED, one)


def test_every_package_has_its_url() -> None:
    bill = made(*FULL)
    found = {c["name"]: c.get("purl") for c in bill["components"] if c["type"] == "library"}
    assert len(found) == len(FULL)
    assert found["sudo"] == "pkg:rpm/centos/sudo@1.0.2k-19.el7?arch=x86_64&distro=centos-7.9&epoch=1"


@pytest.mark.parametrize(
    ("installed", "arch", "os", "url"),
    [
        ("4.2.46-34.el7", "x86_64", {"id": "openEuler"}, "pkg:rpm/openeuler/a@4.2.46-34.el7?arch=x86_64"),
        ("1-1", "(none)", {}, "pkg:rpm/a@1-1"),
        ("2:1~rc1^git-1", "noarch", {"id": "hce"}, "pkg:rpm/hce/a@1~rc1%5Egit-1?arch=noarch&epoch=2"),
        ("strange", "", {"id": "hce"}, "pkg:rpm/hce/a@strange"),
    ],
)
def test_a_package_url_has_what_is_known_and_no_more(installed: str, arch: str, os: dict[str, str], url: str) -> None:
    assert package_url({"name": "a", "arch": arch, "installed": installed}, os) == url


def test_a_vulnerability_has_the_state_of_the_packages_it_is_in() -> None:
    assert states(made(*FULL)) == {
        ("CVE-1", "openssl-libs"): "exploitable",
        ("CVE-1", "openssl"): "resolved",  # fixed in one package, open in the other: two entries of one id
        ("CVE-2", "openssl-libs"): "exploitable",
        ("CVE-3", "nginx"): "in_triage",
        ("CVE-4", "kernel"): "exploitable",
        ("CVE-5", "sudo"): "exploitable",
    }


def test_each_state_says_why() -> None:
    bill = made(*FULL)
    by_state = {v["analysis"]["state"]: v for v in bill["vulnerabilities"] if v["id"] in ("CVE-1", "CVE-3")}
    assert by_state["in_triage"]["analysis"]["detail"] == "excused by ann until 2026-12-01"
    assert by_state["resolved"]["analysis"]["detail"] == "fixed by CESA-2023:1335"
    assert by_state["exploitable"]["analysis"]["detail"] == "it is missing"
    assert by_state["exploitable"]["analysis"]["response"] == ["update"]
    assert by_state["exploitable"]["recommendation"] == "Update to openssl-libs 1:1.0.2k-26.el7_9"
    assert by_state["exploitable"]["ratings"] == [{"severity": "high"}]


def test_a_security_advisory_without_a_cve_stands_for_itself_and_a_bugfix_does_not() -> None:
    bugfix = item("bash", "MISSING", category=types_pb2.CATEGORY_BUGFIX, advisories=["CEBA-1"])
    assert states(made(item("vim", "MISSING"), bugfix)) == {("CESA-2023:1335", "vim"): "exploitable"}


def test_R11_what_is_not_known_is_said_where_a_reader_would_take_silence_for_safety() -> None:
    undetermined = report() | {
        "status": "UNDETERMINED",
        "reasons": [{"reason": "REPO_ERROR", "detail": "updates: 404", "help": ""}],
    }
    bill = json.loads(bill_of_materials(ASKED, undetermined, SERIAL))
    said = {p["name"]: p["value"] for p in bill["metadata"]["component"]["properties"]}
    assert said["patchwarden:instance_status"] == "UNDETERMINED"
    assert said["patchwarden:undetermined:1"] == "REPO_ERROR: updates: 404"
    assert said["patchwarden:packages"].startswith("the newest installed build of each name and architecture")


def test_two_packages_of_one_name_have_refs_of_their_own() -> None:
    bill = made(item("glibc", "INSTALLED", arch="i686"), item("glibc", "INSTALLED", arch="x86_64"))
    refs = [c["bom-ref"] for c in bill["components"]]
    assert len(refs) == len(set(refs)) == 3
    assert violation(json.dumps(bill)) is None


def test_a_package_that_is_listed_for_two_reasons_is_one_component() -> None:
    obsolete = item("mysql", "MISSING", cves=("CVE-1",), reason="OBSOLETES", required="1:2-1")
    bill = made(item("mysql", "MISSING", cves=("CVE-1",)), obsolete)
    assert [c["name"] for c in bill["components"]].count("mysql") == 1
    (ref,) = {c["bom-ref"] for c in bill["components"] if c["name"] == "mysql"}
    assert [v["affects"] for v in bill["vulnerabilities"]] == [[{"ref": ref}]] * 2
    assert violation(json.dumps(bill)) is None
