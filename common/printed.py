"""Programs whose answer is what they print: whoever reads no more, or cannot be written to, ends them with one sentence at most."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

UNWRITTEN: Final = 1


def printed(work: Callable[[], int]) -> int:
    """Return the exit status of a program that prints to stdout, 1 when not all of it could be written."""
    try:
        status = work()
        sys.stdout.flush()
    except BrokenPipeError:
        status = UNWRITTEN
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or 'standard output'}: {error.strerror}\n")
        status = UNWRITTEN
    else:
        return status
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains while it ends
    return status
