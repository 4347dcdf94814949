"""patchctl report verify on every format: what was written is verified, any change is refused with its place, whoever sealed it again."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import os
import re
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from common.errors import NotFound
from common.pb.v1 import report_pb2, types_pb2
from controller.cli.export import serial_number
from controller.report import json_stream, kept_any, kept_pdf
from controller.report.html import END, HEAD, REPORT, SEAL
from controller.report.kept import NotAnExport
from controller.report.render import whole_json
from controller.report.sbom import PACKED, pack, unpack
from controller.report.seal import KEY, FileSeal, FirstFileSeal, canonical_line, rows_sum, sealed, unsealed
from controller.report.sheet import COLUMNS
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import (  # noqa: F401 - fixtures
    a_report,
    at,
    logged_in,
    patchctl,
    started,
)

AS_OF = datetime(2026, 11, 22, 12, 40, tzinfo=UTC)
FORMATS = ("json", "ndjson", "csv", "html", "pdf", "cyclonedx")
FLEETS = tuple(kind for kind in FORMATS if kind != "cyclonedx")
Fleet = dict[str, report_pb2.InstanceReport]


def a_dated_report(name: str) -> report_pb2.InstanceReport:
    report = a_report()
    report.instance_id, report.instance_name = f"i-{name}", name
    report.inputs.as_of.CopyFrom(at(AS_OF))
    report.inputs.inventory_digest = "1a" * 32
    report.items[0].first_non_compliant_at.FromJsonString("2026-10-12T10:00:00Z")
    return report


@pytest.fixture(name="fleet")
def three_instances(server: ScriptedController) -> Fleet:
    """A controller with three reports: what `export` says, `GetReport` says again, as long as the test changes nothing."""
    found = {r.instance_id: r for r in map(a_dated_report, ("ecs-web-01", "ecs-web-02", "ecs-db-01"))}

    def chosen(request: Any) -> Iterator[report_pb2.ExportResponse]:
        wanted = request.selector.instances
        return iter(
            [report_pb2.ExportResponse(report=r) for r in found.values() if not wanted or r.instance_name in wanted]
        )

    server.answers |= {
        "Export": chosen,
        "GetReport": lambda request: report_pb2.GetReportResponse(report=found[request.instance]),
    }
    return found


@pytest.fixture(name="file")
def nowhere_yet(tmp_path: Path) -> Path:
    return tmp_path / "no-extension-tells-what-this-is"


def export(kind: str, file: Path, *more: str) -> bytes:
    one = ("--instance", "ecs-web-02") if kind == "cyclonedx" else ()
    done = patchctl("report", "export", "--format", kind, "--file", str(file), *one, *more)
    assert done.exit_code == 0, done.stderr
    return file.read_bytes()


def verify(file: Path, *more: str) -> Result:
    return patchctl("report", "verify", str(file), *more)


@pytest.mark.parametrize("kind", FORMATS)
def test_R1_what_was_written_is_verified(fleet: Fleet, file: Path, kind: str) -> None:
    export(kind, file)
    done = verify(file)
    count = "1 report" if kind == "cyclonedx" else "3 reports"
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        "",
        f"{count} verified: the same inputs give the same answers.\n",
    )
    assert json.loads(verify(file, "-o", "json").stdout)["format"] == kind


@pytest.mark.parametrize("kind", FORMATS)
def test_invariant_5_twice_the_same_inputs_are_twice_the_same_bytes(fleet: Fleet, file: Path, kind: str) -> None:
    assert export(kind, file) == export(kind, file)


@pytest.mark.parametrize("kind", FORMATS)
def test_R1_an_answer_that_is_otherwise_now_is_named_with_what_differs(fleet: Fleet, file: Path, kind: str) -> None:
    export(kind, file)
    now = fleet["i-ecs-web-02"]
    now.inputs.baseline_version = 4
    now.items[0].status = types_pb2.PATCH_STATUS_INSTALLED
    done = verify(file)
    assert done.exit_code == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("ecs-web-02  ")
    assert "openssl-libs.x86_64" in line
    if kind == "csv":
        assert "inputs.baseline_version was 3, is 4; row 4 openssl-libs.x86_64: item.status was MISSING" in line
    else:
        assert "input baseline was b-1 version 3, is b-1 version 4" in line
        assert "openssl-libs.x86_64 was MISSING, is INSTALLED" in line


@pytest.mark.parametrize("kind", FORMATS)
def test_a_controller_that_does_not_know_the_instance_verifies_nothing(
    server: ScriptedController, fleet: Fleet, file: Path, kind: str
) -> None:
    def unknown(request: Any) -> Any:
        raise NotFound("instance", request.instance, "")

    export(kind, file)
    server.answers["GetReport"] = unknown
    done = verify(file)
    assert done.exit_code == 1
    assert all("cannot be computed again: " in line for line in done.stdout.splitlines())


@pytest.mark.parametrize("kind", FORMATS)
def test_R1_another_inventory_is_another_answer_though_it_looks_alike(fleet: Fleet, file: Path, kind: str) -> None:
    export(kind, file)
    fleet["i-ecs-web-02"].inputs.inventory_digest = "2b" * 32
    done = verify(file)
    assert done.exit_code == 1
    assert "1a1a1a1a" in done.stdout
    assert "2b2b2b2b" in done.stdout


@pytest.mark.parametrize("kind", FORMATS)
def test_what_an_instance_is_called_now_is_a_remark_for_it_is_no_part_of_the_answer(
    fleet: Fleet, file: Path, kind: str
) -> None:
    export(kind, file)
    fleet["i-ecs-web-02"].instance_name = "renamed"
    fleet["i-ecs-web-02"].region = "eu-1"
    done = verify(file)
    assert done.exit_code == 0
    assert (
        "note: ecs-web-02: instance_name is ecs-web-02 in the file, renamed now; region is cn-hongkong" in done.stderr
    )
    assert [b["instance"] for b in json.loads(verify(file, "-o", "json").stdout)["besides"]] == ["ecs-web-02"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_date_that_is_forgotten_does_not_make_a_kept_file_wrong(fleet: Fleet, file: Path, kind: str) -> None:
    export(kind, file)
    for report in fleet.values():
        report.items[0].ClearField("first_non_compliant_at")
        report.items[0].why = "the sentence that told the date"
    assert verify(file).exit_code == 0


# --- one character

CHANGES: dict[str, list[tuple[bytes, bytes, str]]] = {
    "json": [
        (b'"status": "MISSING"', b'"status": "MISSINH"', "ecs-web-01  report 1 was changed"),
        (b'"missing": 2', b'"missing": 3', "ecs-web-01  report 1 was changed"),
        (b'"instance_name": "ecs-db-01"', b'"instance_name": "ecs-db-02"', "ecs-db-02  report 3 was changed"),
        (b'"all_items": false', b'"all_items": true', "as_of, what was asked, the summary, or which reports there are"),
        (b'"instances": 3', b'"instances": 4', "as_of, what was asked, the summary"),
        (b'"sha256": "', b'"sha256": "0', "report 1 was changed"),
    ],
    "ndjson": [
        (b'"status":"MISSING"', b'"status":"MISSINH"', "ecs-web-01  report 1 was changed"),
        (b'"missing":2', b'"missing":3', "report 1 was changed"),
        (b'"number":2', b'"number":4', "ecs-web-02  report 2 was changed"),
        (b'"sha256":"', b'"sha256":"0', "report 1 was changed"),
    ],
    "csv": [
        (b"MISSING", b"MISSINH", "ecs-web-01  rows 2 to 3: report 1 was changed"),
        (b",ecs-db-01", b",ecs-db-02", "ecs-db-02  rows 6 to 7: report 3 was changed"),
        (b"2023:1335", b"2023:1336", "rows 2 to 3: report 1 was changed"),
        (b"item.why", b"item.wyh", "column 'item.why' is missing"),
        (b"1a1a", b"1a1b", "rows 2 to 3: report 1 was changed"),
    ],
    "html": [
        (b'<td><b>openssl-libs</b>', b'<td><b>openssl-libz</b>', "ecs-web-01  line "),
        (b'class="count">3<', b'class="count">2<', "line "),
        (b"<h1>Patch compliance</h1>", b"<h1>Patch Compliance</h1>", "line "),
        (b'"missing":2', b'"missing":3', "ecs-web-01  report 1 was changed"),
        (b'id="seal">{"sha256":"', b'id="seal">{"sha256":"0', "which reports there are was changed"),
        (b"--bad: #", b"--bad:  #", "line "),
        (b"</body>", b"<p>One more.</p></body>", "line "),
    ],
    "cyclonedx": [
        (b'"name": "openssl-libs"', b'"name": "openssl-libz"', "components["),
        (b'"state": "exploitable"', b'"state": "resolved"', "vulnerabilities[0].analysis.state is \"resolved\", its report makes \"exp"),
        (b'"specVersion": "1.6"', b'"specVersion": "1.5"', 'specVersion is "1.5", its report makes "1.6"'),
        (b"1a1a1a1a", b"1a1a1a1b", "metadata.component.properties["),
        (b'"serialNumber": "urn:uuid:', b'"serialNumber": "urn:uuid:0', "serialNumber"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "before", "after", "said"),
    [(kind, *change) for kind, changes in CHANGES.items() for change in changes if change[2]],
)
def test_one_character_less_or_more_is_refused_with_its_place_and_nobody_is_asked(
    server: ScriptedController, fleet: Fleet, file: Path, kind: str, before: bytes, after: bytes, said: str
) -> None:
    content = export(kind, file)
    assert before in content
    file.write_bytes(content.replace(before, after, 1))
    done = verify(file)
    assert done.exit_code in (1, 2)
    assert said in done.stdout + done.stderr
    assert not server.requests("GetReport")


PDF_STREAM = re.compile(
    rb"(/Filter \[ /ASCII85Decode /FlateDecode \] /Length )(\d+)(\n>>\nstream\n)(.*?)(endstream)", re.DOTALL
)


def repacked(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the text of a PDF's pages, and mend the table of places: a file that every reader opens."""

    def changed(found: re.Match[bytes]) -> bytes:
        text = zlib.decompress(base64.a85decode(found[4].strip().removesuffix(b"~>")))
        packed = base64.a85encode(zlib.compress(change(text), 1)) + b"~>\n"
        return found[1] + str(len(packed)).encode() + found[3] + packed + found[5]

    return placed(PDF_STREAM.sub(changed, content))


def placed(content: bytes) -> bytes:
    places = {int(m[1]): m.start() for m in re.finditer(rb"^(\d+) 0 obj$", content, re.MULTILINE)}
    begin, rest = content[: content.rindex(b"xref\n0 ")], content[content.rindex(b"trailer\n") :]
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    table += b"".join(b"%010d 00000 n \n" % places[n] for n in sorted(places))
    return begin + table + re.sub(rb"startxref\n\d+", b"startxref\n%d" % len(begin), rest)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda text: text.replace(b"(NON_COMPLIANT)", b"(COMPLIANT)"),
            "page 1: shows 'COMPLIANT', its data make 'NON_",
        ),
        (lambda text: text.replace(b"openssl-libs", b"openssl-libz"), "page 1: "),
        (lambda text: text.replace(b"1a1a", b"1a1b", 1), "page 2: "),
        (lambda text: text.replace(b"rg", b"RG", 1), "page 1: byte "),
        (lambda text: text + b" BT ET", "page 1: byte "),
    ],
)
def test_a_page_of_a_PDF_that_was_changed_is_named(
    fleet: Fleet, file: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    file.write_bytes(repacked(export("pdf", file), change))
    done = verify(file)
    assert done.exit_code == 1
    assert said in done.stdout


def test_a_PDF_that_another_zlib_packed_is_the_same_report(fleet: Fleet, file: Path) -> None:
    content = export("pdf", file)
    again = repacked(content, lambda text: text)
    assert again != content
    file.write_bytes(again)
    assert verify(file).exit_code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pdf: pdf.replace(b"/Title (Patch compliance as", b"/Title (Patch Compliance as", 1), "byte "),
        (lambda pdf: pdf + b"1 0 obj\n<< >>\nendobj\n", "the end of the file is not what was written"),
        (lambda pdf: pdf.replace(b"startxref\n", b"startxref\n1", 1), "the end of the file"),
        (lambda pdf: pdf.replace(b"%PDF-1.4", b"%PDF-1.5", 1), "the end of the file is not what was written"),
        (lambda pdf: re.sub(rb"\n(\d{9})\d 00000 n", rb"\n\g<1>x 00000 n", pdf, count=1), "the end of the file"),
    ],
)
def test_what_stands_between_the_pages_of_a_PDF_is_looked_at_too(
    fleet: Fleet, file: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    content = export("pdf", file)
    changed = change(content)
    assert changed != content
    file.write_bytes(changed)
    done = verify(file)
    assert done.exit_code == 1
    assert said in done.stdout


def is_damaged(content: bytes) -> bool:
    """Whether a file is refused before anybody is asked."""
    try:
        kept = kept_any.read(io.BytesIO(content), serial_number)
        return bool(list(kept.damage())) or not any(kept.answers())
    except NotAnExport:
        return True


@pytest.mark.parametrize("kind", FORMATS)
def test_no_byte_of_a_file_can_be_flipped_unnoticed(fleet: Fleet, file: Path, kind: str) -> None:
    """Some places, spread over the file. What is not shown (white space, packing) may pass if the values are the same."""
    content = export(kind, file)
    assert not is_damaged(content)
    missed = list[int]()
    for place in range(7, len(content), len(content) // (20 if kind in ("pdf", "html") else 100)):
        changed = bytearray(content)
        changed[place] ^= 0x01
        if not is_damaged(bytes(changed)):
            missed.append(place)
    shown = [place for place in missed if not may_pass(kind, content, place)]
    assert not shown, [content[p - 20 : p + 20] for p in shown]


def packed_in(bill: bytes) -> bytes:
    properties = json.loads(bill)["metadata"]["properties"]
    return str(next(p["value"] for p in properties if p["name"] == PACKED)).encode()


def may_pass(kind: str, content: bytes, place: int) -> bool:
    """A line end or a space between values of data; the bits of a PDF's name for itself; who drew it, when it looks the same; in what is
    packed, what unpacks to the same."""
    drawn_by = re.search(rb'edition"(?::|,\s+"value": )"(\w+)"', content)
    if drawn_by is not None and drawn_by.start(1) <= place < drawn_by.end(1):
        return True
    if kind == "cyclonedx" and 0 <= place - content.index(packed_in(content)) < len(packed_in(content)):
        changed = bytearray(content)
        changed[place] ^= 0x01
        return unpack(packed_in(changed).decode()) == unpack(packed_in(content).decode())
    if kind == "pdf":
        return content.rindex(b"/ID") < place < content.rindex(b"% ReportLab")
    return content[place : place + 1].isspace() and kind != "html"


# --- cut off, emptied, mixed


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(fleet: Fleet, file: Path, kind: str) -> None:
    content = export(kind, file)
    ends = [*range(0, len(content) - 1, max(1, len(content) // 20)), len(content) - 2]
    if kind in ("ndjson", "csv"):  # also where a reader of lines sees nothing wrong
        ends += [m.end() for m in re.finditer(rb"\n", content)][:-1]
    assert [end for end in ends if not is_damaged(content[:end])] == []
    file.write_bytes(content[: ends[-1]])
    done = verify(file)
    assert done.exit_code in (1, 2)
    assert done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_a_report_taken_out_put_twice_or_moved_is_missed(fleet: Fleet, file: Path, kind: str) -> None:
    lines = export(kind, file).splitlines(keepends=True)
    head, size = (1, 2) if kind == "csv" else (0, 1)
    one, two, three = (b"".join(lines[head + n * size : head + (n + 1) * size]) for n in range(3))
    title = b"".join(lines[:head])
    for parts in (
        (one, three),
        (two, three),
        (one, two),
        (one, two, two, three),
        (one, three, two),
        (one, two, three, three),
    ):
        assert is_damaged(title + b"".join(parts))
    assert not is_damaged(title + one + two + three)


@pytest.mark.parametrize("kind", ["json", "html", "pdf", "csv"])
def test_an_export_of_nobody_verifies_nothing(server: ScriptedController, file: Path, kind: str) -> None:
    server.answers["Export"] = lambda _: iter([])
    export(kind, file)
    done = verify(file)
    assert done.exit_code == 2
    assert "holds no report: there is nothing to verify" in done.stderr


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv", "cyclonedx"])
def test_another_layout_of_the_same_values_is_verified(fleet: Fleet, file: Path, kind: str) -> None:
    text = export(kind, file).decode()
    match kind:
        case "ndjson":
            text = "\ufeff" + "\n\n".join(json.dumps(json.loads(line)) for line in text.splitlines())
        case "csv":
            out = io.StringIO()
            csv.writer(out, quoting=csv.QUOTE_ALL).writerows(csv.reader(io.StringIO(text)))  # with \r\n
            text = "\ufeff" + out.getvalue()
        case _:
            text = json.dumps(dict(reversed(json.loads(text).items())))
    file.write_text(text, newline="")
    assert verify(file).exit_code == 0, verify(file).stdout


def test_a_name_that_stands_twice_is_refused_for_readers_see_the_first(fleet: Fleet, file: Path) -> None:
    content = export("json", file)
    file.write_bytes(
        content.replace(b'"status": "NON_COMPLIANT"', b'"status": "COMPLIANT", "status": "NON_COMPLIANT"', 1)
    )
    done = verify(file)
    assert (done.exit_code, "stands twice" in done.stderr) == (2, True)


# --- sealed again by somebody who can


def forged(report: dict[str, Any]) -> dict[str, Any]:
    """The report of ecs-web-02 made to look better than it is."""
    if report["instance_name"] != "ecs-web-02":
        return report
    return unsealed(report) | {"items": [], "status": "COMPLIANT"}


def forge(kind: str, content: bytes) -> bytes:
    match kind:
        case "json":
            whole = json.loads(content)
            return b"".join(whole_json(whole["asked"], [unsealed(forged(r)) for r in whole["reports"]]))
        case "ndjson":
            lines, before = list[bytes](), ""
            for line in content.splitlines():
                report = forged(json.loads(line))
                report = sealed(report | {"place": report["place"] | {"after": before}})
                before = report[KEY]
                lines.append(canonical_line(report) + b"\n")
            return b"".join(lines)
        case "csv":
            return forged_csv(content)
        case "cyclonedx":
            bill = json.loads(content)
            found = next(p for p in bill["metadata"]["properties"] if p["name"] == PACKED)
            held = json.loads(unpack(found["value"]))
            found["value"] = pack({**held, "report": sealed(forged(held["report"]))})
            return json.dumps(bill).encode()
    raise NotImplementedError


def forged_csv(content: bytes) -> bytes:
    titles, *rows = csv.reader(io.StringIO(content.decode()))
    before, out = "", io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(titles)
    for number in ("1", "2", "3"):
        own = [row[:-1] for row in rows if row[-3] == number]
        if number == "2":
            own[0][titles.index("item.status")] = "INSTALLED"
        before = rows_sum(before, own)
        writer.writerows([*row, before] for row in own)
    return out.getvalue().encode()


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv"])
def test_a_change_that_was_sealed_again_is_found_by_computing_again(fleet: Fleet, file: Path, kind: str) -> None:
    file.write_bytes(forge(kind, export(kind, file)))
    done = verify(file)
    assert done.exit_code == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("ecs-web-02  ")
    assert done.stderr == "1 of 3 reports cannot be verified.\n"


def test_a_bill_whose_report_was_forged_is_not_what_that_report_makes(fleet: Fleet, file: Path) -> None:
    file.write_bytes(forge("cyclonedx", export("cyclonedx", file)))
    done = verify(file)
    assert done.exit_code == 1
    assert "ecs-web-02  components[0].bom-ref is " in done.stdout
    assert ", its report makes " in done.stdout


@pytest.mark.parametrize("kind", ["json", "html"])
def test_numbers_that_the_reports_do_not_make_are_seen_whoever_sealed_them(fleet: Fleet, file: Path, kind: str) -> None:
    content = export(kind, file)
    if kind == "json":
        whole = json.loads(content)
        whole["summary"]["counts"]["compliant"] = 3
        seal = FileSeal(whole["asked"])
        for report in whole["reports"]:
            seal.add(report)
        whole[KEY] = seal.close(whole["as_of"], whole["summary"])
        file.write_text(json.dumps(whole))
    else:
        file.write_bytes(forged_page(content))
    done = verify(file)
    assert done.exit_code == 1
    assert "summary.counts.compliant is 3, its reports make 0" in done.stdout


def forged_page(content: bytes) -> bytes:
    lines = content.decode().split("\n")

    def data(begin: str) -> list[tuple[int, Any]]:
        return [(n, json.loads(x[len(begin) : -len(END)])) for n, x in enumerate(lines) if x.startswith(begin)]

    ((place, head),) = data(HEAD)
    head["summary"]["counts"]["compliant"] = 3
    lines[place] = HEAD + json.dumps(head) + END
    seal = FileSeal(head["asked"])
    for _, report in data(REPORT):
        seal.add(report)
    ((place, _),) = data(SEAL)
    lines[place] = SEAL + json.dumps({KEY: seal.close(head["as_of"], head["summary"])}) + END
    return "\n".join(lines).encode()


# --- what earlier versions wrote, and others


def test_the_first_exports_in_JSON_are_verified_as_they_were(fleet: Fleet, file: Path) -> None:
    whole = json.loads(export("json", file))
    del whole["asked"]
    seal = FirstFileSeal(whole["as_of"], whole["summary"])
    for report in whole["reports"]:
        seal.add(report)
    whole[KEY] = seal.hexdigest()
    file.write_text(json.dumps(whole))
    assert verify(file).exit_code == 0
    whole["summary"]["instances"] = 7
    file.write_text(json.dumps(whole))
    assert verify(file).exit_code == 1


def test_the_first_exports_in_NDJSON_are_verified_with_a_word_on_what_cannot_be_told(fleet: Fleet, file: Path) -> None:
    reports = json.loads(export("json", file))["reports"]
    file.write_bytes(b"".join(canonical_line(report) + b"\n" for report in reports))
    done = verify(file)
    assert done.exit_code == 0
    assert "whether a report is missing from it cannot be told" in done.stderr


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        ("csv", lambda text: "\n".join(",".join(line.split(",")[: len(COLUMNS)]) for line in text.splitlines()[:1])),
        ("html", lambda text: re.sub(r"<script.*?</script>\n", "", text)),
        ("cyclonedx", lambda text: json.dumps(json.loads(text) | {"metadata": {}})),
    ],
)
def test_an_export_of_before_seals_is_refused_with_a_word_on_what_to_do(
    fleet: Fleet, file: Path, kind: str, without: Callable[[str], str]
) -> None:
    file.write_text(without(export(kind, file).decode()))
    done = verify(file)
    assert done.exit_code == 2
    assert "carries no seal" in done.stderr
    assert "export it again" in done.stderr


@pytest.mark.parametrize("kind", ["html", "pdf", "cyclonedx"])
def test_what_another_edition_drew_otherwise_says_so(fleet: Fleet, file: Path, kind: str) -> None:
    content = export(kind, file)
    match kind:
        case "html":
            content = re.sub(rb'"edition":"\w+"', b'"edition":"0123456789abcdef"', content)
            file.write_bytes(content)
            assert verify(file).exit_code == 0  # the same look is the same, whoever drew it
            content = content.replace(b"<h1>", b"<h1 >")
        case "pdf":
            content = re.sub(rb"\(edition \w+", b"(edition 0123456789abcdef", content)
            content = content.replace(rb"\(edition", rb"\(edition").replace(
                b"/Subject (unspecified)", b"/Subject (xnspecified)"
            )
        case _:
            content = re.sub(rb'(patchwarden:edition",\s+"value": ")\w+', rb"\g<1>0123456789abcdef", content)
            content = content.replace(b'"specVersion": "1.6"', b'"specVersion": "1.5"')
    file.write_bytes(content)
    done = verify(file)
    assert done.exit_code == 1
    assert "it was drawn by another edition of patchctl (0123456789abcdef, this is " in done.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; report export writes json, ndjson, csv, html, pdf and cyclonedx"),
        (b"hello", "is nothing that report export wrote"),
        (b"\x1f\x8b\x08" + b"x" * 50, "is nothing that report export wrote"),
        (b'{"a": 1}', "is JSON, but no export"),
        (b'{"bomFormat": "CycloneDX"}', "carries no seal"),
        (b'{"as_of": null, "summary": 3}', "no summary"),
        (b'{"as_of": null, "summary": {}, "reports": [1]}', "holds something that is no report"),
        (b'{"as_of": null, "summary": {}, "reports": [' + b"[" * 100_000, "is too deep"),
        (b'{"instance_id": NaN}', "no JSON"),
        (b'{"as_of": "\xff"}', "is no text in UTF-8"),
        (b"%PDF-1.4\nnothing", "is no PDF of an export"),
        (b"<!DOCTYPE html><p>Hello", "carries no seal"),
        (b"instance_id,name\n", "has other columns than an export"),
        (b'instance_id,"\n', "is no CSV"),
    ],
)
def test_what_is_no_export_is_refused_with_a_sentence(fleet: Fleet, file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    done = verify(file)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {file} ")
    assert said in done.stderr


def test_a_folder_and_what_can_be_read_only_once_are_refused(fleet: Fleet, tmp_path: Path) -> None:
    done = verify(tmp_path)
    assert (done.exit_code, "is a folder" in done.stderr) == (2, True)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(pipe.write_bytes, b"{}")
        done = verify(pipe)
        with contextlib.suppress(BrokenPipeError):
            writing.result()
    assert (done.exit_code, "copy it to a file first" in done.stderr) == (2, True)


# --- files that are large, and too large


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv", "html"])
def test_a_fleet_of_any_size_is_looked_at_without_holding_it(server: ScriptedController, file: Path, kind: str) -> None:
    report = a_dated_report("ecs-web-01")
    report.items[0].why = "x" * 100_000
    server.answers["Export"] = lambda _: (report_pb2.ExportResponse(report=report) for _ in range(100))
    export(kind, file)
    assert file.stat().st_size > 10_000_000
    with file.open("rb") as opened, little_memory(6 * 2**20):
        assert list(kept_any.read(opened, serial_number).damage()) == []


@contextlib.contextmanager
def little_memory(limit: int = 200 * 2**20) -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < limit


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (b'{"as_of": "', "is no JSON"),
        (b'{"instance_id": "', "is no JSON"),
        (b'{"instance_id": 1}', "has a line 1 of more than 32 MiB"),
        (b'{"bomFormat": 1}', "is a bill of materials of more than 128 MiB"),
        (b"<!DOCTYPE html>", "has a line 1 of more than 32 MiB"),
        (b"%PDF-1.4\n", "is a PDF of more than 256 MiB"),
        (b"instance_id,", "has a line 1 of more than 4 MiB"),
    ],
)
def test_a_file_of_a_GiB_is_refused_without_being_read_whole(fleet: Fleet, file: Path, begin: bytes, said: str) -> None:
    with file.open("wb") as out:
        out.write(begin)
        out.truncate(2**30)  # sparse
    with little_memory():
        done = verify(file)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("begin", "repeated", "said"),
    [
        (b'{"as_of": "', b"x", "holds one thing of more than 1 MiB"),
        (b'{"as_of": null, "reports": [{"a": [', b"1, ", "holds one thing of more than 1 MiB"),
        (b'{"as_of": null, "reports": [', b" ", "too early"),
        (b'instance_id,"', b"x\n", "is no CSV: field larger than field limit"),
    ],
)
def test_one_thing_without_end_is_refused(
    fleet: Fleet, file: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes, repeated: bytes, said: str
) -> None:
    monkeypatch.setattr(json_stream, "MAX_REPORT_BYTES", 2**20)
    file.write_bytes(begin + repeated * (2 * 2**20 // len(repeated)))
    done = verify(file)
    assert done.exit_code in (1, 2)
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["pdf", "cyclonedx"])
def test_what_unpacks_without_end_is_refused(
    fleet: Fleet, file: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content = export(kind, file)
    bomb = zlib.compress(b" " * (40 * 2**20), 9)
    if kind == "pdf":
        monkeypatch.setattr(kept_pdf, "_MAX_UNPACKED", 2**20)
        attached = re.compile(
            rb"(/Length )\d+( /Params <<\n/Size \d+\n>> [^\n]*\n?[^\n]*\n>>\nstream\n).*?(endstream)", re.DOTALL
        )
        content = attached.sub(lambda m: m[1] + b"%d" % (len(bomb) + 1) + m[2] + bomb + b"\n" + m[3], content, count=1)
        content = placed(content)
    else:
        bill = json.loads(content)
        next(p for p in bill["metadata"]["properties"] if p["name"] == PACKED)["value"] = base64.b64encode(
            bomb
        ).decode()
        content = json.dumps(bill).encode()
    file.write_bytes(content)
    with little_memory():
        done = verify(file)
    assert done.exit_code == 2
    assert "too large" in done.stderr or "no export is so large" in done.stderr
