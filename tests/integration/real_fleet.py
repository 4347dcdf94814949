"""A fleet of real processes for tests: a controller, agents each with a real installation of its own, and a typed client."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from common.errors import Unavailable
from common.failpoints import VARIABLE
from controller.client import Client, connect
from processes import Daemons
from tests.ports import free_port

PROGRAMS = Path(sys.executable).parent


class RealFleet:
    """Processes under one folder. On leaving the context all of them are ended."""

    def __init__(self, folder: Path, *, heartbeat: str = "10s", report_interval: str = "0s") -> None:
        """Write the controller's settings; nothing runs yet."""
        self.folder = folder
        self.data = folder / "data"
        self.address = f"127.0.0.1:{free_port()}"
        self.daemons = Daemons(folder)
        self._client: Client | None = None
        (folder / "controller.toml").write_text(
            f'data = "{self.data}"\nlisten = "{self.address}"\nhosts = ["127.0.0.1"]\n'
            f'heartbeat_interval = "{heartbeat}"\nreport_interval = "{report_interval}"\n'
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
        self.daemons.stop()

    @property
    def client(self) -> Client:
        """The admin's client, connected when first asked for."""
        if self._client is None:
            token = (self.data / "admin-token").read_text().strip()
            self._client = connect(self.address, self.data / "join.pem", token)
        return self._client

    def start_controller(self, failpoint: str = "") -> None:
        """Start the controller; it serves soon, and dies at the failpoint."""
        (self.data / "address").unlink(missing_ok=True)
        self.daemons.start(
            "controller",
            [str(PROGRAMS / "patchwarden-controller"), "run", "--config", str(self.folder / "controller.toml")],
            **{VARIABLE: failpoint},
        )

    def wait_for_controller(self) -> None:
        """Return when the controller serves, and the admin's client has found it."""
        self.wait("the controller serves", (self.data / "address").exists)
        self.wait("the controller answers", lambda: bool(self.client.whoami()))

    def wait_for_death(self, name: str) -> None:
        """Return when a process has come to its failpoint."""
        assert self.daemons.wait_for_death(name, 120) == -signal.SIGKILL, self.daemons.log(name).read_text()[-2000:]

    def add_agent(self, name: str, root: Path, *, group: str = "web", failpoint: str = "") -> None:
        """Start an agent of its own on a copy of an installation. The controller must be there."""
        own = self.folder / f"{name}.root"
        shutil.copytree(root, own, symlinks=True)
        token = self.client.create_enrolment_token(note=name).secret
        (self.folder / f"{name}.toml").write_text(
            f'controller = "{self.address}"\njoin = "{self.data / "join.pem"}"\nstate = "{self.folder / name}"\n'
            f'token = "{token}"\nname = "{name}"\nregion = "cn-test"\nzone = "a"\napplication_group = "{group}"\n'
            f'root = "{own}"\n'
        )
        self.start_agent(name, failpoint)

    def start_agent(self, name: str, failpoint: str = "") -> None:
        """Start an agent that was added before; it dies at the failpoint."""
        command = [str(PROGRAMS / "uniagent"), "run", "--config", str(self.folder / f"{name}.toml")]
        self.daemons.start(name, command, **{VARIABLE: failpoint})

    def wait_for_agents(self, count: int) -> None:
        """Return when so many instances can be selected."""
        self.wait(
            f"{count} agents are there", lambda: len(list(self.client.list_instances(selectable_only=True))) == count
        )

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = 120) -> None:
        """Return when `ready` says so; a controller that is away meanwhile is no answer."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if ready():
                    return
            except Unavailable:
                time.sleep(0.1)
            self.daemons.check()
            assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s; see {self.folder}"
            time.sleep(0.1)
