"""Repositories as files: read whole and verified, or the repository's error; never "no advisories"."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from controller.inventory import metadata, packed
from controller.offline.repositories import failures, read_all

UPDATEINFO = b"""<?xml version="1.0"?>
<updates><update from="a" status="final" type="security" version="1"><id>CESA-1</id><severity>Low</severity>
<pkglist><collection><package name="bash" version="5" release="1" epoch="0" arch="x86_64"/></collection></pkglist>
</update></updates>"""
PRIMARY = b"""<?xml version="1.0"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">
<package type="rpm"><name>bash</name><arch>x86_64</arch><version epoch="0" ver="5" rel="1"/>
<checksum type="sha256" pkgid="YES">aa</checksum><summary/><description/><packager/><url/>
<time file="1" build="1600000000"/><size package="1" installed="1" archive="1"/><location href="bash.rpm"/>
<format><rpm:license>x</rpm:license></format></package></metadata>"""


def write_repository(folder: Path, **files: bytes) -> Path:
    """Write a repository; a file's keyword is its type in repomd.xml."""
    repodata = folder / "repodata"
    repodata.mkdir(parents=True)
    records = ""
    for kind, content in files.items():
        (repodata / f"{kind}.xml").write_bytes(content)
        records += (
            f'<data type="{kind}"><checksum type="sha256">{hashlib.sha256(content).hexdigest()}</checksum>'
            f'<location href="repodata/{kind}.xml"/><timestamp>1700000000</timestamp></data>'
        )
    (repodata / "repomd.xml").write_text(
        f'<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>7</revision>{records}</repomd>'
    )
    return folder


def error_of(place: Path) -> str:
    (found,) = read_all([place])
    assert (found.advisories, found.available) == ((), None)
    assert found.repository.updateinfo == found.repository.primary == ""
    return found.repository.error


@pytest.mark.parametrize("suffix", ["", "repodata"])
def test_a_folder_with_repodata_gives_advisories_and_what_is_offered(tmp_path: Path, suffix: str) -> None:
    place = write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=UPDATEINFO) / suffix
    (found,) = read_all([place])
    assert [advisory.id for advisory in found.advisories] == ["CESA-1"]
    assert found.available is not None
    assert [str(build.nevra) for build in found.available] == ["bash-5-1.x86_64"]
    told = found.repository
    assert (told.id, told.error, told.revision, told.timestamp) == ("updates", "", "7", 1_700_000_000)
    assert told.updateinfo == hashlib.sha256(UPDATEINFO).hexdigest()


def test_a_repository_without_updateinfo_is_one_that_has_no_advisories(tmp_path: Path) -> None:
    (found,) = read_all([write_repository(tmp_path / "base", primary=PRIMARY)])
    assert (found.advisories, found.repository.updateinfo, found.repository.error) == ((), "", "")


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("updateinfo.xml", bytes),
        ("updateinfo.xml.gz", gzip.compress),
        ("updateinfo.xml.bz2", bz2.compress),
        ("updateinfo.xml.xz", lzma.compress),
        ("updateinfo.xml.zst", zstandard.ZstdCompressor().compress),
        ("named-as-it-likes", gzip.compress),
    ],
)
def test_an_updateinfo_file_may_be_compressed_in_any_usual_way(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    place = tmp_path / name
    place.write_bytes(compress(UPDATEINFO))
    (found,) = read_all([place])
    assert ([advisory.id for advisory in found.advisories], found.available) == (["CESA-1"], None)
    assert (found.repository.id, found.repository.primary) == (name, "")


def test_R11_a_folder_that_is_no_repository_is_an_error(tmp_path: Path) -> None:
    assert error_of(tmp_path) == "is no repository: it has no repodata/repomd.xml"


def test_R11_a_file_that_is_not_what_repomd_says_is_an_error(tmp_path: Path) -> None:
    place = write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=UPDATEINFO)
    (place / "repodata/updateinfo.xml").write_bytes(b"<updates/>")
    assert error_of(place) == "its updateinfo is not what its repomd.xml says: the sha256 checksum differs"
    (place / "repodata/updateinfo.xml").unlink()
    assert error_of(place) == "its updateinfo is missing: updateinfo.xml"


@pytest.mark.parametrize(
    ("repomd", "said"),
    [
        ("", "its repomd.xml is not whole XML"),
        ("<repomd>", "its repomd.xml is not whole XML"),
        ("<other/>", "its repomd.xml names no primary file that can be read"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><repomd/>', "its repomd.xml declares XML entities, which no repository needs"),
    ],
)
def test_R11_a_broken_repomd_is_an_error(tmp_path: Path, repomd: str, said: str) -> None:
    place = write_repository(tmp_path / "updates", primary=PRIMARY)
    (place / "repodata/repomd.xml").write_text(repomd)
    assert error_of(place) == said


def test_R11_a_repomd_that_names_a_file_twice_is_an_error_as_it_is_for_dnf(tmp_path: Path) -> None:
    """Librepo fails on it (its checksum of the one is compared with the other); to read only the last would lose advisories."""
    place = write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=UPDATEINFO)
    repomd = place / "repodata/repomd.xml"
    (record,) = re.findall('<data type="updateinfo">.*?</data>', repomd.read_text())
    repomd.write_text(repomd.read_text().replace("</repomd>", f"{record}</repomd>"))
    assert error_of(place) == "its repomd.xml names updateinfo twice"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<data type="updateinfo">(.*?)</data>', r'<x><data type="updateinfo">\1</data></x>'),
        ('<data type="updateinfo">(.*?)</data>', r'<DATA type="updateinfo">\1</DATA>'),
        ('type="updateinfo"', 'type="UpdateInfo"'),
    ],
)
def test_R11_a_repomd_that_names_advisories_where_nobody_reads_them_is_an_error(
    tmp_path: Path, before: str, after: str
) -> None:
    place = write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=UPDATEINFO)
    repomd = place / "repodata/repomd.xml"
    repomd.write_text(re.sub(before, after, repomd.read_text()))
    assert error_of(place) == "its repomd.xml names updateinfo where, or as, nobody reads it"


def test_what_a_repomd_has_in_comments_does_not_count(tmp_path: Path) -> None:
    place = write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=UPDATEINFO)
    repomd = place / "repodata/repomd.xml"
    repomd.write_text(repomd.read_text().replace("</repomd>", '<!-- <data type="primary"/> --></repomd>'))
    assert not read_all([place])[0].repository.error


def test_R11_a_fault_of_a_parser_is_the_repository_s_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=UPDATEINFO)
    monkeypatch.setattr(metadata, "_advisory", lambda *_, **__: 1 // 0)
    assert error_of(place) == "a parser failed on it (ZeroDivisionError: integer division or modulo by zero)"


def test_R11_a_file_of_an_unknown_kind_is_an_error(tmp_path: Path) -> None:
    place = write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=b"not xml")
    assert error_of(place).startswith("its updateinfo is not XML")
    assert error_of(write_repository(tmp_path / "b", primary=PRIMARY, updateinfo_zck=b"x")).endswith("not known here")
    assert error_of(write_repository(tmp_path / "c", primary=UPDATEINFO)) == (
        "its primary: its outermost element is <updates>, not <metadata>"
    )


def test_R11_an_updateinfo_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "updateinfo.xml.gz"
    place.write_bytes(gzip.compress(UPDATEINFO)[:-20])
    assert error_of(place).startswith("is not whole gzip data")


def test_an_unreadable_repository_does_not_keep_the_others_from_being_read(tmp_path: Path) -> None:
    good = write_repository(tmp_path / "good", primary=PRIMARY, updateinfo=UPDATEINFO)
    (tmp_path / "bad").mkdir()
    found = read_all([tmp_path / "bad", good])
    assert [repository.id for repository in failures(found)] == ["bad"]
    assert len(found[1].advisories) == 1


def test_two_places_of_one_name_are_told_apart_and_one_place_given_twice_is_one(tmp_path: Path) -> None:
    places = [write_repository(tmp_path / x / "updates", primary=PRIMARY) for x in "ab"]
    assert [r.repository.id for r in read_all([*places, places[0]])] == [str(place) for place in places]


def test_R11_a_folder_of_repositories_stands_for_all_in_it_the_broken_ones_too(tmp_path: Path) -> None:
    write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=UPDATEINFO)
    write_repository(tmp_path / "base", primary=PRIMARY)
    (tmp_path / "broken/repodata").mkdir(parents=True)
    (tmp_path / "extras").mkdir()  # its metadata did not arrive
    (tmp_path / "deep/x86_64/repodata").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "README").write_text("none of them")
    (tmp_path / "hotfix.updateinfo.xml.gz").write_bytes(gzip.compress(UPDATEINFO))
    assert [(r.repository.id, bool(r.repository.error), len(r.advisories)) for r in read_all([tmp_path])] == [
        ("base", False, 0),
        ("broken", True, 0),
        ("deep", True, 0),
        ("extras", True, 0),
        ("hotfix.updateinfo.xml.gz", False, 1),
        ("updates", False, 1),
    ]


def test_R11_a_repository_of_a_folder_that_is_a_link_to_nowhere_does_not_exist(tmp_path: Path) -> None:
    write_repository(tmp_path / "base", primary=PRIMARY)
    (tmp_path / "updates").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="updates does not exist"):
        read_all([tmp_path])


def test_a_repository_may_be_named_by_its_repomd(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "updates", primary=PRIMARY, updateinfo=UPDATEINFO)
    (found,) = read_all([folder / "repodata/repomd.xml"])
    assert found == read_all([folder])[0]
    assert len(found.advisories) == 1


def test_a_place_that_does_not_exist_is_told_apart_from_a_bad_repository(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_all([tmp_path / "nowhere"])


MODULES = b"document: modulemd\nversion: 2\ndata: {name: nodejs, stream: '18', context: c0ffee}\n"
WHOLE = {"primary": PRIMARY, "updateinfo": UPDATEINFO, "modules": MODULES}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def a_bomb(kind: str, size: int) -> bytes:
    """What begins as a file of this kind does, and goes on for ever."""
    return WHOLE[kind][:60] + b" " * size


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", WHOLE)
def test_a_bomb_inside_repodata_is_the_repository_s_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, packer: str
) -> None:
    monkeypatch.setattr(packed, "RATIO_COUNTS_FROM", 1 << 20)
    place = write_repository(tmp_path / "updates", **WHOLE | {kind: PACKERS[packer](a_bomb(kind, 4 << 20))})
    assert re.fullmatch(
        rf"its {kind} unpacks [\d,]+ bytes to more than [12] MiB: no metadata are packed so well, and nothing of it was read",
        error_of(place),
    )


@pytest.mark.parametrize("kind", WHOLE)
def test_a_bomb_that_is_packed_as_a_zip_is_of_an_unknown_kind(tmp_path: Path, kind: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", a_bomb(kind, 4 << 20))
    place = write_repository(tmp_path / "updates", **WHOLE | {kind: file.getvalue()})
    assert error_of(place).startswith(f"its {kind} is compressed in a way that is not known here")


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_that_is_promised_to_be_too_large_is_not_even_opened(tmp_path: Path, kind: str) -> None:
    place = write_repository(tmp_path / "updates", **WHOLE)
    repomd = place / "repodata/repomd.xml"
    location = f'<location href="repodata/{kind}.xml"/>'
    repomd.write_text(repomd.read_text().replace(location, f"{location}<open-size>{(1 << 30) + 1}</open-size>"))
    (place / f"repodata/{kind}.xml").write_bytes(b"never read")
    assert error_of(place).startswith(f"its {kind} has 1,073,741,825 bytes when unpacked by its repomd.xml, ")


@pytest.mark.parametrize("kind", ["primary", "updateinfo"])
def test_R11_a_file_that_is_damaged_and_not_what_repomd_says_is_told_by_its_checksum(tmp_path: Path, kind: str) -> None:
    whole = gzip.compress(WHOLE[kind])
    place = write_repository(tmp_path / "updates", **WHOLE | {kind: whole})
    assert read_all([place])[0].repository.error == ""
    (place / f"repodata/{kind}.xml").write_bytes(whole[:-12])
    assert error_of(place) == f"its {kind} is not what its repomd.xml says: the sha256 checksum differs"


def test_the_digests_are_those_of_the_files_as_they_are_packed(tmp_path: Path) -> None:
    files = {kind: PACKERS["xz"](content) + b"" for kind, content in WHOLE.items()}
    (found,) = read_all([write_repository(tmp_path / "updates", **files)])
    assert found.repository.error == ""
    assert found.repository.primary == hashlib.sha256(files["primary"]).hexdigest()
    assert found.repository.updateinfo == hashlib.sha256(files["updateinfo"]).hexdigest()


def test_a_primary_of_endless_packages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "MAX_PACKAGES", 2)
    head, package = PRIMARY.split(b"<package ", 1)
    package, end = package.rsplit(b"</metadata>", 1)
    many = head + (b"<package " + package) * 3 + b"</metadata>" + end
    assert error_of(write_repository(tmp_path / "a", primary=many)) == (
        "its primary holds more than 2 packages, which is the limit"
    )
