"""Repository files: whole, or an error that says what is wrong; never "no advisories"."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import lzma
import operator
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import zstandard

from common.errors import Unavailable
from common.nevra import Nevra
from controller.compliance.model import Category, Severity
from controller.inventory import advisories, metadata, parse_worker
from controller.inventory.metadata import MetadataError, parse_primary, parse_updateinfo
from controller.inventory.parse_worker import MetadataParser
from uniagent import family

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data are not here")


def updates(*entries: str) -> bytes:
    return f'<?xml version="1.0"?><updates>{"".join(entries)}</updates>'.encode()


def an_update(
    inside: str = "",
    kind: str = "security",
    issued: str = "2023-03-20",
    severity: str = "Important",
    packages: str = "",
) -> str:
    return (
        f'<update type="{kind}"><id>A-1</id><title>t</title><issued date="{issued}"/><severity>{severity}</severity>'
        f'{inside}<pkglist><collection short="c">{packages}</collection></pkglist></update>'
    )


BASH = '<package name="bash" version="5.1" release="2.el9" epoch="1" arch="x86_64"/>'
ONE = updates(an_update(packages=BASH))


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
def test_every_compression_that_repositories_use_is_read(compress: Callable[[bytes], bytes]) -> None:
    (advisory,) = parse_updateinfo(compress(ONE))
    assert advisory.packages[0].nevra == Nevra("bash", 1, "5.1", "2.el9", "x86_64")


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_an_error(compress: Callable[[bytes], bytes], keep: float) -> None:
    whole = compress(updates(*(an_update(packages=BASH).replace("A-1", f"A-{n}") for n in range(200))))
    with pytest.raises(MetadataError):
        parse_updateinfo(whole[: int(len(whole) * keep)])


def test_a_large_file_of_utf_16_is_never_whole_in_memory() -> None:
    content = f"<updates>{' ' * (8 << 20)}</updates>".encode("utf-16")
    tracemalloc.start()
    try:
        assert parse_updateinfo(content) == ()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 << 20


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_an_updateinfo_in_UTF_16_is_read_and_bounded_like_any_other(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    zoned = an_update(packages=BASH, issued="2023-03-20 23:30:00 -0500").replace("<title>t", "<title>é")
    text = f'<?xml version="1.0" encoding="UTF-16"?>\n<updates>{zoned}</updates>'
    (advisory,) = parse_updateinfo(text.encode(encoding))
    assert (advisory.title, advisory.issued, len(advisory.packages)) == ("é", date(2023, 3, 21), 1)
    with pytest.raises(MetadataError):
        parse_updateinfo(text.encode(encoding)[:-3])
    monkeypatch.setattr(metadata, "MAX_ADVISORIES", 3)
    with pytest.raises(MetadataError, match="holds more than 3 advisories"):
        parse_updateinfo(f"<updates>{4 * '<update/>'}</updates>".encode(encoding))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b'<?xml version="1.0" encoding="UTF-9"?><updates/>', "is not XML"),  # found by fuzzing
        (b"<html><body>Not found</body></html>", "outermost element is <html>, not <updates>"),
        (b"<metadata/>", "outermost element is <metadata>"),
        (b"Not found", "is not XML"),
        (b"<!-- nothing -->", "is not XML"),
        (updates("<update>")[:-10], "is not whole XML"),
        (b"\0ZCK1" + b"x" * 20, "compressed in a way that is not known"),
        (b'<!DOCTYPE u [<!ENTITY a "b">]>' + ONE, "declares XML entities"),
        ('<!DOCTYPE u [<!ENTITY a "b">]><updates>&a;</updates>'.encode("utf-16"), "declares XML entities"),
        (b'<!DOCTYPE updates SYSTEM "http://127.0.0.1/more"><updates>&more;</updates>', "declares XML entities"),
        (b"<!DOCTYPE html><html><body>Bad gateway</body></html>", "outermost element is <html>, not <updates>"),
        (updates(an_update(packages=BASH)) + b"\0<updates/>", "is not whole XML"),
        (updates(an_update(packages=BASH)) + updates(), "is not whole XML"),
        (updates(an_update(packages=BASH)).replace(b"<title>", b"<title>\0"), "is not whole XML"),
        (updates(an_update(packages='<package name="bash" arch="x86_64"/>')), "names bash without version"),
        (updates(an_update(packages=BASH.replace('epoch="1"', 'epoch="x"'))), "'x' is not an epoch"),
        (updates(an_update(packages=BASH).replace("<id>A-1</id>", "")), "advisory number 1 has no id"),
        (updates(an_update(packages='<package version="1"/>')), "a package without a name"),
        (updates(an_update(packages=BASH.replace('version="', 'version="1:'))), "bash has an epoch in its version: 1:"),
        (updates(an_update(packages=BASH.replace('arch="', 'arch=" '))), "has a space in its name, version, release"),
        (
            updates(an_update(packages=BASH.replace('name="', 'name="&#10;'))),
            "has a space in its name, version, release",
        ),
    ],
)
def test_what_is_no_updateinfo_is_an_error_that_says_why(content: bytes, words: str) -> None:
    with pytest.raises(MetadataError, match=r".") as refused:
        parse_updateinfo(content)
    assert words in str(refused.value)


def test_an_updateinfo_that_lists_nothing_is_valid_and_empty() -> None:
    assert parse_updateinfo(b"<updates/>") == ()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_a_bomb_is_refused_when_it_passes_the_limit(compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(b"<updates>" + b" " * (8 << 20))
    assert len(bomb) < 1 << 16
    with pytest.raises(MetadataError, match="more than 1,048,576 bytes when unpacked"):
        parse_updateinfo(bomb, max_bytes=1 << 20)


@pytest.mark.parametrize(
    ("head", "unit", "words"),
    [
        (b"<updates>", b"<update/>", "holds more than 50,000 advisories, which is the limit"),
        (b"<updates><update><pkglist><collection>", b"<package />", "an advisory with more than 20,000 packages"),
        (b"<updates><update><references>", b"<reference/>", "an advisory with more than 20,000 references"),
        (
            b"<updates>",
            b"<update>" + b"<reference/>" * 15_000 + b"<package/>" * 10_000 + b"</update>",
            "lists more than 2,000,000 packages and references",
        ),
        (b"<updates><update><pkglist>", b"<collection\n/>", "an advisory with more than 20,000 collections"),
    ],
)
def test_a_bomb_of_small_elements_is_refused_before_it_takes_the_square_of_its_length(
    head: bytes, unit: bytes, words: str
) -> None:
    """Sixteen kilobytes once took more than ten minutes."""
    bomb = gzip.compress(head + unit * ((24 << 20) // len(unit)))
    assert len(bomb) < 1 << 17
    with pytest.raises(MetadataError, match=words):
        parse_updateinfo(bomb)


def test_what_the_largest_vendors_publish_is_far_from_the_limits() -> None:
    many = updates(*(an_update(packages=BASH * 100) for _ in range(400)), an_update(packages=BASH * 5_000))
    assert sum(len(advisory.packages) for advisory in parse_updateinfo(many)) == 45_000


@pytest.mark.slow
def test_a_bomb_of_two_gibibytes_is_refused_long_before_it_is_unpacked() -> None:
    compressor, parts = zstandard.ZstdCompressor().compressobj(), list[bytes]()
    for _ in range(2048):
        parts.append(compressor.compress(bytes(1 << 20)))
    with pytest.raises(MetadataError, match=r"unpacks [\d,]+ bytes to more than 6\d MiB"):
        parse_primary(b"".join([*parts, compressor.flush()]))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2023-03-20", date(2023, 3, 20)),
        ("2023-03-20 10:00:00", date(2023, 3, 20)),
        ("2023-03-20 10:00", date(2023, 3, 20)),
        ("2023-03-20T10:00:00Z", date(2023, 3, 20)),
        ("1679270400", date(2023, 3, 20)),
        ("", None),
        ("0", None),
        ("1970-01-01", None),
        ("2023-02-30", None),
        ("2023-03-20T10:08:15.000000Z", date(2023, 3, 20)),
        ("2023-03-20T23:30:00-05:00", date(2023, 3, 21)),
        ("2023-03-20 23:30:00 -0500", date(2023, 3, 21)),
        ("2023-03-20T00:30:00+05:00", date(2023, 3, 19)),
        ("2023-03-20T12:30:00+05:00", date(2023, 3, 20)),
        ("2023-13-45", None),
        ("20.03.2023", None),
        ("soon", None),
        ("99999999999999999999", None),
    ],
)
def test_R5_dates_are_read_in_the_forms_that_vendors_use_and_all_else_is_missing(
    raw: str, expected: date | None
) -> None:
    assert advisories.day(raw) == expected
    assert parse_updateinfo(updates(an_update(issued=raw)))[0].issued == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Critical", Severity.CRITICAL),
        ("critical", Severity.CRITICAL),
        ("SEVERITY_MODERATE", Severity.MODERATE),
        ("Medium", Severity.MODERATE),
        ("high", Severity.IMPORTANT),
        ("urgent", Severity.CRITICAL),
        (" Important\n", Severity.IMPORTANT),
        ("LOW", Severity.LOW),
        ("None", Severity.NONE),
        ("", Severity.NONE),
        ("severity_1", Severity.NONE),
    ],
)
def test_R6_severities_are_normalised_and_the_raw_text_is_kept(raw: str, expected: Severity) -> None:
    (advisory,) = parse_updateinfo(updates(an_update(severity=raw)))
    assert (advisory.severity, advisory.raw_severity) == (expected, raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("security", Category.SECURITY),
        ("Security", Category.SECURITY),
        ("TYPE_SECURITY", Category.SECURITY),
        ("security advisory", Category.SECURITY),
        ("bugfix", Category.BUGFIX),
        ("bug fix", Category.BUGFIX),
        ("enhancement", Category.ENHANCEMENT),
        ("recommended", Category.RECOMMENDED),
        ("newpackage", Category.NEWPACKAGE),
        ("new-package", Category.NEWPACKAGE),
        ("whatever", Category.UNSPECIFIED),
        ("", Category.UNSPECIFIED),
    ],
)
def test_R6_types_are_normalised_and_the_raw_text_is_kept(raw: str, expected: Category) -> None:
    (advisory,) = parse_updateinfo(updates(an_update(kind=raw)))
    assert (advisory.category, advisory.raw_type) == (expected, raw)


@pytest.mark.parametrize(
    "misplace",
    [
        lambda text: text.replace('<collection short="c">', "").replace("</collection>", ""),
        lambda text: text.replace('<collection short="c">', "<collection><packages>").replace(
            "</collection>", "</packages></collection>"
        ),
        lambda text: text.replace("<package ", "<Package "),
        lambda text: text.replace("<update ", "<group><update ").replace("</update>", "</update></group>"),
        lambda text: text.replace("<update ", "<u:update ").replace("</update>", "</u:update>"),
        lambda text: text.replace(
            "<package ", '<module name="a" stream="1"/><module name="a" stream="2"/><package ', 1
        ),
        lambda text: text.replace("<pkglist>", '<pkglist><module name="a" stream="1"/>'),
    ],
    ids=[
        *("no collection", "one list too many", "other case", "in a group", "with a prefix", "two modules"),
        "a module outside its collection",
    ],
)
def test_R11_advisories_and_packages_where_nobody_would_read_them_are_an_error_and_never_passed_over(
    misplace: Callable[[str], str],
) -> None:
    """One good advisory stands beside the odd one: to leave that out would call too much compliant."""
    odd = misplace(an_update(packages=BASH))
    with pytest.raises(MetadataError, match="where none are expected"):
        parse_updateinfo(updates(an_update(packages=BASH), odd).replace(b"<updates>", b'<updates xmlns:u="urn:u">'))
    one = f'<module name="a" stream="1"/>{BASH}'
    commented = updates(an_update("<issue/>", packages=one), f"<!-- {an_update(packages=one)} -->")
    assert len(parse_updateinfo(commented)) == 1


def test_R11_packages_that_are_named_by_elements_are_an_error_and_never_passed_over() -> None:
    odd = "<package><name>zsh</name><version>5</version><release>1</release><arch>x86_64</arch></package>"
    with pytest.raises(MetadataError, match="names packages by elements"):
        parse_updateinfo(updates(an_update(packages=BASH), an_update(packages=odd)))
    (advisory,) = parse_updateinfo(updates(an_update(packages=f"{BASH}<package/>") + "<name>of the file</name>"))
    assert len(advisory.packages) == 1


def test_what_an_advisory_tells_of_entities_declares_none() -> None:
    told = an_update(packages=BASH).replace("<title>t", "<title><![CDATA[XXE by <!ENTITY x SYSTEM 'file'>]]>")
    (advisory,) = parse_updateinfo(updates(told, "<!-- <!ENTITY x 'y'> -->"))
    assert advisory.title == "XXE by <!ENTITY x SYSTEM 'file'>"


def test_the_id_of_an_advisory_and_of_a_CVE_have_no_spaces_around_them() -> None:
    spaced = an_update('<references><reference type="cve" id=" CVE-2023-0001 "/></references>', packages=BASH)
    (advisory,) = parse_updateinfo(updates(spaced.replace("<id>A-1</id>", "<id>\n  A-1\n</id>")))
    assert (advisory.id, advisory.cves) == ("A-1", ("CVE-2023-0001",))


def test_CVEs_come_from_references_of_that_type_and_from_numbers_in_the_others() -> None:
    references = (
        '<references><reference type="cve" id="CVE-2023-0001"/><reference type="CVE" id="2999"/>'
        '<reference type="bugzilla" id="77" title="cve-2023-00022 bash: hole; see CVE-2023-0001"/></references>'
    )
    (advisory,) = parse_updateinfo(updates(an_update(references)))
    assert advisory.cves == ("CVE-2023-0001", "2999", "CVE-2023-00022")


def test_R8_the_module_comes_from_its_element_or_else_the_release_tag_tells_that_there_is_one() -> None:
    tagged = '<package name="ruby" version="2" release="1.module+el8.4.0+1+a" arch="x86_64"/>'
    named = '<module name="ruby" stream="2.6" version="1" context="c" arch="x86_64"/>'
    (advisory,) = parse_updateinfo(updates(an_update(packages=named + tagged)))
    assert advisory.packages[0].module == "ruby:2.6"
    (advisory,) = parse_updateinfo(updates(an_update(packages=tagged)))
    assert advisory.packages[0].module == advisories.UNKNOWN_MODULE
    assert parse_updateinfo(ONE)[0].packages[0].module == ""


def test_R9_reboot_suggested_is_read_of_a_package_and_of_a_whole_advisory() -> None:
    one = BASH.replace("/>", "><reboot_suggested/></package>") + BASH.replace("bash", "zsh")
    (advisory,) = parse_updateinfo(updates(an_update(packages=one)))
    assert [p.reboot_suggested for p in advisory.packages] == [True, False]
    (advisory,) = parse_updateinfo(updates(an_update("<reboot_suggested>True</reboot_suggested>", packages=one)))
    assert [p.reboot_suggested for p in advisory.packages] == [True, True]


@needs_data
@pytest.mark.parametrize(
    ("name", "count", "packages"),
    [
        ("rocky.updateinfo.xml", 4, None),
        ("updateinfo.xml.gz", 2, 8),
        ("updateinfo_00.xml", 0, 0),
        ("updateinfo_01.xml", 1, 1),
        ("updateinfo_02.xml.xz", 1, 0),
        ("updateinfo_03.xml", 6, None),
        ("updateinfo_1_item.xml.gz", 1, 13),
        ("updateinfo_2_items.xml.gz", 2, 22),
        ("updateinfo_AL2022.xml.gz", 1, 32),
        ("updateinfo_AL2023.xml.gz", 1, 61),
    ],
)
def test_real_updateinfo_files_are_read_whole(name: str, count: int, packages: int | None) -> None:
    found = parse_updateinfo((DATA / "updateinfo" / name).read_bytes())
    assert len(found) == count
    if packages is not None:
        assert sum(len(a.packages) for a in found) == packages
    assert advisories.Decoder().advisories(advisories.encode_advisories(found)) == found


@needs_data
@pytest.mark.parametrize("name", ["invalid_xml.gz", "rocky_invalid.updateinfo.xml.gz", "updateinfo_invalid.xml.gz"])
def test_real_broken_updateinfo_files_are_errors(name: str) -> None:
    with pytest.raises(MetadataError, match="XML"):
        parse_updateinfo((DATA / "updateinfo" / name).read_bytes())


PRIMARY = b"""<?xml version="1.0"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="3">
<package type="rpm"><name>kernel</name><arch>x86_64</arch><version epoch="0" ver="5.14" rel="2.el9"/>
<checksum type="sha256" pkgid="YES">aa</checksum><time file="5" build="1679300000"/>
<format><rpm:provides><rpm:entry name="installonlypkg(kernel)"/></rpm:provides>
<rpm:obsoletes><rpm:entry name="old" flags="LT" epoch="1" ver="2" rel="3"/><rpm:entry name="older"/></rpm:obsoletes></format></package>
<package type="rpm"><name>bash</name><arch>src</arch><version epoch="0" ver="5" rel="1"/>
<checksum type="sha256" pkgid="YES">bb</checksum><format/></package>
<package type="rpm"><name>bash</name><arch>x86_64</arch><version epoch="3" ver="5" rel="1"/>
<checksum type="sha256" pkgid="YES">cc</checksum><format/></package></metadata>"""


def test_a_primary_file_says_what_a_repository_offers() -> None:
    kernel, bash = parse_primary(gzip.compress(PRIMARY))
    assert (kernel.nevra, kernel.build_time) == (Nevra("kernel", 0, "5.14", "2.el9", "x86_64"), 1679300000)
    assert kernel.install_only
    assert kernel.obsoletes == ("old < 1:2-3", "older")
    assert (bash.nevra.epoch, bash.build_time, bash.install_only) == (3, 0, False)
    assert advisories.Decoder().available(advisories.encode_available((kernel, bash))) == (kernel, bash)


def test_a_record_that_an_earlier_file_had_is_the_same_object() -> None:
    decoder = advisories.Decoder()
    first = parse_updateinfo(ONE)
    second = parse_updateinfo(updates(an_update(packages=BASH), an_update(kind="bugfix", packages=BASH)))
    (known,) = decoder.advisories(advisories.encode_advisories(first))
    found = decoder.advisories(advisories.encode_advisories(second))
    assert found == second
    assert found[0] is known
    assert found[1] is not known
    builds = parse_primary(gzip.compress(PRIMARY))
    assert all(
        map(
            operator.is_,
            decoder.available(advisories.encode_available(builds)),
            decoder.available(advisories.encode_available(builds[::-1]))[::-1],
        )
    )


def test_of_records_that_no_file_repeats_only_so_many_are_remembered() -> None:
    decoder = advisories.Decoder(max_records=2)
    names = [an_update(packages=BASH.replace("bash", name)) for name in ("a", "b", "c")]
    files = [advisories.encode_advisories(parse_updateinfo(updates(name))) for name in names]
    (first,) = decoder.advisories(files[0])
    assert decoder.advisories(files[1]) != (first,)
    assert decoder.advisories(files[0])[0] is first  # it was repeated in time
    for file in files[1:]:
        decoder.advisories(file)
    (again,) = decoder.advisories(files[0])
    assert again == first
    assert again is not first


@pytest.mark.parametrize("content", [b"", b"rubbish", advisories.encode_available(()), zlib.compress(b"[]")])
def test_what_was_not_encoded_is_not_read(content: bytes) -> None:
    with pytest.raises(ValueError, match="not"):
        advisories.Decoder().advisories(content)


@pytest.mark.parametrize(
    "content", [b"", b"<updates/>", PRIMARY[:-40], PRIMARY.replace(b'ver="5.14" ', b""), b"SQLite format 3\0rubbish"]
)
def test_what_is_no_primary_is_an_error(content: bytes) -> None:
    with pytest.raises(MetadataError):
        parse_primary(content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda text: text.replace(b"<package ", b"<group><package ").replace(b"</package>", b"</package></group>"),
            "where",
        ),
        (lambda text: text.replace(b"<package ", b"<Package ").replace(b"</package>", b"</Package>"), "where none are"),
        (
            lambda text: text.replace(b"<name>", b"<name>\n", 1),
            "a package: kernel has a space in its name, version",
        ),
        (lambda text: text.replace(b"<arch>x86_64</arch>", b""), "package 'kernel' has no version, release or arch"),
    ],
    ids=["in a group", "other case", "a space", "no arch"],
)
def test_R11_what_a_repository_offers_and_nobody_would_read_is_an_error(
    change: Callable[[bytes], bytes], said: str
) -> None:
    with pytest.raises(MetadataError) as refused:
        parse_primary(change(PRIMARY))
    assert said in str(refused.value)
    assert "XML" not in str(refused.value)
    unknown = PRIMARY.replace(b"</metadata>", b"<vendor><size package='1'/></vendor></metadata>")
    assert parse_primary(unknown) == parse_primary(PRIMARY)


def test_the_database_form_of_yum_3_says_the_same_as_the_XML(tmp_path: Path) -> None:
    path = tmp_path / "primary.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE packages (pkgKey INTEGER PRIMARY KEY, name TEXT, arch TEXT, version TEXT, epoch TEXT, release TEXT,
          time_build INTEGER);
        CREATE TABLE provides (name TEXT, flags TEXT, epoch TEXT, version TEXT, release TEXT, pkgKey INTEGER);
        CREATE TABLE obsoletes (name TEXT, flags TEXT, epoch TEXT, version TEXT, release TEXT, pkgKey INTEGER);
        INSERT INTO packages VALUES (1, 'kernel', 'x86_64', '5.14', '0', '2.el9', 1679300000), (2, 'bash', 'src', '5', '0', '1', 1),
          (3, 'bash', 'x86_64', '5', '3', '1', NULL);
        INSERT INTO provides VALUES ('installonlypkg(kernel)', NULL, NULL, NULL, NULL, 1);
        INSERT INTO obsoletes VALUES ('old', 'LT', '1', '2', '3', 1), ('older', NULL, NULL, NULL, NULL, 1);
        """
    )
    connection.close()
    assert parse_primary(bz2.compress(path.read_bytes())) == parse_primary(PRIMARY)
    damaged = path.read_bytes()[:-5000]
    with pytest.raises(MetadataError):
        parse_primary(damaged)


async def test_the_parser_works_in_a_process_of_its_own_and_names_the_file_that_it_cannot_read() -> None:
    async with MetadataParser() as parser:
        assert await parser.updateinfo("ab" * 32, gzip.compress(ONE)) == parse_updateinfo(ONE)
        assert await parser.primary("cd" * 32, PRIMARY) == parse_primary(PRIMARY)
        with pytest.raises(MetadataError, match="updateinfo efefefefefef: is not XML"):
            await parser.updateinfo("ef" * 32, b"rubbish")
        assert await parser.updateinfo("ab" * 32, ONE) == parse_updateinfo(ONE)


KILLED = """
import asyncio, multiprocessing, os, signal, sys
from controller.inventory.parse_worker import MetadataParser
from uniagent import family

async def main():
    parser = MetadataParser()
    await parser.updateinfo("ab" * 32, b"<updates></updates>")
    (worker,) = multiprocessing.active_children()
    print(worker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_a_worker_ends_with_a_controller_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py")]
    killed = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    async with asyncio.timeout(60):
        while family.look(int(killed.stdout)) is not None:  # whoever takes it over may leave its body lying about
            await asyncio.sleep(0.02)


def test_R11_a_fault_of_a_parser_is_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(content: bytes) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(parse_worker.metadata, "parse_updateinfo", fault)
    monkeypatch.setattr(parse_worker, "_limit_time", lambda seconds: None)
    with pytest.raises(MetadataError, match=r"the parser failed on it .KeyError: 'surprise'."):
        parse_worker._pack_updateinfo(ONE, 1)


async def test_a_file_on_which_the_worker_dies_is_an_error_and_the_next_file_gets_a_new_worker() -> None:
    slow = bz2.compress(b"<metadata>") + bz2.compress(random.Random(1).randbytes(1 << 20)) * 40
    async with MetadataParser(max_cpu_seconds=0) as parser:
        with pytest.raises(MetadataError, match="primary abababababab: the parser died on it"):
            await parser.primary("ab" * 32, slow)
        assert await parser.updateinfo("cd" * 32, ONE) == parse_updateinfo(ONE)


async def test_a_worker_that_dies_while_it_starts_is_started_once_more_and_no_file_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = list[int]()

    class DiesFirst(ProcessPoolExecutor):
        def __init__(self, workers: int, context: Any, prepare: Any, arguments: Any) -> None:
            started.append(workers)
            super().__init__(workers, context, *((os._exit, (1,)) if len(started) == 1 else (prepare, arguments)))

    monkeypatch.setattr(parse_worker, "ProcessPoolExecutor", DiesFirst)
    async with MetadataParser() as parser:
        assert await parser.updateinfo("cd" * 32, ONE) == parse_updateinfo(ONE)
    assert len(started) == 2


async def test_a_worker_that_never_starts_is_our_error_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async with MetadataParser(max_memory_bytes=1 << 80) as parser:  # more than can be set
        with pytest.raises(Unavailable, match="did not start, 2 times"):
            await parser.updateinfo("cd" * 32, ONE)
    assert any("OverflowError" in getattr(record, "said", "") for record in caplog.records)


async def test_what_libraries_print_of_a_bad_file_is_logged_with_its_name_and_not_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = ONE[: len(ONE) // 2]
    async with MetadataParser() as parser:
        for digest in ("ab" * 32, "cd" * 32):
            with pytest.raises(MetadataError):
                await parser.updateinfo(digest, broken)
    said = {record.file: record.said for record in caplog.records if hasattr(record, "said")}
    assert set(said) == {"updateinfo abababababab", "updateinfo cdcdcdcdcdcd"}
    assert all("CRITICAL" in text for text in said.values())
    assert capfd.readouterr().err == ""


async def test_a_file_that_needs_too_much_memory_is_an_error() -> None:
    many = updates(*(an_update(packages=BASH * 20) for _ in range(6_000)))
    async with MetadataParser(max_memory_bytes=300 << 20) as parser:
        with pytest.raises(MetadataError, match="updateinfo abababababab: "):
            await parser.updateinfo("ab" * 32, many)
        assert await parser.updateinfo("cd" * 32, ONE) == parse_updateinfo(ONE)
