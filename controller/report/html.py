"""The fleet's reports as one HTML file that needs nothing else: no script, no picture, no request. Pure; written as it streams.

Text from hosts is escaped by the template engine, whatever it is; the file's own content policy forbids everything but its styles.
The reports stand in it as data too, each beside what is shown of it: so the page can be made again of what it holds, and compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from controller.report import text
from controller.report.edition import edition
from controller.report.seal import KEY, FileSeal, sealed

_ATTRIBUTES: Final = {
    "region": "By region",
    "application_group": "By application group",
    "enterprise_project": "By enterprise project",
    "product": "By operating system",
    "baseline": "By baseline",
}
_ANSWERS: Final = (("compliant", "Compliant"), ("non_compliant", "Non-compliant"), ("undetermined", "Undetermined"))
_BUFFERED_PIECES: Final = 256
HEAD: Final = '<script type="application/json" id="export">'
REPORT: Final = '<script type="application/json" class="report">'
SEAL: Final = '<script type="application/json" id="seal">'
END: Final = "</script>"
"""Data stands on a line of its own, between one of these and the end."""


def pages(
    question: text.Document, summary: text.Document, reports: Iterable[text.Document], made_by: str | None = None
) -> Iterator[str]:
    """Yield the file piece by piece. Takes the reports one at a time and holds none; `summary` is made of the same ones.

    `made_by` is the edition that the page names.
    """
    seal = FileSeal(question)
    head = {"as_of": summary["as_of"], "asked": question, "edition": made_by or edition(), "summary": summary}

    def taken() -> Iterator[text.Document]:
        for report in reports:
            kept = sealed(report)
            seal.add(kept)
            yield kept

    template = _environment().get_template("report.html.j2")
    stream = template.stream(
        summary=summary,
        groups=_groups(summary),
        reports=taken(),
        head=_data(HEAD, head),
        record=lambda report: _data(REPORT, report),
        seal=lambda: _data(SEAL, {KEY: seal.close(summary["as_of"], summary)}),
    )
    stream.enable_buffering(_BUFFERED_PIECES)
    yield from stream


def _data(begin: str, value: Mapping[str, Any]) -> Markup:
    """Return plain values as a line that a browser neither shows nor runs, whatever they are: ASCII, and no letter that is markup."""
    said = json.dumps(value, sort_keys=True, separators=(",", ":"))
    for letter in "<>&":
        said = said.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(begin + said + END)  # noqa: S704 - what could be markup has just been escaped


def parts(counts: text.Document) -> list[dict[str, Any]]:
    """Cut a bar of length 1000 by the three numbers: what, how many, from where, how long. Empty parts are left out."""
    whole = sum(counts[name] for name, _ in _ANSWERS)
    found, before = list[dict[str, Any]](), 0
    for name, title in _ANSWERS:
        if count := counts[name]:
            start, end = before * 1000 // whole, (before + count) * 1000 // whole
            found.append({"name": name, "title": title, "count": count, "x": start, "width": end - start})
            before += count
    return found


def _groups(summary: text.Document) -> list[tuple[str, list[text.Document]]]:
    """Return the numbers by attribute, in the order in which they come."""
    by = dict[str, list[text.Document]]()
    for group in summary["groups"]:
        by.setdefault(group["attribute"], []).append(group)
    return [(_ATTRIBUTES.get(attribute, attribute), groups) for attribute, groups in by.items()]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("controller.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: text.visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "answers": _ANSWERS,
        "age": text.age,
        "baseline": text.baseline,
        "inputs": text.inputs,
        "parts": parts,
        "plural": text.plural,
        "share": text.share,
        "system": text.system,
        "utc": text.utc,
    }
    return environment
