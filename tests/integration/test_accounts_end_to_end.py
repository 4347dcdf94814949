"""Two accounts on one controller that remembers, worked with as people do, by patchctl: what changes holds at once, and the log says so."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from controller.app import DATABASE, Controller
from controller.audit.chain import verify
from controller.audit.model import AuditKind
from controller.settings import Settings
from controller.store.sqlite import SqliteStore
from tests.integration.api_harness import TIMEOUT, Harness

CODE = "from controller.cli.main import main; main()"


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


class Person:
    """Somebody at a shell of his own, with a token."""

    def __init__(self, address: str, data: Path, token: str, home: Path) -> None:
        self.token = token
        self.environment = os.environ | {
            "PATCHCTL_CONTROLLER": address,
            "PATCHCTL_JOIN": str(data / "join.pem"),
            "PATCHCTL_TOKEN": token,
            "PATCHCTL_CONFIG": str(home / "config.toml"),
        }

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CODE, *words), stdout=pipe, stderr=pipe, env=self.environment
        )

    async def does(self, *words: str) -> Said:
        async with asyncio.timeout(60):
            process = await self.start(*words)
            out, err = await process.communicate()
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    async def gets(self, *words: str) -> str:
        """Return what a command that must succeed wrote to stdout."""
        said = await self.does(*words)
        assert said.code == 0, said
        return said.out.strip()


@pytest.fixture
async def controller(tmp_path: Path) -> AsyncIterator[Controller]:
    settings = Settings(
        tmp_path / "data",
        listen="127.0.0.1:0",
        hosts=("127.0.0.1", "localhost"),
        heartbeat_interval=timedelta(minutes=1),  # the agents here say nothing between their answers
    )
    made = Controller(settings)
    await made.start()
    yield made
    await made.stop()


async def test_two_accounts_from_the_first_admin_to_the_log(controller: Controller, tmp_path: Path) -> None:
    data = controller.settings.data
    harness = Harness(controller, cast(Any, None), data)

    def person(name: str, token: str) -> Person:
        (tmp_path / name).mkdir()
        return Person(controller.address, data, token, tmp_path / name)

    admin = person("admin", (data / "admin-token").read_text().strip())
    ann = person("ann", await admin.gets("accounts", "create", "acme", "--admin", "ann"))
    assert "account acme, all enterprise projects" in await ann.gets("whoami")
    bob = person("bob", await ann.gets("users", "create", "bob", "--role", "OPERATOR", "--lifetime", "2h"))

    # bob logs in as he was told to
    token_file = tmp_path / "bob" / "token"
    token_file.write_text(bob.token)
    del bob.environment["PATCHCTL_TOKEN"]
    logged_in = await bob.does("login", "--token-file", str(token_file))
    assert (logged_in.code, "Your token ends in 1 h" in logged_in.err) == (0, True), logged_in
    assert "bob  OPERATOR" in await bob.gets("whoami")

    # a host of acme, at work on a ticket of bob's that he watches
    agent = await harness.enrol("web-1", token=await ann.gets("enrolment", "create"))
    stream = asyncio.create_task(agent.run())
    async with asyncio.timeout(TIMEOUT):
        await agent.welcomed.wait()
    assert (await bob.does("scan", "create", "--all", "--output", "json")).code == 0
    ticket = (await bob.gets("ticket", "list", "--output", "csv")).splitlines()[1].split(",")[0]
    watching = await bob.start("ticket", "watch", ticket)
    assert watching.stdout is not None
    async with asyncio.timeout(60):
        assert ticket in (await watching.stdout.readline()).decode()

    # he is made a viewer: it holds at once though his token was used a moment ago
    assert "VIEWER" in await ann.gets("users", "update", "bob", "--role", "VIEWER")
    refused = await bob.does("ticket", "pause", ticket)
    assert (refused.code, refused.err) == (
        1,
        "error: bob is VIEWER: Pause needs the role OPERATOR; ask an admin of the account acme for it\n",
    )
    assert watching.returncode is None, "a viewer may watch"

    # he is disabled: he is refused, and what he watches ends
    await ann.gets("users", "disable", "bob")
    refused = await bob.does("whoami")
    assert (refused.code, refused.err.startswith("error: the user bob is disabled since ")) == (1, True)
    async with asyncio.timeout(60):
        _, said = await watching.communicate()
    assert (watching.returncode, "the user bob is disabled since" in said.decode()) == (1, True)
    mine = await ann.gets("tokens", "list", "--user", "bob")
    assert "ago" in mine or "now" in mine, "when it was last used is known"

    # neither account's admin has power in the other
    both = await asyncio.gather(ann.does("users", "disable", "admin"), admin.does("users", "disable", "bob"))
    for refused, user in zip(both, ("admin", "bob"), strict=True):
        assert (refused.code, refused.err) == (1, f"error: there is no user '{user}'; list them: patchctl users list\n")

    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    await harness.close()
    await controller.stop()

    store = SqliteStore.open(data / DATABASE)
    entries = await store.audit.entries_after(0, 999)
    await store.close()
    assert verify(entries) == entries[-1].head
    ended = [
        (e.deed.account, e.deed.operator, e.deed.method, e.deed.subject, e.deed.kind)
        for e in entries
        if e.deed.kind in (AuditKind.DONE, AuditKind.REFUSED) and e.deed.method != "TicketService/Preview"
    ]
    accounts = [(*rest, kind.value) for *rest, kind in ended if str(rest[2]).startswith("AccountService/")]
    assert accounts[:4] == [
        ("default", "admin", "AccountService/CreateAccount", "acme", "DONE"),
        ("acme", "ann", "AccountService/CreateUser", "bob", "DONE"),
        ("acme", "ann", "AccountService/UpdateUser", "bob", "DONE"),
        ("acme", "ann", "AccountService/UpdateUser", "bob", "DONE"),
    ]
    assert sorted(accounts[4:]) == [
        ("acme", "ann", "AccountService/UpdateUser", "admin", "REFUSED"),
        ("default", "admin", "AccountService/UpdateUser", "bob", "REFUSED"),
    ]
    tickets = [(account, by, method, kind) for account, by, method, _, kind in ended if "Ticket" in method]
    assert tickets == [
        ("acme", "bob", "TicketService/CreateTicket", AuditKind.DONE),
        ("acme", "bob", "TicketService/Pause", AuditKind.REFUSED),
    ]
    noted = {(e.deed.account, e.deed.subject) for e in entries if e.deed.method == "AgentService/Enroll"}
    assert noted == {("acme", agent.instance_id)}
    kept = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file() and path.name != "admin-token")
    for secret in (admin.token, ann.token, bob.token):
        assert secret.encode() not in kept, "what the data folder keeps of a token is its hash"
