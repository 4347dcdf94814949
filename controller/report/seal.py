"""Seals: SHA-256 sums inside a kept report, so that a change is seen without asking anybody. Pure.

A seal is no signature: who may write the file may seal it again. What the controller computes again is the proof.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from controller.report.text import Document

KEY: Final = "sha256"


def canonical_line(value: Mapping[str, Any]) -> bytes:
    """Return plain values as one line of JSON without its end: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


def sealed(report: Document) -> dict[str, Any]:
    """Return the report with its own sum."""
    return {**report, KEY: hashlib.sha256(canonical_line(unsealed(report))).hexdigest()}


def unsealed(report: Document) -> dict[str, Any]:
    """Return the report without its sum."""
    return {name: value for name, value in report.items() if name != KEY}


def is_intact(report: Document) -> bool:
    """Tell whether a report is as it was sealed; False for one that has no seal."""
    return bool(report.get(KEY) == sealed(report)[KEY])


class FileSeal:
    """The sum over a whole file: over its head (as_of and summary) and the reports in their order, one canonical line each."""

    def __init__(self, as_of: str | None, summary: Document) -> None:
        """Begin with the head."""
        self._sum = hashlib.sha256(canonical_line({"as_of": as_of, "summary": summary}) + b"\n")

    def add(self, report: Document) -> None:
        """Take the next report, with its own seal."""
        self._sum.update(canonical_line(report) + b"\n")

    def hexdigest(self) -> str:
        """Return the sum of what was added."""
        return self._sum.hexdigest()
