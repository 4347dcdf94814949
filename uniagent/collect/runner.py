"""Starts every command of a collection: no shell, no terminal, English, bounded in time and in output."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

MAX_OUTPUT_BYTES: Final = 96 << 20
_MAX_ERRORS_BYTES: Final = 1 << 20
_PASSED_ON: Final = (
    "PATH",
    "HOME",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
_SEARCHED: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_TERM_GRACE_SECONDS: Final = 2.0
_STRAY_SECONDS: Final = 0.5


class End(Enum):
    """How a command ended."""

    EXITED = "exited"
    NOT_FOUND = "not found"
    TIMED_OUT = "timed out"
    SIGNALED = "signaled"
    TOO_MUCH = "too much output"


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one command. What it said before a timeout is kept."""

    program: str
    end: End
    code: int = 0
    """Exit code, or the signal's number."""
    stdout: str = ""
    stderr: str = ""
    allowed: str = ""
    """How long it was allowed to take, in words that are the same each time."""

    @property
    def ok(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.end is End.EXITED and self.code == 0

    def failure(self) -> str:
        """Say in one sentence why it is not ok; the same failure gives the same sentence."""
        match self.end:
            case End.NOT_FOUND:
                return f"{self.program} is not installed"
            case End.TIMED_OUT:
                return f"{self.program} did not answer within {self.allowed}"
            case End.SIGNALED:
                return f"{self.program} was ended by signal {self.code}"
            case End.TOO_MUCH:
                return f"{self.program} said more than {MAX_OUTPUT_BYTES >> 20} MiB"
            case End.EXITED:
                said = next((line for line in self.stderr.splitlines() if line.strip()), "")
                return f"{self.program} ended with exit code {self.code}" + (f": {stable(said)}" if said else "")


class Runner:
    """Starts commands one after another. All of them together may take `timeout_seconds`."""

    def __init__(
        self,
        timeout_seconds: float = 600.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        inherited = os.environ if environment is None else environment
        self._environment = {k: inherited[k] for k in _PASSED_ON if k in inherited}
        self._environment.setdefault("PATH", _SEARCHED)
        self._environment |= {"LC_ALL": "C", "TZ": "UTC"}
        self._monotonic = monotonic
        self.total_seconds = timeout_seconds
        self._deadline = monotonic() + timeout_seconds

    @property
    def path(self) -> str:
        """The folders where programs are looked for, as PATH spells them."""
        return self._environment["PATH"]

    def remaining(self) -> float:
        """Return the seconds that are left for all commands, at least 0."""
        return max(0.0, self._deadline - self._monotonic())

    def run(
        self, command: Sequence[str], timeout_seconds: float | None = None, environment: Mapping[str, str] | None = None
    ) -> Ran:
        """Run a command to its end, or to the earlier of its own and the common deadline; then end all it has started.

        Only commands that read may be run: one that is too slow is ended.
        """
        program = os.path.basename(command[0])  # noqa: PTH119 - a program's name is not always a path
        left = self.remaining()
        own = timeout_seconds if timeout_seconds is not None and timeout_seconds <= left else None
        allowed = f"{own:g} s" if own is not None else f"the {self.total_seconds:g} s of this collection"
        if left <= 0:
            return Ran(program, End.TIMED_OUT, allowed=allowed)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment | dict(environment or {}),
                cwd="/",
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            return Ran(program, End.NOT_FOUND)
        out, err = bytearray(), bytearray()
        end = None
        try:
            end = self._listen(process, out, err, self._monotonic() + (left if own is None else own))
        finally:
            if end is not End.EXITED:
                _end_group(process)
        if end is End.EXITED and process.returncode < 0:
            end = End.SIGNALED
        texts = (out.decode("utf-8", "backslashreplace"), err.decode("utf-8", "backslashreplace"))
        return Ran(program, end, abs(process.returncode), *texts, allowed)

    def _listen(self, process: subprocess.Popen[bytes], out: bytearray, err: bytearray, deadline: float) -> End:
        """Read both outputs until the command and whatever holds its pipes is done."""
        assert process.stdout
        assert process.stderr
        with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
            selector.register(process.stdout, selectors.EVENT_READ, (out, MAX_OUTPUT_BYTES))
            selector.register(process.stderr, selectors.EVENT_READ, (err, _MAX_ERRORS_BYTES))
            while selector.get_map():
                left = deadline - self._monotonic()
                if left <= 0:
                    return End.TIMED_OUT
                ready = selector.select(min(left, _STRAY_SECONDS))
                if not ready and process.poll() is not None:
                    break  # it ended, but something it left behind keeps the pipes open
                for key, _ in ready:
                    piece = os.read(key.fd, 1 << 16)
                    kept, limit = key.data
                    if not piece:
                        selector.unregister(key.fileobj)
                    elif len(kept) + len(piece) <= limit:
                        kept += piece
                    elif kept is out:
                        return End.TOO_MUCH
        try:
            process.wait(max(0.0, deadline - self._monotonic()))
        except subprocess.TimeoutExpired:
            return End.TIMED_OUT
        return End.EXITED


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the command and all that it started: politely first, so that rpm and dnf can put their locks away."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):  # then the next signal
            process.wait(_TERM_GRACE_SECONDS)


_UNSTABLE: Final = (
    (re.compile(r"\s*\bafter \d+(\.\d+)? ?(ms|milliseconds|seconds|s)\b"), ""),
    (re.compile(r"\s*\bwith \d+ (out of \d+ )?bytes (received|remaining to read)\b"), ""),
    (re.compile(r"\b(?:tmpdir\.|tmp\.?)[A-Za-z0-9_]{6,12}\b"), "tmp"),
    (re.compile(r"\b(pid|process) \d+"), r"\1"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*"), "some time"),
    (re.compile(r"\s+"), " "),
)


def stable(text: str, limit: int = 400) -> str:
    """Return what a tool said as one line without times, process ids and temporary names: equal for equal failures."""
    for pattern, replacement in _UNSTABLE:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
