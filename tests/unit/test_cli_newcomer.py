"""patchctl as somebody tries it who does not know it yet: each wrong input gets one sentence that says what is allowed, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import logged_in, patchctl, started  # noqa: F401 - fixtures

OF_UPDATES = ("evaluate", "--repo", "updateinfo.xml")
EVALUATE = (*OF_UPDATES, "--inventory", "inventory")


@pytest.fixture(name="here", autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with something right and much that is wrong."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("empty").touch()
    Path("binary").write_bytes(b"\x00\xff\xfe")
    Path("inventory").write_text("bash-4.2.46-34.el7.x86_64\n")
    Path("updateinfo.xml").write_text("<updates/>")
    Path("other.json").write_text('{"manifest": 3}')
    Path("cut.json").write_text('{"manifest": {')
    Path("other.tsv").write_text("name\tversion\nbash\t4\n")
    Path("cut.tsv").write_text("name\tepoch\tversion\trelease\tarch\nbash\t0\t4\n")
    Path("cut.yaml").write_text("name: [")
    Path("date.yaml").write_text("name: mine\nrules: [{approve_until: 2026-02-31}]\n")
    Path("key.yaml").write_text("name: mine\nrulez: []\n")
    Path("right.yaml").write_text("name: mine\noperating_system: CentOS\n")
    Path("columns.csv").write_text("name,version\nbash,4\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*OF_UPDATES, "--inventory", "nowhere"), "--inventory: nowhere cannot be read: No such file or directory"),
        ((*OF_UPDATES, "--inventory", "folder"), "--inventory: folder cannot be read: Is a directory"),
        ((*OF_UPDATES, "--inventory", "binary"), "--inventory: binary: line 1 is not UTF-8 text"),
        ((*OF_UPDATES, "--inventory", "other.json"), "is not what `uniagent inventory --output json` writes"),
        ((*OF_UPDATES, "--inventory", "cut.json"), "--inventory: cut.json: "),
        (
            (*OF_UPDATES, "--inventory", "other.tsv"),
            "line 1: the header of a tsv is name, epoch, version, release, arch",
        ),
        ((*OF_UPDATES, "--inventory", "cut.tsv"), "line 2: has 3 columns, the header has 5"),
        ((*EVALUATE, "--repo", "nowhere"), "--repo: nowhere does not exist"),
        ((*EVALUATE, "--baseline", "nowhere"), "--baseline: nowhere cannot be read: No such file or directory"),
        ((*EVALUATE, "--baseline", "empty"), "must be a table with the keys name, description"),
        ((*EVALUATE, "--baseline", "binary"), "--baseline: binary is not text"),
        ((*EVALUATE, "--baseline", "cut.yaml"), "--baseline: cut.yaml is not YAML: line 1, column 8: "),
        ((*EVALUATE, "--baseline", "date.yaml"), "--baseline: date.yaml is not YAML: day is out of range for month"),
        ((*EVALUATE, "--baseline", "key.yaml"), "rulez: is unknown, did you mean rules?"),
        ((*EVALUATE, "--as-of", "2026-13-45"), "--as-of: '2026-13-45' is not a date; write a day as 2026-11-01"),
        ((*EVALUATE, "--as-of", ""), "--as-of: '' is not a date; write a day as 2026-11-01"),
        (
            (*EVALUATE, "--running-kernel", "5.14.0"),
            "so not 5.14.0; write the kernel's package instead, like kernel-5.",
        ),
        ((*EVALUATE, "--module-streams", "a"), "--module-streams: 'a' is not name:stream, write it like nodejs:18"),
        ((*EVALUATE, "--os", ""), "is not an operating system and its version, like CentOS 7.9; supported: HCE"),
        (("report", "show", "a", "--as-of", "yesterday"), "--as-of: 'yesterday' is not a date; write a day as"),
        (("report", "export", "--file", "nowhere/a"), "--file: nowhere/a cannot be written: No such file or directory"),
        (("report", "export", "--file", "folder"), "--file: folder is a folder: name a file in it"),
        (("report", "export", "--format", "cyclonedx"), "describes one instance: name it with --instance"),
        (("report", "verify", "nowhere"), "nowhere cannot be read: No such file or directory"),
        (("report", "verify", "folder"), "folder is a folder, not a file that report export wrote"),
        (
            ("report", "verify", "empty"),
            "empty is empty; report export writes json, ndjson, csv, html, pdf and cyclonedx",
        ),
        (("report", "verify", "binary"), "binary is nothing that report export wrote"),
        (("report", "verify", "cut.json"), "cut.json is "),
        (("baseline", "create", "-f", "nowhere"), "--file: nowhere cannot be read: No such file or directory"),
        (("baseline", "create", "-f", "folder"), "--file: folder cannot be read: Is a directory"),
        (
            ("baseline", "create", "-f", "empty"),
            "the file: must have keys, as in name: ...; it is empty; known are name",
        ),
        (("baseline", "create", "-f", "cut.yaml"), "--file: cut.yaml is not YAML: line 1, column 8: "),
        (("baseline", "create", "-f", "date.yaml"), "--file: date.yaml is not YAML: day is out of range for month"),
        (("baseline", "try", "-f", "key.yaml"), "rulez: unknown; known are name, description"),
        (("baseline", "create", "-f", "right.yaml", "--csv", "nowhere"), "--csv: nowhere cannot be read: No such file"),
        (("baseline", "create", "-f", "right.yaml", "--csv", "binary"), "--csv: binary is not text"),
        (("baseline", "assign", "mine"), "say for whom: one of --instance, --group and --project"),
    ],
)
def test_a_wrong_input_is_2_and_one_sentence(server: ScriptedController, words: tuple[str, ...], says: str) -> None:
    result = patchctl(*words)
    assert (result.exit_code, result.stdout, server.calls) == (2, "", [])
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


@pytest.mark.parametrize("file", ["columns.csv", "empty"])
def test_rows_that_cannot_be_taken_are_told_by_their_numbers(server: ScriptedController, file: str) -> None:
    result = patchctl("baseline", "create", "-f", "right.yaml", "--csv", file)
    assert (result.exit_code, result.stdout, server.calls) == (2, "", [])
    assert result.stderr.startswith(f"error: {file} cannot be taken:\n  row 1: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("report", "list", "--status", "maybe"), "'maybe' is not one of 'compliant', 'non_compliant', 'undetermined'"),
        (("report", "trend", "--days", "0"), "'--days'"),
        (
            ("report", "export", "--format", "xml"),
            "'xml' is not one of 'json', 'ndjson', 'csv', 'html', 'pdf', 'cyclonedx'",
        ),
        (("report", "show"), "Missing argument"),
        (
            ("advisory", "list", "--severity", "huge"),
            "'huge' is not one of 'critical', 'important', 'moderate', 'low', 'none'",
        ),
        (("evaluate", "--inventory", "inventory"), "Missing option '--repo'"),
        ((*EVALUATE, "--output", "pdf"), "'pdf' is not one of 'table', 'json', 'yaml', 'csv'"),
        (("evaluate", "--inventori", "inventory"), "--inventory"),
    ],
)
def test_a_wrong_word_on_the_command_line_is_2_and_says_which_are_allowed(
    server: ScriptedController, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = patchctl(*words)
    assert (result.exit_code, result.stdout, server.calls) == (2, "", [])
    assert says in result.stderr


@pytest.mark.parametrize("repo", ["folder", "empty", "binary", "inventory"])
def test_R11_a_repository_that_is_none_is_no_misuse_but_never_compliant(repo: str) -> None:
    result = patchctl("evaluate", "--inventory", "inventory", "--repo", repo)
    assert (result.exit_code, result.stderr) == (4, "")
    assert f"REPO_ERROR  repository {repo}: " in result.stdout
