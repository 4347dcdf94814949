"""What a modules file describes: name, stream and context of each build, and nothing else of it."""

from __future__ import annotations

import gzip
from pathlib import Path

import createrepo_c
import pytest

from common.manifest import Stream
from controller.inventory.metadata import MetadataError, parse_updateinfo
from controller.inventory.modules import Default, Described, defaults, parse_modules
from controller.offline.repositories import read_all

NODEJS = """---
document: modulemd
version: 2
data:
  name: nodejs
  stream: "18"
  version: 9
  context: c0ffee
  summary: |
    name: not this one
  license: {module: [MIT], name: {name: nor this}}
  dependencies: [{name: nor that, requires: {platform: [el9]}}]
  profiles: {common: {rpms: [nodejs]}}
...
"""
DEFAULTS = "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: nodejs\n  stream: '18'\n...\n"
ADVISORY = """<updates><update type="security"><id>A-1</id><title>t</title><pkglist><collection short="s"><name>n</name>
<module name="nodejs" stream="18" version="9" context="{context}" arch="x86_64"/>
<package name="nodejs" version="18.2" release="1" arch="x86_64"><filename>f</filename></package>
</collection></pkglist></update></updates>"""
PRIMARY = '<metadata xmlns="http://linux.duke.edu/metadata/common" packages="0"></metadata>'


def test_each_build_is_read_and_each_default() -> None:
    both = NODEJS + NODEJS.replace("c0ffee", "decaf") + DEFAULTS
    expected = {Described("nodejs", "18", "c0ffee"), Described("nodejs", "18", "decaf"), Default("nodejs", "18")}
    assert parse_modules(both.encode()) == parse_modules(gzip.compress(both.encode())) == expected
    assert parse_modules(b"---\n") == parse_modules(DEFAULTS.replace("  stream: '18'\n", "").encode()) == frozenset()


def test_defaults_that_contradict_each_other_are_none_as_for_dnf() -> None:
    found: set[Described | Default] = {
        Default("nodejs", "18"),
        Default("nodejs", "20"),
        Default("php", "8.1"),
        Described("php", "8.2", "c0ffee"),
    }
    assert defaults(found) == {Default("php", "8.1")}


def test_a_build_that_names_no_context_is_not_described() -> None:
    assert parse_modules(NODEJS.replace("  context: c0ffee\n", "").encode()) == frozenset()
    assert parse_modules(NODEJS.replace("context: c0ffee", "context: [c0ffee]").encode()) == frozenset()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a: [", "is not whole YAML"),
        (b"a: \xff\xfe", "is not whole YAML"),
        (b"[" * 1000, "nested too deeply"),
        (b"- " * 5000, "nested too deeply"),
        (NODEJS.encode() * 2000, "more than 300,000 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_whole_is_an_error(content: bytes, said: str) -> None:
    with pytest.raises(MetadataError, match=said):
        parse_modules(content, max_bytes=300_000)


def test_what_multiplies_by_reference_is_read_in_bounded_memory() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *a]\n" for n in range(60))
    assert parse_modules((NODEJS + "---\n" + bomb).encode()) == {Described("nodejs", "18", "c0ffee")}


def a_repository(folder: Path, modules: str, context: str) -> Path:
    """Write a repository with one advisory for nodejs:18 in a context."""
    repodata = folder / "repodata"
    repodata.mkdir(parents=True)
    repomd = createrepo_c.Repomd()
    for kind, name, content in (
        ("primary", "primary.xml", PRIMARY),
        ("updateinfo", "updateinfo.xml", ADVISORY.format(context=context)),
        ("modules", "modules.yaml", modules),
    ):
        if content:
            (repodata / name).write_text(content)
            record = createrepo_c.RepomdRecord(kind, str(repodata / name))
            record.fill(createrepo_c.SHA256)
            repomd.set_record(record)
    (repodata / "repomd.xml").write_text(repomd.xml_dump())
    return folder


@pytest.mark.parametrize(
    ("modules", "context", "listed"),
    [
        (NODEJS, "c0ffee", True),
        (NODEJS, "decaf", False),  # as dnf does
        (NODEJS.replace("18", "20"), "decaf", True),  # the stream is described nowhere: nobody knows its contexts
        ("", "decaf", True),
        ("data: [", "decaf", True),
    ],
)
def test_R8_an_advisory_for_a_context_that_nobody_describes_is_judged_but_not_listed(
    tmp_path: Path, modules: str, context: str, listed: bool
) -> None:
    (found,) = read_all([a_repository(tmp_path / "one", modules, context)])
    assert found.repository.error == ""
    assert [bool(advisory.packages) for advisory in found.advisories] == [True]
    assert [bool(advisory.packages) for advisory in found.listed] == [listed]


PERL = """---
document: modulemd
version: 2
data:
  name: perl-DBI
  stream: "1.641"
  context: {context}
  dependencies:
  - buildrequires: {{perl: [{stream}]}}
    requires:
      perl: [{stream}]
      platform: [el8]
...
"""


def test_what_a_context_needs_of_other_modules_is_read() -> None:
    expected = Described("perl-DBI", "1.641", "aa", (("perl", ("5.26",)),))
    text = PERL.format(context="aa", stream="5.26")
    assert parse_modules(text.encode()) == {expected}
    assert parse_modules(text.replace("[5.26]", "[]").encode()) == {expected._replace(requires=())}
    assert parse_modules(text.replace("  - build", "  - requires: {perl: ['5.30']}\n  - build").encode()) == {
        expected._replace(requires=())  # a choice
    }
    flow = text.replace("perl: [5.26]\n", "perl: ['5.26', '5.30']\n      ? [odd]\n      : [1]\n")
    assert parse_modules(flow.encode()) == {expected._replace(requires=(("perl", ("5.26", "5.30")),))}
    endless = text.replace("[5.26]\n", f"[{', '.join(['5.26'] * 3000)}]\n")
    assert parse_modules(endless.encode()) == {expected._replace(requires=())}


@pytest.mark.parametrize(
    ("needed", "enabled", "listed"),
    [
        ("18", ("other:18",), True),
        ("18", ("other:20",), False),
        ("18", (), True),
        ("18, '20'", ("other:20",), True),
        ("-20", ("other:20",), False),
        ("-20", ("other:18",), True),
    ],
)
def test_R8_an_advisory_for_a_context_that_needs_another_stream_is_judged_but_not_listed(
    tmp_path: Path, needed: str, enabled: tuple[str, ...], listed: bool
) -> None:
    """As dnf does it: of the contexts of a stream it takes one whose dependencies can be had."""
    modules = NODEJS.replace("{platform: [el9]}", f"{{platform: [el9], other: [{needed}]}}")
    streams = [Stream(*each.split(":")) for each in ("nodejs:18", *enabled)]
    (found,) = read_all([a_repository(tmp_path / "one", modules, "c0ffee")], streams)
    assert [bool(advisory.packages) for advisory in found.listed] == [listed]
    assert [bool(advisory.packages) for advisory in found.advisories] == [True]


def test_R8_what_one_repository_describes_counts_for_all(tmp_path: Path) -> None:
    one = a_repository(tmp_path / "one", NODEJS, "decaf")
    other = a_repository(tmp_path / "other", NODEJS.replace("c0ffee", "decaf"), "c0ffee")
    assert all(advisory.packages for found in read_all([one, other]) for advisory in found.listed)
    assert parse_updateinfo(ADVISORY.format(context="x").encode(), applies=lambda *_: False)[0].packages == ()
