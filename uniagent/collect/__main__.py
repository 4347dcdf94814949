"""`python -m uniagent.collect --spool DIR`: one collection in a process of its own, for the daemon.

Says on standard output what it is doing ("collecting", "refreshing"), one word a line. Exit 0: result.json was written, problems or
not. Exit 1: it was not, and standard error says why in one sentence. SIGTERM ends it together with the commands it runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from common.clock import SystemClock, parse_duration
from uniagent.collect import spool
from uniagent.collect.inventory import collect
from uniagent.collect.model import CollectRequest
from uniagent.collect.runner import Runner

_TRIES = 2
_CACHE = "cache"
_WRITING_SECONDS = 10.0  # of the time are kept to write the report: whoever waits for it may not wait longer
_WRITING_SHARE = 0.2


def main(arguments: list[str] | None = None) -> int:
    """Collect into a spool folder and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m uniagent.collect", description=__doc__)
    parser.add_argument("--spool", type=Path, required=True, metavar="DIR", help="where blobs and result.json go")
    parser.add_argument("--root", type=Path, metavar="DIR", help="ask the installation in this folder")
    parser.add_argument("--timeout", type=_seconds, default=600.0, metavar="S", help="for all of it, e.g. 600 or 10m")
    parser.add_argument("--no-refresh", action="store_true", help="read what is cached")
    parser.add_argument(
        "--clock", default="", metavar="TEXT", help="what is wrong with this host's clock, for the report"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    request = CollectRequest(
        root=options.root,
        refresh=not options.no_refresh,
        timeout_seconds=options.timeout,
        fallback_cache=options.spool / _CACHE,
        clock_matter=options.clock,
    )
    runner = Runner(request.timeout_seconds - min(_WRITING_SECONDS, _WRITING_SHARE * request.timeout_seconds))
    try:
        (options.spool / spool.RESULT).unlink(missing_ok=True)
        for attempt in range(1, _TRIES + 1):
            try:
                spool.write(collect(request, runner, step=_say), options.spool, SystemClock().now())
                break
            except spool.Changed:
                if attempt == _TRIES:
                    raise
    except OSError as error:
        return _refuse(f"the report cannot be written to {options.spool}: {error.strerror or error}")
    except spool.Changed as changed:
        return _refuse(f"the repositories' metadata changes too fast: {changed}")
    except ValueError as error:
        return _refuse(f"what was collected is no proper report: {error}")
    return 0


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _say(word: str) -> None:
    print(word, flush=True)


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)  # so that the runner ends its command


if __name__ == "__main__":
    sys.exit(main())
