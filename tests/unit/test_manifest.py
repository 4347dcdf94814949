"""A manifest's canonical bytes, and what is refused of those that come from the network."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import manifest
from common.manifest import Hold, HoldKind, Manifest, Problem, ProblemCode, Stream
from tests.builders import a_manifest, a_package, a_repository, packages, packages_blob


def test_the_same_facts_give_the_same_bytes_in_whatever_order_they_were_found() -> None:
    one, two = a_repository("a"), a_repository("b")
    streams = (Stream("nodejs", "18"), Stream("perl", "5.32"))
    first = a_manifest(repositories=(one, two), streams=streams, install_only=("kernel", "kernel-core"))
    second = a_manifest(repositories=(two, one), streams=streams[::-1], install_only=("kernel-core", "kernel"))
    assert manifest.encode(first) == manifest.encode(second)


def test_what_was_encoded_is_read_back() -> None:
    said = a_manifest(
        holds=(Hold(HoldKind.VERSIONLOCK, "bash-0:4.2.46-34.el7.*"), Hold(HoldKind.EXCLUDE, "kernel*", "updates")),
        problems=(Problem(ProblemCode.FACTS, "no memory size"),),
    )
    assert set(manifest.decode(manifest.encode(said)).holds) == set(said.holds)
    assert manifest.decode(manifest.encode(said)).problems == said.problems


@pytest.mark.parametrize(
    ("wrong", "matter"),
    [
        (b"", "is not JSON"),
        (b"[]", "format"),
        (b'{"format":2}', "format"),
        (b'{"format":1,"os":[]}', "os: is not a table"),
        (b'{"format":1,"os":{"id":7}}', "os.id"),
        (b'{"format":1,"os":{},"surprise":"x"}', "surprise: is unknown"),
        (b'{"format":1,"os":{},"package_count":-1}', "package_count"),
        (b'{"format":1,"os":{},"problems":[{"code":"ODD","detail":""}]}', "problems"),
        (b'{"format":1,"os":{"id":"\\ud800"}}', "os.id"),
        (b'{"format":1,"os":{"id":"' + b"x" * 2000 + b'"}}', "os.id"),
        (b"[" * 100_000, "is not JSON"),
        (b" " * (manifest.MAX_MANIFEST_BYTES + 1), "allowed are"),
    ],
)
def test_a_wrong_manifest_is_refused_and_the_field_is_named(wrong: bytes, matter: str) -> None:
    with pytest.raises(ValueError, match=matter):
        manifest.decode(wrong)


def test_R11_a_manifest_without_packages_must_say_that_the_rpm_database_could_not_be_read() -> None:
    silent = replace(a_manifest(), packages="", details="")
    with pytest.raises(ValueError, match="RPMDB"):
        manifest.decode(manifest.encode(silent))
    honest = replace(silent, problems=(Problem(ProblemCode.RPMDB, "rpm is missing"),))
    assert manifest.decode(manifest.encode(honest)).packages == ""


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    try:
        said = manifest.decode(content)
    except ValueError:
        return
    assert isinstance(said, Manifest)


def test_a_package_list_is_read_back_sorted() -> None:
    lines = packages(5)
    assert manifest.decode_packages(packages_blob(lines[::-1])) == lines


@pytest.mark.parametrize(
    "wrong",
    [
        b"bash\t0\t4.2\t1\tx86_64\t",  # cut off
        b"bash\t0\t4.2\t1\tx86_64\n",  # a column short
        b"bash\t\t4.2\t1\tx86_64\t\n",  # no epoch
        b"bash\t01\t4.2\t1\tx86_64\t\n",  # another spelling of the same package
        b"bash\t4294967296\t4.2\t1\tx86_64\t\n",  # more than rpm can hold
        "bash\t\u0661\t4.2\t1\tx86_64\t\n".encode(),  # a digit of another script
        b"\t0\t4.2\t1\tx86_64\t\n",
        b"zsh\t0\t5\t1\tx86_64\t\nbash\t0\t4.2\t1\tx86_64\t\n",  # not sorted: not canonical
        b"\xff\xfe",
    ],
)
def test_a_wrong_package_list_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError):
        manifest.decode_packages(wrong)


def test_a_package_list_and_its_details_have_the_same_order() -> None:
    one, two = a_package("bash-1-1.x86_64"), a_package("zsh-1-1.x86_64")
    listed, details = manifest.encode_packages([(two, 20, "CentOS"), (one, 10, "Other\tvendor")])
    assert manifest.decode_packages(listed) == (one, two)
    assert manifest.decode_details(details) == ((10, "Other vendor"), (20, "CentOS"))


def test_the_digests_that_a_manifest_names_are_each_named_once() -> None:
    said = a_manifest(repositories=(a_repository("a"), a_repository("a2", primary=a_repository("a").primary)))
    assert len(said.blobs()) == len(set(said.blobs())) == 5
    assert json.loads(manifest.encode(said))["format"] == manifest.FORMAT


@given(
    st.lists(
        st.sampled_from(
            [
                b"1\tCentOS\n",
                b"12345\t\n",
                b"7\ta\tb\n",
                b"x\tCentOS\n",
                b"\n",
                b"9\t\xff\n",
                b"9\t",
                b"9" * 5000 + b"\tno\n",
            ]
        ),
        max_size=6,
    )
)
def test_the_lines_of_details_are_counted_as_they_are_read(lines: list[bytes]) -> None:
    content = b"".join(lines)
    try:
        expected: int | str = len(manifest.decode_details(content))
    except ValueError:
        expected = "refused"
    try:
        counted: int | str = manifest.count_details(content)
    except ValueError:
        counted = "refused"
    assert counted == expected
