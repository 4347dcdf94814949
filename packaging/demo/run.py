"""The demo: the whole product at work on twelve real installations, told in about a screen.

Everything is real: rpm packages, repositories, databases, dnf, a controller, twelve agents over mutual TLS, patchctl. Nothing outside
the demo's folder is read or written. At the end every instance's status is compared with what its packages mean.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import io
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import hosts
import realroots
from common.pb.v1 import types_pb2
from controller.client import Client, connect
from hosts import INSTANCES, SYSTEMS, Instance
from processes import Daemons, DemoError, Patchctl

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_BIN: Final = Path(sys.executable).parent
_START_SECONDS: Final = 120.0
_TICKET_SECONDS: Final = 180.0
_AGENT_AWAY: Final = "4s"
_HALF: Final = 2  # processors used for building
_told_to_end = threading.Event()
"""Python drops the exception of a signal that comes where exceptions are ignored, as in a `__del__`: then the next step ends it."""


class Story:
    """One run of the demo in one folder."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        """Tell it in `folder`; with `keep`, leave controller and agents running until Ctrl-C."""
        self.folder = folder
        self.keep = keep
        self._started = time.monotonic()
        self._step = 0
        self._logs = folder / "logs"
        self._daemons = Daemons(self._logs)
        self._config = folder / "patchctl/config.toml"
        self._patchctl = Patchctl(_BIN / "patchctl", self._config)

    def tell(self) -> dict[str, Any]:
        """Run it from beginning to end; return the reports by instance name. Raises DemoError or BuildError."""
        self._clear()
        print("Patchwarden: a controller and twelve agents, each with a real installation of its own. About a minute.")
        with self._daemons, self._patchctl:
            self._build()
            self._start()
            self._scan()
            self._explain()
            self._mend()
            reports = self._export()
            self._end()
        return reports

    def root(self, instance: str) -> Path:
        """Return the installation of an instance."""
        return self.folder / "roots" / instance

    # -- the steps ----------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._say("Build the hosts", "with rpmbuild, createrepo_c and dnf --installroot")
        today = datetime.now(UTC).date()
        with ThreadPoolExecutor(_HALF) as pool:
            places = dict(pool.map(lambda s: (s.key, self._build_system(s, today)), SYSTEMS.values()))
            list(pool.map(lambda i: self._install(i, places[i.system]), INSTANCES))
        realroots.point_repository(self.root(hosts.BROKEN), "updates", self.folder / "repositories/nowhere")
        for system in SYSTEMS.values():
            names = ", ".join(i.name for i in INSTANCES if i.system == system.key)
            print(f"  {system.os_release['PRETTY_NAME']:<38} {names}")
        print(f"  On purpose: the updates repository of {hosts.BROKEN} is gone.")

    def _build_system(self, system: hosts.System, today: Any) -> dict[str, Path]:
        return {
            spec.id: realroots.build_repository(
                spec, self.folder / "repositories" / system.key / spec.id, self.folder / "cache"
            )
            for spec in hosts.repositories(system, today)
        }

    def _install(self, instance: Instance, places: dict[str, Path]) -> None:
        system = SYSTEMS[instance.system]
        realroots.install_root(
            self.root(instance.name), system.os_release, places, hosts.packages_of(instance), system.releasever
        )

    def _start(self) -> None:
        self._say("Start", "the controller and twelve agents, each of which enrols with a one-time token")
        data = self.folder / "controller"
        data.mkdir()
        (self.folder / "controller.toml").write_text(
            _toml(
                data=str(data), listen="127.0.0.1:0", hosts=["127.0.0.1", "localhost"],
                heartbeat_interval="2s", report_interval="0s", log="text",
            )
        )  # fmt: skip
        program = str(_BIN / "patchwarden-controller")
        self._daemons.start("controller", [program, "run", "--config", str(self.folder / "controller.toml")])
        wanted = [data / name for name in ("address", "join.pem", "admin-token")]
        self._daemons.wait(
            "the controller", _START_SECONDS, lambda: all(f.exists() and f.stat().st_size for f in wanted)
        )
        address, token = wanted[0].read_text().strip(), str(wanted[2])
        self._patchctl.ask("login", "--controller", address, "--join", str(data / "join.pem"), "--token-file", token)
        with connect(address, wanted[1], wanted[2].read_text().strip()) as client:
            for instance in INSTANCES:
                self._start_agent(instance, address, client.create_enrolment_token(note=instance.name).secret)
            self._daemons.wait("twelve agents ONLINE", _START_SECONDS, lambda: _online(client) == len(INSTANCES))
        print(f"  The controller listens on {address}; 12 agents are ONLINE:")
        for place, names in hosts.described():
            print(f"    {place:<22} {names}")

    def _start_agent(self, instance: Instance, address: str, token: str) -> None:
        folder = self.folder / "agents" / instance.name
        folder.mkdir(parents=True)
        config = folder / "uniagent.toml"
        config.write_text(
            _toml(
                controller=address,
                join=str(self.folder / "controller/join.pem"),
                state=str(folder / "state"),
                token=token,
                name=instance.name,
                region=instance.region,
                zone=instance.zone,
                enterprise_project=instance.enterprise_project,
                resource_type=instance.resource_type,
                application_group=instance.application_group,
                root=str(self.root(instance.name)),
                log="text",
            )
        )
        config.chmod(0o600)
        self._daemons.start(instance.name, [str(_BIN / "uniagent"), "run", "--config", str(config)])

    def _scan(self) -> None:
        self._say("Scan them all", "in automatic batches, and stop when 80 % can no longer be reached")
        print(f"  On purpose: the agent of {hosts.KILLED} is killed (SIGKILL) while its run is out.")
        with _mirror_that_never_answers() as mirror:
            address = f"http://127.0.0.1:{mirror.getsockname()[1]}/"
            realroots.point_repository(self.root(hosts.KILLED), "updates", address)
            watch = self._start_scan(
                "--all", "--batch", "auto", "--success-rate", "80", "--unreachable-after", _AGENT_AWAY
            )
            # A connection to its mirror says that the agent is at work: its run is out.
            self._daemons.wait(
                f"{hosts.KILLED} at work", _TICKET_SECONDS, lambda: _asked(mirror) or watch.poll() is not None
            )
            self._daemons.kill(hosts.KILLED)
            self._finish(watch)

    def _explain(self) -> None:
        self._say("Read the reports")
        self._show("report", "summary")
        self._show("report", "show", hosts.SHOWN)
        self._show("report", "why", hosts.SHOWN, hosts.ASKED)

    def _mend(self) -> None:
        self._say("Upgrade", f"{hosts.SHOWN} with dnf, and scan it again")
        before = realroots.installed(self.root(hosts.SHOWN))
        realroots.upgrade_root(self.root(hosts.SHOWN))
        print(f"  dnf upgrade: {len(realroots.installed(self.root(hosts.SHOWN)) - before)} packages")
        self._finish(self._start_scan("--instance", hosts.SHOWN))
        self._show("report", "show", hosts.SHOWN)

    def _export(self) -> dict[str, Any]:
        file = self.folder / "report.json"
        self._patchctl.ask("report", "export", "--all", "--file", str(file))
        return {report["instance_name"]: report for report in json.loads(file.read_text())["reports"]}

    def _end(self) -> None:
        seconds = time.monotonic() - self._started
        here = _relative(self.folder)
        print(f"\nDone in {seconds:.0f} s. {here}/report.json is the full report, {here}/logs what everybody said.")
        if not self.keep:
            print("Keep it running to play with: make demo KEEP=1")
            return
        print(
            f"It keeps running. In another shell:\n"
            f"  export PATCHCTL_CONFIG={shlex.quote(str(self._config))}\n"
            f"  {_relative(_BIN)}/patchctl instances list\n"
            f"Ctrl-C ends it."
        )
        with contextlib.suppress(KeyboardInterrupt):
            _end_if_told()
            signal.pause()

    # -- how they are told --------------------------------------------------------------------------------------------------

    def _say(self, what: str, more: str = "") -> None:
        _end_if_told()
        self._step += 1
        print(f"\n{self._step}. {what} {more}".rstrip())

    def _show(self, *arguments: str) -> None:
        """Show a patchctl command and what it says; it must end well."""
        if self._command(*arguments).wait() != 0:
            raise DemoError(f"patchctl {shlex.join(arguments)} did not end well")

    def _command(self, *arguments: str) -> subprocess.Popen[bytes]:
        _end_if_told()
        print(f"$ patchctl {shlex.join(arguments)}")
        return self._patchctl.start(*arguments)

    def _start_scan(self, *selection: str) -> subprocess.Popen[bytes]:
        """Start a scan and watch it."""
        return self._command("scan", "create", *selection, "--watch")

    def _finish(self, watch: subprocess.Popen[bytes]) -> None:
        """Wait for a watch to end: 0 when all went well, 1 when the ticket is abnormal."""
        self._daemons.wait("the ticket's end", _TICKET_SECONDS, lambda: watch.poll() is not None)
        if watch.returncode not in (0, 1):
            raise DemoError(f"patchctl scan create --watch ended with {watch.returncode}")

    def _clear(self) -> None:
        for name in ("repositories", "roots", "agents", "controller", "patchctl", "logs"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("report.json", "controller.toml"):
            (self.folder / name).unlink(missing_ok=True)
        self._logs.mkdir(parents=True)


def differences(reports: dict[str, Any]) -> list[str]:
    """Say in a sentence each where reports are not what the fleet's packages mean, once `hosts.SHOWN` was upgraded."""
    wrong = list[str]()
    for instance in INSTANCES:
        expected = "COMPLIANT" if instance.name == hosts.SHOWN else instance.expected
        report = reports.get(instance.name, {"status": "absent", "operating_system": {"product": "absent"}})
        for should, is_ in (
            (expected, report["status"]),
            (SYSTEMS[instance.system].product, report["operating_system"]["product"]),
        ):
            if should != is_:
                wrong.append(f"{instance.name} should be {should} and is {is_}")
    reasons = {reason["reason"] for reason in reports.get(hosts.BROKEN, {}).get("reasons", [])}
    if "REPO_ERROR" not in reasons:
        wrong.append(f"{hosts.BROKEN} should say REPO_ERROR and says {', '.join(sorted(reasons)) or 'nothing'}")
    return wrong


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; raise DemoError when another demo has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo is running in {_relative(folder)}: end it with Ctrl-C first") from None
        yield


def main() -> int:
    """Tell the story; return 0 when it came out as it must."""
    parser = argparse.ArgumentParser(description="Show Patchwarden at work on twelve real installations.")
    parser.add_argument("--keep", action="store_true", help="leave controller and agents running until Ctrl-C")
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY / "demo", help="where everything goes (default: demo)"
    )
    options = parser.parse_args()
    _become_root()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # patchctl writes to the same place
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last when the terminal is closed
        signal.signal(number, _interrupt)
    try:
        if absent := realroots.missing_tools():
            raise DemoError(f"{', '.join(absent)} not installed: make setup says what to install")
        with only_one(options.folder):
            reports = Story(options.folder.resolve(), keep=options.keep).tell()
    except (DemoError, realroots.BuildError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nEnded early; controller and agents are stopped.", file=sys.stderr)
        return 130
    wrong = differences(reports)
    for sentence in wrong:
        print(f"error: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


def _become_root() -> None:
    """Start again as the root of a namespace of our own when we are not root: dnf and rpm insist on one."""
    prefix = realroots.as_root()
    if prefix:
        os.execvp(prefix[0], [*prefix, sys.executable, *sys.argv])


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    _told_to_end.set()
    raise KeyboardInterrupt


def _end_if_told() -> None:
    if _told_to_end.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def _mirror_that_never_answers() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as mirror:
        yield mirror


def _asked(mirror: socket.socket) -> bool:
    """Say whether anybody has connected; nobody is ever answered."""
    return bool(select.select([mirror], [], [], 0)[0])


def _online(client: Client) -> int:
    return sum(instance.agent_state == types_pb2.AGENT_STATE_ONLINE for instance in client.list_instances())


def _toml(**settings: str | list[str]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


def _relative(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
