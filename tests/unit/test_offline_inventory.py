"""Inventories as files, in their three forms: read whole or refused with the line, never shortened."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import manifest
from common.manifest import Manifest, OsRelease, PackageLine, Problem, ProblemCode, Repository, Stream
from common.nevra import Nevra
from controller.offline.inventory import Inventory, UnreadableInventory, parse, parse_streams

BASH = Nevra("bash", 0, "4.2.46", "34.el7", "x86_64")
OPENSSL = Nevra("openssl-libs", 1, "1.0.2k", "19.el7", "x86_64")
HEADER = "name\tepoch\tversion\trelease\tarch\n"


A_ROW = dict(zip(("name", "epoch", "version", "release", "arch"), BASH, strict=True)) | {"module": ""}


def builds(text: str) -> list[Nevra]:
    return [line.nevra for line in parse(text.encode(), "hosts.txt").packages]


def refusal(content: str | bytes) -> str:
    with pytest.raises(UnreadableInventory) as error:
        parse(content if isinstance(content, bytes) else content.encode(), "hosts.txt")
    return str(error.value)


def as_json(told: Manifest | None = None, packages: Any = None) -> str:
    blob, details = manifest.encode_packages([(PackageLine(BASH), 0, "")])
    from common import digest

    told = told or Manifest(
        OsRelease("centos", "7.9", "CentOS Linux 7 (Core)", "x86_64"),
        packages=digest.of(blob).hex(),
        details=digest.of(details).hex(),
        package_count=1,
    )
    return json.dumps(
        {"manifest": json.loads(manifest.encode(told)), "packages": [A_ROW] if packages is None else packages}
    )


@pytest.mark.parametrize(
    "line",
    [
        "openssl-libs-1:1.0.2k-19.el7.x86_64",
        "1:openssl-libs-1.0.2k-19.el7.x86_64",
        "  openssl-libs-1:1.0.2k-19.el7.x86_64  ",
        "# a comment\n\nopenssl-libs-1:1.0.2k-19.el7.x86_64\r\n",
    ],
)
def test_a_line_is_a_package_in_either_spelling(line: str) -> None:
    assert builds(line) == [OPENSSL]


@pytest.mark.parametrize(
    "line", ["bash-4.2.46-34.el7.x86_64", "bash-0:4.2.46-34.el7.x86_64", "bash-(none):4.2.46-34.el7.x86_64"]
)
def test_R2_an_absent_epoch_is_0(line: str) -> None:
    assert builds(line) == [BASH]


@pytest.mark.parametrize("epoch", ["", "0", "(none)"])
def test_R2_an_absent_epoch_is_0_in_tsv_too(epoch: str) -> None:
    assert builds(f"{HEADER}bash\t{epoch}\t4.2.46\t34.el7\tx86_64\n") == [BASH]


def test_tsv_may_have_more_columns_and_comments() -> None:
    text = "# made by hand\nname\tepoch\tversion\trelease\tarch\tvendor\n\nbash\t0\t4.2.46\t34.el7\tx86_64\tRed Hat, Inc.\n"
    assert builds(text) == [BASH]


def test_gpg_keys_are_no_packages() -> None:
    in_front = "0:gpg-pubkey-f4a80eb5-53a7ff4b.(none)\n(none):gpg-pubkey-f4a80eb5-53a7ff4b.(none)"
    assert builds(f"{in_front}\nbash-4.2.46-34.el7.x86_64") == [BASH]
    assert builds("gpg-pubkey-f4a80eb5-53a7ff4b\ngpg-pubkey-f4a80eb5-53a7ff4b.(none)\nbash-4.2.46-34.el7.x86_64") == [
        BASH
    ]
    assert builds(f"{HEADER}gpg-pubkey\t(none)\tf4a80eb5\t53a7ff4b\t(none)\nbash\t0\t4.2.46\t34.el7\tx86_64") == [BASH]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bash-4.2.46-34.el7.x86_64\nnot a package", "hosts.txt: line 2: 'not a package' is not name-"),
        ("\n\nbash", "hosts.txt: line 3: 'bash' is not name-"),
        ("bash-4.2.46-34.el7", "hosts.txt: line 1: 'bash-4.2.46-34.el7' has no known architecture at its end"),
        (
            "bash-4.2.46-34.el7.x86_64,zsh-1-1.noarch",
            "hosts.txt: line 1: 'bash-4.2.46-34.el7.x86_64,zsh-1-1.noarch' has ','",
        ),
        ("'bash-4.2.46-34.el7.x86_64'", "hosts.txt: line 1: "),
        (f"{HEADER}bash\t0\t4.2.46\tx86_64\t34.el7\n", "hosts.txt: line 2: '34.el7' is no known architecture"),
        ("bash-x:4.2.46-34.el7.x86_64", "hosts.txt: line 1: 'x' is not an epoch"),
        ("bash-99999999999:1-1.noarch", "hosts.txt: line 1: '99999999999' is not an epoch"),
        (f"{HEADER}bash\t0\t4.2.46\t34.el7\n", "hosts.txt: line 2: has 4 columns, the header has 5"),
        (f"{HEADER}bash\t0\t\t34.el7\tx86_64\n", "hosts.txt: line 2: version is empty"),
        (f"{HEADER}bash\tone\t4\t34.el7\tx86_64\n", "hosts.txt: line 2: 'one' is not an epoch"),
        (f"{HEADER}bash\t0\t4\t34.el7\tx86_64\textra\n", "hosts.txt: line 2: has 6 columns, the header has 5"),
        (b"bash-1-1.noarch\n\xff\xfe-1-1.noarch", "hosts.txt: line 2 is not UTF-8"),
        ("[]", "hosts.txt: is not what `uniagent inventory --output json` writes"),
        ('{"packages": []}', "hosts.txt: is not what `uniagent inventory --output json` writes"),
        ('{"manifest":\n', "hosts.txt: line 2 is not JSON"),
        ("[" * 100_000, "hosts.txt: is not JSON that can be read"),
        ('{"manifest": 1, "packages": []}', "hosts.txt: manifest: "),
        (as_json(packages="all"), "hosts.txt: packages: is not a list"),
        (as_json(packages=["bash"]), "hosts.txt: packages[0]: is not a table"),
        (as_json(packages=[{"name": "ba\ud800sh"}]), "hosts.txt: packages[0].name: is not a text"),
        (f"{HEADER}bash\t\t9:4.2\t34.el7\tx86_64\n", "hosts.txt: line 2: '9:4.2' is no version"),
        (f"{HEADER}bash\t0\t4.2-34\tel7\tx86_64\n", "hosts.txt: line 2: '4.2-34' is no version"),
        (f"{HEADER}bash\t0\t4.2\t34 el7\tx86_64\n", "hosts.txt: line 2: '34 el7' is no release"),
        (f"{HEADER}ba sh\t0\t4.2\t34\tx86_64\n", "hosts.txt: line 2: 'ba sh' is no name"),
        (as_json(packages=[A_ROW | {"version": "9:4.2"}]), "hosts.txt: packages[0].version: '9:4.2' is none"),
        (as_json(packages=[A_ROW | {"arch": "x86_64 "}]), "hosts.txt: packages[0].arch: 'x86_64 ' is none"),
        (as_json(packages=[{"name": "bash"}]), "hosts.txt: packages[0].version: is not a text"),
        (as_json(packages=[{"name": "bash", "epoch": True}]), "hosts.txt: packages[0].epoch: 'True' is not an epoch"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_file_and_line(text: str | bytes, said: str) -> None:
    assert refusal(text).startswith(said)


@pytest.mark.parametrize("text", ["", "\n# nothing\n", HEADER, as_json(packages=[])])
def test_R11_an_inventory_without_packages_is_a_problem_not_an_empty_host(text: str) -> None:
    found = parse(text.encode(), "hosts.txt")
    assert (found.packages, found.manifest.packages) == ((), "")
    assert [p.code for p in found.manifest.problems] == [ProblemCode.RPMDB]


def test_json_brings_what_the_agent_knows_but_for_its_repositories() -> None:
    told = Manifest(
        OsRelease("centos", "7.9"),
        packages="aa" * 32,
        details="bb" * 32,
        package_count=1,
        running_kernel_package="kernel-3.10.0-1160.el7.x86_64",
        streams=(Stream("nodejs", "18"),),
        repositories=(Repository("base", error="it is down"),),
        problems=(Problem(ProblemCode.REPO_CONFIG, "no"), Problem(ProblemCode.HOLDS, "unreadable")),
    )
    found = parse(as_json(told).encode(), "web.json")
    assert found.packages == (PackageLine(BASH),)
    assert (found.manifest.os, found.manifest.streams) == (told.os, told.streams)
    assert found.manifest.running_kernel_package == told.running_kernel_package
    assert (found.manifest.repositories, found.failed) == ((), told.repositories)
    assert [p.code for p in found.manifest.problems] == [ProblemCode.HOLDS]


def test_json_keeps_modularity_labels() -> None:
    row = {
        "name": "nodejs",
        "epoch": None,
        "version": "18",
        "release": "1",
        "arch": "x86_64",
        "module": "nodejs:18:9:c",
    }
    assert parse(as_json(packages=[row]).encode(), "x").packages[0].module == "nodejs:18:9:c"


def test_R11_json_of_which_packages_were_taken_out_is_refused() -> None:
    """A list that was cut off, by a filter or a full disk, would comply with everything."""
    told = Manifest(OsRelease("centos", "7.9"), packages="aa" * 32, details="bb" * 32, package_count=2)
    with pytest.raises(UnreadableInventory, match="packages: has 1, but its manifest counted 2: some were taken out"):
        parse(as_json(told).encode(), "web.json")


def test_what_is_said_beside_the_inventory_wins_over_it() -> None:
    found = parse(b"bash-4.2.46-34.el7.x86_64", "x")
    kernel = Nevra("kernel-core", 0, "5.14.0", "70.el9", "x86_64")
    assert found.running(kernel).manifest.running_kernel == "5.14.0-70.el9.x86_64"
    assert found.running(kernel).manifest.running_kernel_package == "kernel-core-5.14.0-70.el9.x86_64"
    assert found.with_streams(parse_streams("php:8.1, nodejs:18")).manifest.streams == (
        Stream("nodejs", "18"),
        Stream("php", "8.1"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "nodejs:18",
        " nodejs:18 ,",
        "@nodejs:18",
        "nodejs:18/common",
        "nodejs:18:9",
        "nodejs:18:902:c0ffee:x86_64/common",
    ],
)
def test_R8_a_stream_is_known_in_all_the_ways_that_dnf_spells_it(text: str) -> None:
    assert parse_streams(text) == (Stream("nodejs", "18"),)


@pytest.mark.parametrize(
    "text",
    [
        "nodejs",
        "nodejs:",
        ":18",
        "a b:1",
        "nodejs:18;php:8.1",
        '"nodejs:18"',
        "nodejs::18",
        "nodejs:18:",
        "nodejs:18|php:8",
    ],
)
def test_a_stream_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not name:stream"):
        parse_streams(text)


WORD = st.text("abcXYZ0189_+.", min_size=1, max_size=12)
VERSION = st.text("abcXYZ0189_+.~^", min_size=1, max_size=12)
BUILD = st.builds(Nevra, WORD, st.integers(0, 2**32 - 1), VERSION, VERSION, st.sampled_from(("x86_64", "noarch")))


@given(st.lists(BUILD, min_size=1, unique=True))
def test_all_forms_of_the_same_packages_are_the_same_inventory(packages: list[Nevra]) -> None:
    tsv = HEADER + "".join("\t".join(map(str, build)) + "\n" for build in packages)
    lines = "".join(f"{build}\n" for build in packages)
    rows = [dict(zip(("name", "epoch", "version", "release", "arch"), build, strict=True)) for build in packages]
    found: list[Inventory] = [parse(text.encode(), "x") for text in (tsv, lines, as_json(packages=rows))]
    assert {line.nevra for line in found[0].packages} == set(packages) - {b for b in packages if b.name == "gpg-pubkey"}
    assert found[0] == found[1]
    assert found[0].packages == found[2].packages


def read_or_refused(content: bytes) -> Inventory | str:
    try:
        return parse(content, "hosts.txt")
    except UnreadableInventory as error:
        return str(error)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_sentence(content: bytes) -> None:
    match read_or_refused(content):
        case str(sentence):
            assert sentence.startswith("hosts.txt: ")
        case found:
            assert all(line.nevra.name and line.nevra.arch for line in found.packages)


BUILD = "5.14.0-427.el9.x86_64"


@pytest.mark.parametrize(
    ("told", "installed", "meant"),
    [
        (BUILD, ("kernel", "kernel-core", "kernel-modules", "kernel-modules-core"), "kernel-core"),
        (BUILD, ("kernel", "kernel-devel", "kernel-headers", "kernel-tools"), "kernel"),
        (BUILD, ("kernel-uek-core", "kernel-uek", "kernel-uek-modules"), "kernel-uek"),
        (f"{BUILD}+debug", ("kernel-core", "kernel-debug-core", "kernel-debug-modules"), "kernel-debug-core"),
        (f"{BUILD}+64k", ("kernel-core", "kernel-64k-core"), "kernel-64k-core"),
        ("5.14.0-427.el9", ("kernel-core",), "kernel-core"),
        (f"kernel-rt-core-{BUILD}", (), "kernel-rt-core"),
        (f"{BUILD}+rt-debug", ("kernel-rt-core", "kernel-rt-debug-core"), "kernel-rt-debug-core"),
        (f"{BUILD}.debug", ("kernel", "kernel-debug"), "kernel-debug"),
        (f" {BUILD}\n", ("kernel6.12",), "kernel6.12"),
        (f"0:kernel-core-{BUILD}", (), "kernel-core"),
        (f"kernel-modules-core-{BUILD}", (), "kernel-modules-core"),
        (f"kernel-{BUILD}", ("kernel-core", "kernel-modules"), "kernel-core"),
        (f"kernel-{BUILD}", ("kernel", "kernel-core"), "kernel"),
    ],
)
def test_R7_a_kernel_is_found_by_what_uname_says(told: str, installed: tuple[str, ...], meant: str) -> None:
    found = parse("".join(f"{name}-{BUILD}\n" for name in (*installed, "bash")).encode(), "file")
    assert str(found.kernel(told)) == f"{meant}-{BUILD}"


@pytest.mark.parametrize(
    "told",
    [
        *(
            "",
            "kernel-core",
            "kernel-core-5.14.0-427.el9",
            f"bash-{BUILD}",
            f"vmlinuz-{BUILD}",
            f"kernel-headers-{BUILD}",
        ),
        *(f"kernel-{BUILD},kernel-{BUILD}", f"kernel-livepatch-{BUILD}", "kernel-core-5.14.0-427.el9.X86_64"),
    ],
)
def test_R7_what_is_no_package_of_a_kernel_is_refused_lest_the_running_one_be_unknown_and_nobody_know(
    told: str,
) -> None:
    found = parse(f"kernel-core-{BUILD}\nkernel-headers-{BUILD}\nbash-{BUILD}\n".encode(), "file")
    with pytest.raises(ValueError, match=r" is not | has "):
        found.kernel(told)


@pytest.mark.parametrize("told", ["5.14.0-428.el9.x86_64", "5.14.0", f"{BUILD}+rt", "5"])
def test_R7_a_kernel_that_is_not_installed_is_refused_with_what_to_write(told: str) -> None:
    found = parse(f"kernel-core-{BUILD}\nkernel-modules-{BUILD}\n".encode(), "file")
    with pytest.raises(
        ValueError, match=rf"^the inventory has kernel-core-{BUILD}, but not .*; write the kernel's package instead"
    ):
        found.kernel(told)
    with pytest.raises(
        ValueError, match=r"has no kernel, so not .*; write the kernel's package instead, like kernel-5"
    ):
        parse(f"bash-{BUILD}\n".encode(), "file").kernel(told)
