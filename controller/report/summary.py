"""The numbers over the reports of one file, made of these reports and of nothing else: so that they can be made again. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from controller.compliance.aggregate import UNSUPPORTED
from controller.report.text import Document

_LEVELS: Final = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED")
_NEVER: Final = "9999"
_ANSWERS: Final = ("compliant", "non_compliant", "undetermined")


class Tally:
    """Counts reports as they come; has the form and the order of the API's summary of a fleet."""

    def __init__(self, question: Document) -> None:
        """Begin with nobody. `question` is what was asked."""
        self.as_of: str | None = question.get("as_of")
        """The instant of the first report; where that has none, and where there is no report, the one that was asked for."""
        self._instances = 0
        self._answers = Counter[str]()
        self._levels = Counter[str]()
        self._reasons = Counter[str]()
        self._groups = defaultdict[tuple[int, str, str], Counter[str]](Counter)
        self._oldest: tuple[tuple[int, str, str, str, str], Document, str] | None = None

    def add(self, report: Document) -> None:
        """Count a report."""
        self._instances += 1
        if self._instances == 1:
            self.as_of = (report["inputs"] or {}).get("as_of") or self.as_of
        answer = str(report["status"] or "UNDETERMINED").lower()
        self._answers[answer] += 1
        if answer == "non_compliant":
            self._levels[str(report["level"] or "UNSPECIFIED")] += 1
        if answer == "undetermined":
            self._reasons.update({str(reason["reason"]) for reason in report["reasons"]})
        for place, (attribute, value) in enumerate(_attributes(report)):
            self._groups[place, attribute, value][answer] += 1
        for item in report["items"]:
            if item["status"] == "MISSING":
                self._note(report, item)

    def summary(self) -> dict[str, Any]:
        """Return the numbers."""
        return {
            "instances": self._instances,
            "counts": _counts(self._answers),
            "levels": [
                {"level": level, "instances": count}
                for level, count in sorted(self._levels.items(), key=lambda found: _weight(found[0]))
            ],
            "reasons": [
                {"reason": reason, "instances": count}
                for reason, count in sorted(self._reasons.items(), key=lambda found: (-found[1], found[0]))
            ],
            "groups": [
                {"attribute": attribute, "value": value, "counts": _counts(found)}
                for (_, attribute, value), found in sorted(self._groups.items())
            ],
            "oldest_missing": self._oldest[1] if self._oldest else None,
            "oldest_missing_instance": self._oldest[2] if self._oldest else "",
            "as_of": self.as_of,
        }

    def _note(self, report: Document, item: Document) -> None:
        key = (
            _weight(item["level"]),
            item["first_non_compliant_at"] or _NEVER,
            report["instance_name"],
            report["instance_id"],
            f"{item['name']}.{item['arch']}",
        )
        if self._oldest is None or key < self._oldest[0]:
            self._oldest = key, item, report["instance_name"]


def summarise(question: Document, reports: Iterable[Document]) -> dict[str, Any]:
    """Return the numbers of these reports, which were given for this question."""
    tally = Tally(question)
    for report in reports:
        tally.add(report)
    return tally.summary()


def differences(told: Any, made: Any, path: str = "summary") -> Iterator[str]:
    """Say where what a file tells is not what its reports make, the parts by their names."""
    if isinstance(told, dict) and isinstance(made, dict):
        for name in sorted({*told, *made}):
            yield from differences(told.get(name), made.get(name), f"{path}.{name}")
    elif isinstance(told, list) and isinstance(made, list) and len(told) == len(made):
        for number, (one, other) in enumerate(zip(told, made, strict=True), start=1):
            yield from differences(one, other, f"{path}[{number}]")
    elif type(told) is not type(made) or told != made:
        yield f"{path} is {_said(told)}, its reports make {_said(made)}"


def _said(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case list():
            return f"{len(value)} entries"
        case dict():
            return "something"
    return str(value)


def _weight(level: str | None) -> int:
    return _LEVELS.index(level) if level in _LEVELS else len(_LEVELS)


def _attributes(report: Document) -> tuple[tuple[str, str], ...]:
    return (
        ("region", report["region"]),
        ("application_group", report["application_group"]),
        ("enterprise_project", report["enterprise_project"]),
        ("product", (report["operating_system"] or {}).get("product") or UNSUPPORTED),
        ("baseline", report["baseline_name"]),
    )


def _counts(found: Counter[str]) -> dict[str, int]:
    return {name: found[name] for name in _ANSWERS}
