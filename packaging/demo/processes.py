"""The demo's processes: a controller and agents that run until they are stopped, and patchctl, which is asked and answers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_STOP_SECONDS: Final = 15.0
_ASK_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.1


class DemoError(Exception):
    """The story cannot go on. The sentence says why and where to look."""


class Daemons:
    """Processes that outlive the call that starts them; on leaving the context all of them are ended."""

    def __init__(self, logs: Path) -> None:
        """Keep what each process says in a file of its own under `logs`."""
        self._logs = logs
        self._running = dict[str, subprocess.Popen[bytes]]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log(self, name: str) -> Path:
        """Return the file with what a process said."""
        return self._logs / f"{name}.log"

    def start(self, name: str, command: Sequence[str], **environment: str) -> None:
        """Start a process in a session of its own, so that Ctrl-C reaches the story only."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | environment,
            )

    def kill(self, name: str) -> None:
        """End a process and all it started at once, as a power cut would."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait_for_death(self, name: str, seconds: float) -> int:
        """Wait until a process has ended by itself, forget it, end all it started, and return how it ended."""
        process = self._running[name]
        process.wait(seconds)
        del self._running[name]
        with contextlib.suppress(ProcessLookupError):  # nothing is left of it
            os.killpg(process.pid, signal.SIGKILL)
        return process.returncode

    def check(self) -> None:
        """Raise DemoError when a process has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                said = self.log(name).read_text(errors="replace").strip().splitlines()[-5:]
                raise DemoError(
                    f"{name} ended with {process.returncode}; it said in {self.log(name)}:\n" + "\n".join(said)
                )

    def wait(self, what: str, seconds: float, ready: Callable[[], bool]) -> None:
        """Return when `ready` says so; raise DemoError when a process ends or it takes longer than `seconds`."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{what}: not within {seconds:.0f} s; see {self._logs}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ask every process to end, the latest first; kill those that do not."""
        processes = list(reversed(self._running.values()))
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()


class Patchctl:
    """The operator's shell command, with settings of its own; on leaving the context what it started is ended."""

    def __init__(self, program: Path, config: Path) -> None:
        """Run `program` with the settings file `config`."""
        self._program = str(program)
        self._environment = os.environ | {"PATCHCTL_CONFIG": str(config)}
        self._started = list[subprocess.Popen[bytes]]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            process.kill()  # one that has ended is left alone
            process.wait()

    def ask(self, *arguments: str) -> str:
        """Run it and return its data; raise DemoError when it does not end well."""
        done = subprocess.run(
            [self._program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=self._environment,
            timeout=_ASK_SECONDS,
        )
        if done.returncode != 0:
            raise DemoError(f"patchctl {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it with the story's own output, its remarks among its data."""
        started = subprocess.Popen(
            [self._program, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=self._environment
        )
        self._started.append(started)
        return started
