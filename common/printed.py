"""Programs whose answer is what they print: whoever reads no more, or cannot be written to, ends them with one sentence at most."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

UNWRITTEN: Final = 1


def open_streams() -> None:
    """Open those of the three standard streams that the program was started without, as `>&-` and some supervisors do.

    There is nothing to read then, remarks go nowhere, and what is written to stdout is an error, never in a file that got its number.
    """
    for number, name, mode, access in (
        (0, "stdin", "r", os.O_RDONLY),
        (1, "stdout", "w", os.O_RDONLY),  # refuses what is written, as the closed one would have
        (2, "stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, access)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - open until the end


def printed(work: Callable[[], int]) -> int:
    """Return the exit status of a program that prints to stdout: its own, but 1 for a success of which not all could be written."""
    status = 0
    try:
        status = work()
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        if not status:  # a failure has been told
            sys.stderr.write(f"error: {error.filename or 'standard output'}: {error.strerror}\n")
    else:
        return status
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains while it ends
    return status or UNWRITTEN
