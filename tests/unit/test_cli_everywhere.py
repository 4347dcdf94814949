"""What holds for every command of patchctl: help, options, exit codes, the terminal, the login."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import IllegalMove, NotFound, PermissionDenied
from common.pb.v1 import account_pb2, fleet_pb2, report_pb2
from common.pb.v1 import ticket_pb2 as pb
from controller.cli.main import app
from tests.scripted_controller import TOKEN, ScriptedController
from tests.scripted_patchctl import (  # noqa: F401 - fixtures
    FAILED_RUN,
    WEB_02,
    a_report,
    a_summary,
    a_ticket,
    ago,
    at,
    instances,
    logged_in,
    patchctl,
    started,
)


def walk(command: Any, path: str = "patchctl") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, f"{path} {name}")


def test_every_command_and_every_option_has_help() -> None:
    import typer

    found = list(walk(typer.main.get_command(app)))
    assert len(found) > 35
    for path, command in found:
        assert command.help, path
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{path} {parameter.name}"


def test_no_command_is_missing() -> None:
    import typer

    assert {
        path.removeprefix("patchctl ") for path, c in walk(typer.main.get_command(app)) if not hasattr(c, "commands")
    } == {
        *("login", "whoami", "scan create", "scan preview", "evaluate"),
        *(f"instances {x}" for x in ("list", "show", "tag", "set", "delete")),
        "cmdb import",
        *(f"instances {x}" for x in ("retire", "restore", "release", "merge")),
        *(f"audit {x}" for x in ("list", "verify")),
        *(f"{group} {x}" for group in ("enrolment", "tokens", "agency") for x in ("create", "list", "revoke")),
        *(f"users {x}" for x in ("create", "list", "update", "disable", "enable")),
        *(f"accounts {x}" for x in ("create", "list")),
        *(f"baseline {x}" for x in ("list", "show", "create", "set-default", "delete")),
        *(f"baseline {x}" for x in ("assign", "unassign", "assignments", "try")),
        *(f"exception {x}" for x in ("create", "list", "revoke")),
        *(f"ticket {x}" for x in ("list", "show", "watch", "pause", "continue", "end", "retry", "cancel", "log")),
        *(f"schedule {x}" for x in ("create", "preview", "list", "show", "edit", "enable", "disable")),
        *(f"schedule {x}" for x in ("delete", "approve", "reject", "run", "history")),
        *(f"report {x}" for x in ("list", "show", "summary", "why", "export", "verify", "trend")),
        *(f"contact {x}" for x in ("create", "edit", "list", "show", "delete")),
        *(f"shift {x}" for x in ("create", "edit", "list", "show", "delete", "who", "override add", "override remove")),
        *(f"notifications {x}" for x in ("list", "show", "test", "retry", "channels")),
        *(f"advisory {x}" for x in ("list", "show", "affected")),
    }


@pytest.mark.parametrize("place", ["before", "after"])
def test_global_options_stand_before_or_after_the_command(server: ScriptedController, place: str) -> None:
    server.answers["ListInstances"] = instances(WEB_02)
    option, command = ["--output", "json"], ["instances", "list"]
    result = patchctl(*option, *command) if place == "before" else patchctl(*command, *option)
    assert [i["name"] for i in json.loads(result.stdout)] == ["ecs-web-02"]
    assert result.exit_code == 0


def test_an_option_wins_over_the_environment_and_this_over_the_file(
    server: ScriptedController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATCHCTL_CONTROLLER", "127.0.0.1:1")
    server.answers["WhoAmI"] = lambda _: account_pb2.WhoAmIResponse(name="ann")
    assert patchctl("whoami").exit_code == 3
    assert patchctl("whoami", "--controller", server.address).exit_code == 0


def test_each_kind_of_end_has_its_exit_code_and_no_traceback(
    server: ScriptedController, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(error: Exception) -> Any:
        def answer(_: Any) -> Any:
            raise error

        return answer

    server.answers["GetTicket"] = raises(NotFound("ticket", "T-1", "patchctl ticket list shows all"))
    refused = patchctl("ticket", "watch", "T-1")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: there is no ticket 'T-1'; patchctl ticket list shows all\n",
    )
    server.answers["Pause"] = raises(IllegalMove(subject="T-1", state="FINISHED", event="pause"))
    assert patchctl("ticket", "pause", "T-1").stderr == "error: T-1 is FINISHED: pause cannot happen now\n"
    server.answers["DeleteBaseline"] = raises(PermissionDenied("a viewer may not delete baselines"))
    assert patchctl("baseline", "delete", "b", "--yes").exit_code == 1
    assert patchctl("ticket", "cancel", "T-1", "--batch", "1", "--instance", "x").exit_code == 2
    assert patchctl("ticket", "pause").exit_code == 2
    assert patchctl("nonsense").exit_code == 2
    away = patchctl("whoami", "--controller", "127.0.0.1:1")
    assert away.exit_code == 3
    assert "127.0.0.1:1" in away.stderr
    wrong = patchctl("whoami", "--token", "wrong")
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("error: the token is not known; patchctl login")
    assert patchctl("whoami", "--controller", "nowhere").exit_code == 2
    monkeypatch.delenv("PATCHCTL_TOKEN")
    assert patchctl("whoami").stderr.startswith("error: not logged in: run patchctl login")
    assert patchctl("whoami").exit_code == 2


def test_a_hostile_name_cannot_steer_the_terminal(server: ScriptedController) -> None:
    evil = fleet_pb2.Instance(id="i-1", name="web\x1b[2J\x1b]0;x\x07\u202e\nroot")
    server.answers["ListInstances"] = instances(evil)
    server.answers["GetInstance"] = lambda _: fleet_pb2.GetInstanceResponse(instance=evil)
    for arguments in (("instances", "list"), ("instances", "show", "x")):
        shown = patchctl(*arguments).stdout
        assert "\x1b" not in shown
        assert r"web\x1b[2J" in shown


def test_tables_shrink_to_80_columns(server: ScriptedController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    server.answers |= {
        "ListInstances": instances(*[WEB_02] * 3),
        "ListReports": lambda _: report_pb2.ListReportsResponse(reports=[a_report()] * 3),
        "GetReport": lambda _: report_pb2.GetReportResponse(report=a_report()),
        "GetSummary": lambda _: a_summary(),
        "ListTickets": lambda _: pb.ListTicketsResponse(tickets=[a_ticket()]),
        "GetTicket": lambda _: pb.GetTicketResponse(ticket=a_ticket()),
        "ListRuns": lambda _: pb.ListRunsResponse(runs=[FAILED_RUN]),
    }
    for arguments in (
        ("instances", "list"),
        ("report", "list"),
        ("report", "show", "x"),
        ("report", "summary"),
        ("ticket", "list"),
        ("ticket", "show", "x"),
    ):
        result = patchctl(*arguments)
        assert result.exit_code == 0
        tables = [line for line in result.stdout.splitlines() if " · " not in line]
        assert max(map(len, tables)) <= 80, result.stdout
        assert (
            "ecs-web" in result.stdout or "T-7Q4M" in result.stdout or "cn-" in result.stdout or "r1" in result.stdout
        )


def test_login_proves_the_token_and_keeps_it_readable_for_its_owner_only(
    server: ScriptedController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CONTROLLER", "JOIN", "TOKEN"):
        monkeypatch.delenv(f"PATCHCTL_{name}")
    server.answers["WhoAmI"] = lambda _: account_pb2.WhoAmIResponse(
        name="ann", role=account_pb2.ROLE_OPERATOR, controller_version="0.1.0"
    )
    join = tmp_path / "controller-join.pem"
    result = patchctl("login", "--controller", server.address, "--join", str(join), given=f"{TOKEN}\n")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"ann  OPERATOR  at {server.address}  controller 0.1.0\n"
    join.unlink()
    for name in ("config.toml", "join.pem"):
        assert stat.S_IMODE((tmp_path / "config" / name).stat().st_mode) == 0o600
    assert patchctl("whoami", "--output", "json").exit_code == 0


def test_a_login_that_fails_changes_nothing(
    server: ScriptedController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PATCHCTL_TOKEN")
    wrong = tmp_path / "token"
    wrong.write_text("wrong\n")
    assert patchctl("login", "--token-file", str(wrong)).exit_code == 1
    assert not (tmp_path / "config").exists()
    assert patchctl("login", given="").exit_code == 2


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", "from controller.cli.main import main; main()", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=os.environ | more)


def test_the_program_prints_data_and_remarks_apart(server: ScriptedController) -> None:
    server.answers["ListInstances"] = instances(WEB_02)
    done = run("instances", "list", NO_COLOR="1")
    assert (done.returncode, done.stderr) == (0, "1 instance\n")
    assert "\x1b" not in done.stdout


def test_the_program_says_unreachable_in_one_line() -> None:
    done = run("whoami", "--controller", "127.0.0.1:1", "--join", "/nonexistent", "--token", "x")
    assert (done.returncode, done.stderr) == (
        2,
        "error: join: /nonexistent cannot be read: No such file or directory\n",
    )


def test_help_needs_neither_grpc_nor_the_messages() -> None:
    code = (
        "import sys, controller.cli.main; "
        "print([m for m in ('grpc', 'google.protobuf', 'yaml', 'cryptography', 'rich.console') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "words",
    [("report", "show", "caf\udce9"), ("report", "list", "--name", "caf\udce9"), ("baseline", "assign", "caf\udce9")],
)
def test_an_argument_that_is_not_utf_8_is_misuse_and_shown_as_it_came(
    server: ScriptedController, words: tuple[str, ...]
) -> None:
    """The shell hands over bytes; those that are no text come in as half characters, which no message can carry."""
    result = patchctl(*words, *(("--group", "web") if words[0] == "baseline" else ()))
    assert result.exit_code == 2
    assert result.stderr == "error: 'caf\\xe9' is not UTF-8; write it as UTF-8\n"
    assert server.calls == []
