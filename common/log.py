"""Logs: one line an event, a constant message, the facts as fields (`log.info("enrolled", extra={"instance": ...})`).

The standard library's logging with one formatter: a logging library costs an idle agent a seventh of its memory.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        facts = {k: v for k, v in vars(record).items() if k not in _OWN}
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        if self._as_json:
            head = {"at": at, "level": record.levelname.lower(), "logger": record.name, "event": record.getMessage()}
            return json.dumps(head | facts, default=str)
        said = " ".join(f"{k}={_quoted(v)}" for k, v in facts.items())
        return f"{at} {record.levelname.lower():7} {record.getMessage()}" + (f"  {said}" if said else "")


def setup(*, level: str = "info", as_json: bool = False, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error by default), as text for people or as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Formatter(as_json=as_json))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c.isspace() or c == '"' for c in text) else text
