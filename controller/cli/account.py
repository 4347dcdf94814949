"""patchctl login, whoami."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.config import Login, config_path, from_environment, save

if TYPE_CHECKING:
    from common.pb.v1 import account_pb2

_SOON: Final = timedelta(days=14)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the root."""
    command(app)(login)
    command(app)(whoami)


def login(
    session: Session,
    token_file: Annotated[Path | None, typer.Option(help="Read the token from this file; - is stdin.")] = None,
) -> None:
    """Remember a controller and your token, once they have proved right.

    Needs --controller and --join. The token comes from --token, --token-file, PATCHCTL_TOKEN, standard input, or is asked for.
    """
    from common.errors import InvalidArgument
    from controller.client import connect

    given = session.given().over(Login(token=_read(token_file))).over(from_environment())
    if not given.controller:
        raise Misuse("--controller: say which, HOST:PORT")
    if given.join is None:
        raise Misuse("--join: give the controller's join.pem, which lies in its data folder")
    token = given.token or _ask()
    try:
        join_pem = given.join.read_bytes()
        client = connect(given.controller, join_pem, token)
    except InvalidArgument as error:
        raise Misuse(str(error)) from None
    with client:
        caller = client.whoami()
    save(config_path(), client.address, join_pem, token.strip())
    session.printer.one(caller, lambda: _caller(caller, client.address))
    session.printer.remark(f"Remembered in {config_path()}")
    _warn(session, caller)


def whoami(session: Session) -> None:
    """Show whom the controller takes you for: your role, your account, and when your token ends."""
    client = session.client()
    caller = client.whoami()
    session.printer.one(caller, lambda: _caller(caller, client.address))
    _warn(session, caller)


def _caller(caller: account_pb2.WhoAmIResponse, address: str) -> Iterator[str]:
    from common.pb.v1 import account_pb2
    from controller.cli.words import ago, word

    yield f"{caller.name}  {word(account_pb2.Role, caller.role)}  at {address}  controller {caller.controller_version}"
    if caller.account:
        bound = ", ".join(caller.enterprise_projects)
        yield f"account {caller.account}, " + (f"enterprise projects {bound}" if bound else "all enterprise projects")
    if caller.token_id or caller.HasField("expires_at"):
        ends = f"ends {ago(caller.expires_at, datetime.now(UTC))}" if caller.HasField("expires_at") else "does not end"
        yield f"token {caller.token_id} {ends}".replace("  ", " ")


def _warn(session: Session, caller: account_pb2.WhoAmIResponse) -> None:
    from controller.cli.words import ago

    now = datetime.now(UTC)
    if caller.HasField("expires_at") and caller.expires_at.ToDatetime(tzinfo=UTC) <= now + _SOON:
        session.printer.remark(
            f"Your token ends {ago(caller.expires_at, now)}. Make another in time: patchctl tokens create --own"
        )


def _read(token_file: Path | None) -> str:
    if token_file is None:
        return ""
    text = sys.stdin.read() if str(token_file) == "-" else token_file.read_text(encoding="utf-8")
    if not text.strip():
        raise Misuse(f"--token-file: {token_file} is empty")
    return text.strip()


def _ask() -> str:
    if sys.stdin.isatty():
        asked: str = typer.prompt("Token", hide_input=True, err=True)
        return asked
    token = sys.stdin.readline().strip()
    if not token:
        raise Misuse("--token: give one, or write it to standard input")
    return token
