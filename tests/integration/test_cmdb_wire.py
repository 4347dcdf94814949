"""CMDB imports over the real wire: preview, apply what was shown, and hosts that enrol after the CMDB knew them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import zstandard

from common.pb.v1 import agent_pb2, fleet_pb2, types_pb2
from controller.fleet.model import Role
from tests.integration.api_harness import Harness, refusal, serving

FILE = "id,name,application_group,power,machine_id\nc-1,web-01,shop/web,RUNNING,m-1\nc-2,web-02,shop/db,STOPPED,\n"


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with serving(tmp_path / "data") as made:
        yield made


def a_file(text: str = FILE, **changes: Any) -> fleet_pb2.CmdbFile:
    return fleet_pb2.CmdbFile(**{"content": text.encode(), "format": fleet_pb2.CMDB_FORMAT_CSV} | changes)


class Preview:
    """All that a preview says."""

    def __init__(self, parts: list[fleet_pb2.PreviewCmdbImportResponse]) -> None:
        self.summary = parts[0].summary
        self.changes = [c for part in parts for c in part.changes]
        self.problems = [p for part in parts for p in part.problems]
        self.messages = len(parts)


async def preview(caller: Any, file: fleet_pb2.CmdbFile) -> Preview:
    call = caller.fleet.PreviewCmdbImport(fleet_pb2.PreviewCmdbImportRequest(file=file))
    return Preview([part async for part in call])


async def imported(caller: Any, file: fleet_pb2.CmdbFile) -> fleet_pb2.CmdbImportSummary:
    digest = (await preview(caller, file)).summary.digest
    return (await caller.fleet.ImportCmdb(fleet_pb2.ImportCmdbRequest(file=file, digest=digest))).summary


async def listed(caller: Any, **fields: Any) -> dict[str, fleet_pb2.Instance]:
    selector = fleet_pb2.Selector(all=True, **fields)
    answer = await caller.fleet.ListInstances(fleet_pb2.ListInstancesRequest(selector=selector))
    return {i.name: i for i in answer.instances}


async def test_a_preview_changes_nothing_and_an_import_what_it_showed_once(harness: Harness) -> None:
    viewer, admin = await harness.operator(Role.VIEWER), await harness.admin()
    shown = await preview(viewer, a_file())
    assert (shown.summary.created, shown.summary.rows, shown.problems) == (2, 2, [])
    assert [(c.kind, c.row, c.name) for c in shown.changes] == [
        (fleet_pb2.CMDB_CHANGE_KIND_NEW, 2, "web-01"),
        (fleet_pb2.CMDB_CHANGE_KIND_NEW, 3, "web-02"),
    ]
    assert await listed(viewer) == {}
    applied = await admin.fleet.ImportCmdb(fleet_pb2.ImportCmdbRequest(file=a_file(), digest=shown.summary.digest))
    assert applied.summary == shown.summary
    found = await listed(viewer, view=fleet_pb2.VIEW_CMDB_RESOURCES)
    assert list(found) == ["web-01", "web-02"]
    one, two = found.values()
    assert (one.lifecycle, one.agent_state, one.HasField("enrolled_at")) == (fleet_pb2.LIFECYCLE_NOT_ENROLLED, 0, False)
    assert "UniAgent not installed; install it: patchctl enrolment create" in one.not_selectable_help
    assert one.status == types_pb2.INSTANCE_STATUS_UNDETERMINED
    assert (two.stopped, two.not_selectable) == (True, types_pb2.NOT_SELECTABLE_REASON_STOPPED)
    assert one.cmdb.id == "c-1"
    assert list(await listed(viewer, application_groups=["shop"], agent_states=[0])) == ["web-01", "web-02"]
    again = await imported(admin, a_file())
    assert (again.created, again.changed, again.gone, again.unchanged) == (0, 0, 0, 2)
    refused = await refusal(viewer.fleet.ImportCmdb(fleet_pb2.ImportCmdbRequest(file=a_file())))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED


async def test_what_changed_since_the_preview_is_refused_and_nothing_is_written(harness: Harness) -> None:
    admin = await harness.admin()
    shown = await preview(admin, a_file())
    await harness.enrol("web-02")
    refused = await refusal(
        admin.fleet.ImportCmdb(fleet_pb2.ImportCmdbRequest(file=a_file(), digest=shown.summary.digest))
    )
    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "would not change what the preview has shown" in refused.sentence
    assert list(await listed(admin)) == ["web-02"]
    other = a_file(FILE.replace("shop/db", "bank"))
    refused = await refusal(
        admin.fleet.ImportCmdb(
            fleet_pb2.ImportCmdbRequest(file=other, digest=(await preview(admin, a_file())).summary.digest)
        )
    )
    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_file_with_problems_is_not_imported_and_each_row_is_named(harness: Harness) -> None:
    admin = await harness.admin()
    bad = a_file("name,ip,power\na,10.0.0.1,on\nb,10.0.0.2,\nc,x,\n")
    shown = await preview(admin, bad)
    assert [(p.row, p.column) for p in shown.problems] == [(2, "power"), (4, "ip")]
    assert shown.summary.digest == ""
    refused = await refusal(admin.fleet.ImportCmdb(fleet_pb2.ImportCmdbRequest(file=bad)))
    assert "row 2: power 'on' is not one of RUNNING, STOPPED" in refused.sentence
    assert await listed(admin) == {}


async def test_a_file_has_limits_packed_or_not(harness: Harness) -> None:
    admin = await harness.admin()

    async def refused(**changes: Any) -> Any:
        file = a_file(**changes)
        return await refusal(admin.fleet.PreviewCmdbImport(fleet_pb2.PreviewCmdbImportRequest(file=file)))

    bomb = zstandard.compress(b"\n" * (64 << 20))
    assert (await refused(content=bomb, encoding=agent_pb2.BLOB_ENCODING_ZSTD)).code in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    )
    assert "is not zstd" in (await refused(content=b"x", encoding=agent_pb2.BLOB_ENCODING_ZSTD)).sentence
    assert "file.format" in (await refused(format=0)).fields
    assert "file.encoding" in (await refused(encoding=9)).fields
    many = json.dumps([{"name": f"web-{n:05}"} for n in range(1000)]).encode()
    packed = {"content": zstandard.compress(many), "encoding": agent_pb2.BLOB_ENCODING_ZSTD}
    shown = await preview(admin, a_file(format=fleet_pb2.CMDB_FORMAT_JSON, **packed))
    assert (len(shown.changes), shown.summary.created, shown.messages) == (1000, 1000, 6)


async def test_a_host_that_enrols_takes_the_place_of_what_only_the_cmdb_knew(harness: Harness) -> None:
    admin = await harness.admin()
    await imported(admin, a_file())
    await harness.enrol("web-02", tags={"from": "agent"})
    found = await listed(admin)
    assert list(found) == ["web-01", "web-02"]
    web = found["web-02"]
    assert web.id.startswith("i-")
    assert (web.application_group, web.cmdb.id, web.stopped) == ("shop/db", "c-2", False)
    assert web.HasField("enrolled_at")
    gone = await imported(admin, a_file("id,name\nc-1,web-01\n", delete_gone=True))
    assert (gone.gone, gone.deleted) == (1, 0)
    left = await listed(admin)
    assert left["web-02"].cmdb.HasField("missing_since")
    gone = await imported(admin, a_file("id,name\nc-9,web-09\n", delete_gone=True))
    assert (gone.gone, gone.deleted, gone.created) == (0, 1, 1)
    assert list(await listed(admin)) == ["web-02", "web-09"]


async def test_what_an_operator_set_stands_unless_the_import_is_to_overwrite_it(harness: Harness) -> None:
    admin = await harness.admin()
    await imported(admin, a_file())
    edit = fleet_pb2.UpdateInstanceRequest(
        instance="web-01",
        values=fleet_pb2.Instance(application_group="ours"),
        update_mask={"paths": ["application_group"]},
    )
    await admin.fleet.UpdateInstance(edit)
    shown = await preview(admin, a_file())
    (kept,) = shown.changes
    assert kept.kind == fleet_pb2.CMDB_CHANGE_KIND_KEPT
    assert [(f.field, f.before, f.after, f.kept) for f in kept.fields] == [
        ("application_group", "ours", "shop/web", True)
    ]
    await imported(admin, a_file())
    assert (await listed(admin))["web-01"].application_group == "ours"
    await imported(admin, a_file(overwrite=True))
    assert (await listed(admin))["web-01"].application_group == "shop/web"
