"""patchctl as a process on a real terminal: the live picture, questions, Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

from common.pb.v1 import ticket_pb2 as pb
from tests.scripted_controller import ScriptedController
from tests.scripted_patchctl import FAILED_RUN, a_ticket, logged_in, started  # noqa: F401 - fixtures

PATCHCTL = (
    "import signal; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from controller.cli.main import main; main()"
)
"""A shell starts what runs in its background with SIGINT ignored, and children inherit that: not so on a terminal. It is mended there and
not between fork and exec: in a copy of this process, which has a server, gRPC may end before it comes to that."""


class Terminal:
    """A process on a terminal of its own, and everything it showed."""

    def __init__(self, *arguments: str, columns: int = 100, **environment: str) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        words = [sys.executable, "-c", PATCHCTL, *arguments]
        variables = os.environ | {"TERM": "xterm"} | environment
        self.process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=variables)
        os.close(theirs)

    def until(self, text: str, seconds: float = 60) -> None:
        """Read until `text` was shown."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, f"{text!r} was not shown, but {self.shown}"
            assert self._read(), f"{text!r} was not shown, but {self.shown}"

    def write(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Read to the end; return the exit code."""
        while self._read():
            pass
        os.close(self._ours)
        return self.process.wait(timeout=60)

    def _read(self) -> bool:
        try:
            piece = os.read(self._ours, 4096)
        except OSError:  # Linux says so when the other side is closed
            return False
        self.shown += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)


def going_on() -> pb.WatchResponse:
    run = pb.Run(id="r", batch=2, instance_name="ecs-web-05", step="collecting")
    return pb.WatchResponse(ticket=a_ticket(pb.TICKET_STATE_PROCESSING), running=[run])


def script(server: ScriptedController, let_it_end: threading.Event) -> None:
    def watch(_: Any) -> Iterator[pb.WatchResponse]:
        yield going_on()
        let_it_end.wait(60)
        yield pb.WatchResponse(ticket=a_ticket(pb.TICKET_STATE_ABNORMAL), failed=[FAILED_RUN])

    server.answers |= {
        "GetTicket": lambda _: pb.GetTicketResponse(ticket=going_on().ticket),
        "Preview": lambda _: pb.PreviewResponse(targets=4, executed_by="root", spec=a_ticket().spec),
        "CreateTicket": lambda _: pb.CreateTicketResponse(ticket=going_on().ticket),
        "Watch": watch,
    }


def test_a_scan_is_shown_asked_about_and_then_followed_live(server: ScriptedController) -> None:
    end = threading.Event()
    script(server, end)
    terminal = Terminal("scan", "create", "--all")
    terminal.until("Scan 4 instances now? [y/N]")
    assert server.requests("CreateTicket") == []
    terminal.write("y\n")
    terminal.until("batch 2/2")
    end.set()
    assert terminal.end() == 1
    assert "━━━━" in terminal.shown
    assert "ecs-web-04 TIMEOUT: agent lost at 12:31:07" in terminal.shown
    assert "patchctl ticket retry T-7Q4M" in terminal.shown


def test_a_no_creates_nothing(server: ScriptedController) -> None:
    script(server, threading.Event())
    terminal = Terminal("scan", "create", "--all")
    terminal.until("[y/N]")
    terminal.write("n\n")
    assert terminal.end() == 1
    assert "Nothing was done." in terminal.shown
    assert server.requests("CreateTicket") == []


def test_ctrl_c_leaves_the_ticket_running_and_says_so(server: ScriptedController) -> None:
    end = threading.Event()
    script(server, end)
    terminal = Terminal("ticket", "watch", "T-7Q4M")
    terminal.until("ok 3")
    terminal.process.send_signal(signal.SIGINT)
    code = terminal.end()
    end.set()
    assert code == 130
    assert "T-7Q4M goes on" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert {name for name, _ in server.calls} == {"GetTicket", "Watch"}


def test_colour_is_on_a_terminal_only_and_never_with_no_color(server: ScriptedController) -> None:
    server.answers["GetTicket"] = lambda _: pb.GetTicketResponse(ticket=a_ticket(pb.TICKET_STATE_ABNORMAL))
    server.answers["ListRuns"] = lambda _: pb.ListRunsResponse(runs=[FAILED_RUN])
    coloured, plain = Terminal("ticket", "show", "T"), Terminal("ticket", "show", "T", NO_COLOR="1")
    assert (coloured.end(), plain.end()) == (0, 0)
    assert "\x1b[31mABNORMAL" in coloured.shown
    assert "\x1b[31m" not in plain.shown
    assert "ABNORMAL" in plain.shown


def test_every_line_fits_a_narrow_terminal(server: ScriptedController) -> None:
    server.answers["GetTicket"] = lambda _: pb.GetTicketResponse(ticket=a_ticket())
    server.answers["ListRuns"] = lambda _: pb.ListRunsResponse(runs=[FAILED_RUN] * 3)
    terminal = Terminal("ticket", "show", "T", columns=80, NO_COLOR="1")
    assert terminal.end() == 0
    assert max(map(len, terminal.shown.splitlines())) <= 80
