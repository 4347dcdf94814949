"""Reports as JSON and NDJSON, piece by piece. The same values give the same bytes (SEMANTICS R1). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from controller.report.seal import KEY, FileSeal, canonical_line, chained, sealed
from controller.report.summary import Tally
from controller.report.text import Document


def whole_json(question: Document, reports: Iterable[Document]) -> Iterator[bytes]:
    """Yield {"as_of", "asked", "reports", "sha256", "summary"}: sorted keys, two spaces, UTF-8. Holds one report at a time.

    The summary is made of the reports that were written; as_of is the instant of the first.
    """
    coming = map(sealed, reports)
    first = list(islice(coming, 1))
    seal, tally = FileSeal(question), Tally(question)
    for report in first:
        tally.add(report)
    yield f'{{\n  "as_of": {json.dumps(tally.as_of)},\n  "asked": '.encode() + _indented(question, 2)
    yield b',\n  "reports": ['
    separator, end = b"\n    ", b"]"
    for report in chain(first, _counted(coming, tally)):
        seal.add(report)
        yield separator + _indented(report, 4)
        separator, end = b",\n    ", b"\n  ]"
    summary = tally.summary()
    sum_of_all = seal.close(tally.as_of, summary)
    yield end + f',\n  "{KEY}": "{sum_of_all}",\n  "summary": '.encode() + _indented(summary, 2) + b"\n}\n"


def ndjson(question: Document, reports: Iterable[Document]) -> Iterator[bytes]:
    """Yield a line for each report, with its seal and its place among the others. Holds one report besides the one in hand."""
    return (canonical_line(report) + b"\n" for report in chained(reports, question))


def _counted(reports: Iterable[dict[str, Any]], tally: Tally) -> Iterator[dict[str, Any]]:
    for report in reports:
        tally.add(report)
        yield report


def _indented(value: Mapping[str, Any], by: int) -> bytes:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return text.replace(
        "\n", "\n" + " " * by
    ).encode()  # a line break inside a JSON string is written \n, never as itself
