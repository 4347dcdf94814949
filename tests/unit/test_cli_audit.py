"""patchctl audit: the log as a table, and the chain computed again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.pb.v1 import audit_pb2
from controller.api.audit_service import entry_message
from controller.audit.chain import write_head
from controller.audit.model import AuditEntry
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import logged_in, patchctl, started  # noqa: F401 - fixtures
from tests.unit.test_audit_chain import a_chain


def answering(entries: list[AuditEntry]) -> Any:
    def answer(request: audit_pb2.ListAuditChainRequest) -> audit_pb2.ListAuditChainResponse:
        rest = [entry for entry in entries if entry.number > request.after][:2]
        return audit_pb2.ListAuditChainResponse(entries=map(entry_message, rest))

    return answer


def test_a_whole_log_is_told_with_its_head(server: ScriptedController) -> None:
    entries = a_chain(5)
    server.answers["ListAuditChain"] = answering(entries)
    result = patchctl("audit", "verify")
    assert result.exit_code == 0
    assert "The audit log is whole: 5 entries" in result.stdout
    assert write_head(entries[-1].head) in result.stdout


def test_a_log_that_does_not_hold_ends_with_1_and_says_where(server: ScriptedController) -> None:
    server.answers["ListAuditChain"] = answering([*a_chain(5)[:2], *a_chain(5)[3:]])
    result = patchctl("audit", "verify", "--output", "json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["intact"], answer["broken_at"]) == (False, 3)
    assert "error: the audit log does not hold, entry 3: comes after 2" in result.stderr


def test_heads_are_kept_in_a_file_and_met_the_next_time(server: ScriptedController, tmp_path: Path) -> None:
    file = tmp_path / "heads"
    server.answers["ListAuditChain"] = answering(a_chain(4))
    assert patchctl("audit", "verify", "--heads", str(file)).exit_code == 0
    assert file.read_text() == f"{write_head(a_chain(4)[-1].head)}\n"
    assert "1 kept head met" in patchctl("audit", "verify", "--heads", str(file)).stdout
    server.answers["ListAuditChain"] = answering(a_chain(3))
    result = patchctl("audit", "verify", "--heads", str(file))
    assert result.exit_code == 1
    assert "the log ends at 3, and had 4 when a head was kept" in result.stderr


def test_a_head_that_is_none_is_misuse(server: ScriptedController) -> None:
    result = patchctl("audit", "verify", "--head", "42")
    assert result.exit_code == 2
    assert "--head: '42' is not a head, which looks like" in result.stderr


def test_the_log_is_listed_newest_first_and_no_further_than_asked(server: ScriptedController) -> None:
    entries = [entry_message(entry) for entry in reversed(a_chain(5))]
    server.answers["ListAuditEntries"] = lambda request: audit_pb2.ListAuditEntriesResponse(
        entries=entries[: request.page_size], next_page_token="more"
    )
    result = patchctl("audit", "list", "--operator", "lin", "--most", "2")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["5", "4"]
    assert "2 entries; more with --most 20" in result.stderr
    assert server.calls[-1][1].operator == "lin"


@pytest.mark.parametrize(
    ("form", "read"),
    [("json", json.loads), ("yaml", yaml.safe_load), ("csv", lambda text: list(csv.DictReader(text.splitlines())))],
)
def test_the_log_is_listed_with_its_hashes_in_hexadecimal_in_every_form(
    server: ScriptedController, form: str, read: Any
) -> None:
    entries = a_chain(2)
    messages = [entry_message(entry) for entry in entries]
    server.answers["ListAuditEntries"] = lambda _: audit_pb2.ListAuditEntriesResponse(entries=messages)
    result = patchctl("audit", "list", "--output", form)
    assert result.exit_code == 0
    assert [row["hash"] for row in read(result.stdout)] == [entry.head.hash.hex() for entry in entries]
