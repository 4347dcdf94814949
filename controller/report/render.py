"""Reports as JSON and NDJSON, piece by piece. The same values give the same bytes (SEMANTICS R1). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controller.report.seal import KEY, FileSeal, canonical_line, sealed
from controller.report.text import Document


def whole_json(summary: Document, reports: Iterable[Document]) -> Iterator[bytes]:
    """Yield {"as_of", "reports", "sha256", "summary"}: sorted keys, two spaces, UTF-8. Holds one report at a time."""
    seal = FileSeal(summary["as_of"], summary)
    yield f'{{\n  "as_of": {json.dumps(summary["as_of"])},\n  "reports": ['.encode()
    separator, end = b"\n    ", b"]"
    for report in map(sealed, reports):
        seal.add(report)
        yield separator + _indented(report, 4)
        separator, end = b",\n    ", b"\n  ]"
    yield end + f',\n  "{KEY}": "{seal.hexdigest()}",\n  "summary": '.encode() + _indented(summary, 2) + b"\n}\n"


def ndjson(reports: Iterable[Document]) -> Iterator[bytes]:
    """Yield a line for each report, with its seal."""
    return (canonical_line(sealed(report)) + b"\n" for report in reports)


def _indented(value: Mapping[str, Any], by: int) -> bytes:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return text.replace(
        "\n", "\n" + " " * by
    ).encode()  # a line break inside a JSON string is written \n, never as itself
