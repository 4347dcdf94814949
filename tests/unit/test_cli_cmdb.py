"""patchctl cmdb import against a scripted controller: shown first, then asked about, then sent exactly as it was shown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from common.pb.v1 import fleet_pb2 as pb
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import logged_in, patchctl, started  # noqa: F401 - fixtures

TEXT = "id,name,application_group\nc-1,web-01,shop/web\nc-2,web-02,shop/db\n"
NEW = pb.CmdbChange(
    kind=pb.CMDB_CHANGE_KIND_NEW,
    row=2,
    instance_id="i-1",
    name="web-01",
    fields=[pb.CmdbFieldChange(field="application_group", after="shop/web")],
)
KEPT = pb.CmdbChange(
    kind=pb.CMDB_CHANGE_KIND_KEPT,
    row=3,
    instance_id="i-2",
    name="web-02",
    fields=[pb.CmdbFieldChange(field="application_group", before="ours", after="shop/db", kept=True)],
)
SUMMARY = pb.CmdbImportSummary(digest="d-1", rows=2, created=1, kept=1)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "cmdb.csv"
    path.write_text(TEXT)
    return str(path)


def shows(server: ScriptedController, *parts: pb.PreviewCmdbImportResponse) -> None:
    def preview(_: object) -> Iterator[pb.PreviewCmdbImportResponse]:
        yield from parts

    server.answers |= {"PreviewCmdbImport": preview, "ImportCmdb": lambda _: pb.ImportCmdbResponse(summary=SUMMARY)}


def two_changes(server: ScriptedController) -> None:
    shows(
        server,
        pb.PreviewCmdbImportResponse(summary=SUMMARY, changes=[NEW]),
        pb.PreviewCmdbImportResponse(changes=[KEPT]),
    )


def test_it_shows_every_part_of_the_diff_and_imports_what_it_has_shown(server: ScriptedController, file: str) -> None:
    two_changes(server)
    done = patchctl("cmdb", "import", file, "--yes", "--partial", "--overwrite", "--delete-gone")
    assert done.exit_code == 0, done.stderr
    assert "application_group - -> shop/web" in " ".join(done.stdout.split())
    assert "ours stays, set by an operator (CMDB: shop/db)" in " ".join(done.stdout.split())
    assert done.stderr.splitlines()[-1] == "Imported."
    (shown,), (imported,) = server.requests("PreviewCmdbImport"), server.requests("ImportCmdb")
    assert zstandard.decompress(shown.file.content) == TEXT.encode()
    assert (shown.file.format, shown.file.partial, shown.file.overwrite, shown.file.delete_gone) == (
        pb.CMDB_FORMAT_CSV,
        True,
        True,
        True,
    )
    assert (imported.file, imported.digest) == (shown.file, "d-1")


def test_without_a_yes_and_with_nobody_to_ask_nothing_is_imported(server: ScriptedController, file: str) -> None:
    two_changes(server)
    assert patchctl("cmdb", "import", file).exit_code == 2
    dry = patchctl("cmdb", "import", file, "--dry-run")
    assert (dry.exit_code, dry.stderr.splitlines()[-1]) == (0, "Nothing was changed (--dry-run).")
    assert server.requests("ImportCmdb") == []


def test_the_same_file_again_asks_nothing_and_sends_nothing(server: ScriptedController, file: str) -> None:
    shows(server, pb.PreviewCmdbImportResponse(summary=pb.CmdbImportSummary(digest="d-2", rows=2, unchanged=2)))
    done = patchctl("cmdb", "import", file)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, "Nothing to import.")
    assert server.requests("ImportCmdb") == []


def test_a_file_with_problems_is_refused_row_by_row(server: ScriptedController, file: str) -> None:
    problem = pb.CmdbProblem(row=3, column="power", sentence="'on' is not one of RUNNING, STOPPED")
    shows(server, pb.PreviewCmdbImportResponse(summary=pb.CmdbImportSummary(rows=2, problems=1), problems=[problem]))
    done = patchctl("cmdb", "import", file, "--yes")
    assert done.exit_code == 1
    assert "'on' is not one of RUNNING, STOPPED" in done.stdout
    assert "nothing is imported while the file has problems: 1 problem" in done.stderr
    assert server.requests("ImportCmdb") == []


def test_scripts_read_the_diff_as_json_and_csv(server: ScriptedController, file: str) -> None:
    two_changes(server)
    document = json.loads(patchctl("cmdb", "import", file, "--dry-run", "-o", "json").stdout)
    assert (document["summary"]["created"], [c["kind"] for c in document["changes"]], document["problems"]) == (
        1,
        ["NEW", "KEPT"],
        [],
    )
    rows = list(csv.DictReader(io.StringIO(patchctl("cmdb", "import", file, "--dry-run", "-o", "csv").stdout)))
    assert [(r["row"], r["kind"], r["name"], r["field"], r["before"], r["after"], r["kept"]) for r in rows] == [
        ("2", "NEW", "web-01", "application_group", "", "shop/web", "false"),
        ("3", "KEPT", "web-02", "application_group", "ours", "shop/db", "true"),
    ]


def test_a_long_diff_is_cut_in_the_table_and_whole_for_scripts(server: ScriptedController, file: str) -> None:
    many = [pb.CmdbChange(kind=pb.CMDB_CHANGE_KIND_NEW, row=n, name=f"web-{n:03}") for n in range(2, 52)]
    shows(
        server,
        pb.PreviewCmdbImportResponse(summary=pb.CmdbImportSummary(digest="d", rows=50, created=50), changes=many),
    )
    done = patchctl("cmdb", "import", file, "--dry-run")
    assert "web-041" in done.stdout
    assert "web-042" not in done.stdout
    assert "... and 10 more; all of them: --output csv" in done.stderr
    assert "web-051" in patchctl("cmdb", "import", file, "--dry-run", "-o", "csv").stdout


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("absent.csv", (), "absent.csv cannot be read: No such file"),
        ("cmdb.txt", (), "say how it is written with --format csv or --format json"),
    ],
)
def test_what_cannot_be_sent_is_misuse(
    server: ScriptedController, tmp_path: Path, name: str, options: tuple[str, ...], says: str
) -> None:
    (tmp_path / "cmdb.txt").write_text(TEXT)
    done = patchctl("cmdb", "import", str(tmp_path / name), *options)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert not server.calls


def test_standard_input_and_any_name_are_read_with_a_format(server: ScriptedController, tmp_path: Path) -> None:
    two_changes(server)
    (tmp_path / "cmdb.txt").write_text("[]")
    assert patchctl("cmdb", "import", str(tmp_path / "cmdb.txt"), "--format", "json", "--dry-run").exit_code == 0
    assert patchctl("cmdb", "import", "-", "--format", "csv", "--dry-run", given=TEXT).exit_code == 0
    first, second = server.requests("PreviewCmdbImport")
    assert (first.file.format, second.file.format) == (pb.CMDB_FORMAT_JSON, pb.CMDB_FORMAT_CSV)
    assert zstandard.decompress(second.file.content) == TEXT.encode()
