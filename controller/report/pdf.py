"""The fleet as a PDF for an auditor: the numbers, every instance, what is not compliant and why, the inputs by digest. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from reportlab.lib.colors import HexColor

from controller.report import text
from controller.report.edition import edition
from controller.report.pdf_sheet import INK, QUIET, ROOM, Cell, Column, Sheet, TooManyPages
from controller.report.pdf_text import BOLD
from controller.report.render import whole_json
from controller.report.summary import summarise

GOOD: Final = HexColor("#1a7f4b")
BAD: Final = HexColor("#b3152f")
UNKNOWN: Final = HexColor("#8a5f00")
_COLOURS: Final = {
    "COMPLIANT": GOOD,
    "NON_COMPLIANT": BAD,
    "UNDETERMINED": UNKNOWN,
    "MISSING": BAD,
    "FAILED": BAD,
    "REJECT": BAD,
    "PENDING_REBOOT": UNKNOWN,
}
_ANSWERS: Final = (
    ("compliant", "Compliant", GOOD),
    ("non_compliant", "Non-compliant", BAD),
    ("undetermined", "Undetermined", UNKNOWN),
)
ATTACHED: Final = "report.json"
_INSTEAD: Final = "--format html and --format ndjson take any number"
_ATTRIBUTES: Final = {
    "region": "region",
    "application_group": "application group",
    "enterprise_project": "enterprise project",
    "product": "operating system",
    "baseline": "baseline",
}


MAX_INSTANCES: Final = 2_000
"""Of one file. A PDF is written when all of its pages are known, and they are in memory until then."""
MAX_PAGES: Final = 10_000
_TITLE_AND_BEGINNING: Final = 150
"""A part's title stands on one page with the first of what it is the title of."""


class TooMuchForPdf(ValueError):
    """More instances or pages than a PDF may have. `str()` says how many, and what to ask for instead."""


def check_instances(count: int) -> None:
    """Raise TooMuchForPdf unless a file may hold so many instances."""
    if count > MAX_INSTANCES:
        raise TooMuchForPdf(
            f"a PDF holds at most {MAX_INSTANCES:,} instances, these are {count:,}: {_INSTEAD}, or choose fewer instances"
        )


def document(question: text.Document, reports: Collection[text.Document], made_by: str | None = None) -> bytes:
    """Return the file. Its date is the first report's instant; the same values give the same bytes.

    The reports are attached to it as the JSON that `report export` gives: so it can be made again of what it holds. `made_by` is the
    edition that it names. Goes through the reports several times and keeps none; what it keeps are the pages. Raises TooMuchForPdf.
    """
    check_instances(len(reports))
    summary = summarise(question, reports)
    as_of = summary["as_of"]
    title = f"Patch compliance as of {text.utc(as_of)}" if as_of else "Patch compliance"
    sheet = Sheet(title, text.instant(as_of) if as_of else None, MAX_PAGES, made_by or edition())
    try:
        _summary(sheet, summary)
        _instances(sheet, reports)
        _findings(sheet, reports)
        _inputs(sheet, reports)
        sheet.attach(ATTACHED, whole_json(question, reports), sum(map(len, whole_json(question, reports))))
        return sheet.finish()
    except TooManyPages:
        raise TooMuchForPdf(
            f"a PDF holds at most {MAX_PAGES:,} pages, which these reports fill: {_INSTEAD}, or choose fewer instances"
        ) from None


def _summary(sheet: Sheet, summary: text.Document) -> None:
    sheet.heading("Patch compliance report", 20)
    sheet.paragraph(text.heading(summary), size=11, colour=QUIET)
    sheet.skip(8)
    counts = summary["counts"]
    sheet.bar((counts[name], colour) for name, _, colour in _ANSWERS)
    rows = [
        (
            Cell(title, colour, BOLD),
            f"{counts[name]:,}",
            text.share(counts[name], summary["instances"]),
            _detail(summary, name),
        )
        for name, title, colour in _ANSWERS
    ]
    sheet.table((Column("", 100), Column("", 60, True), Column("", 70, True), Column("", ROOM - 230)), rows, 10)
    if summary["oldest_missing"]:
        item = summary["oldest_missing"]
        level = (item["level"] or "").lower().replace("unspecified", "")
        age = text.age(item["first_non_compliant_at"], summary["as_of"])
        sheet.skip(4)
        sheet.paragraph(
            f"Oldest missing{' ' + level if level else ''} patch: {item['name']} on {summary['oldest_missing_instance']}"
            f"{', ' + age if age else ''}."
        )
    if summary["groups"]:
        sheet.heading("By attribute")
        columns = (
            Column("", 120),
            Column("", ROOM - 360),
            *(Column(title.lower(), 80, True) for _, title, _ in _ANSWERS),
        )
        sheet.table(columns, _groups(summary["groups"]))


def _detail(summary: text.Document, name: str) -> str:
    match name:
        case "non_compliant":
            worst = ", ".join(f"{x['level'] or 'UNSPECIFIED'} {x['instances']}" for x in summary["levels"])
            return f"worst: {worst}" if worst else ""
        case "undetermined":
            return ", ".join(f"{x['reason']} {x['instances']}" for x in summary["reasons"])
    return ""


def _groups(groups: Iterable[text.Document]) -> Iterator[Sequence[str | Cell]]:
    last = ""
    for group in groups:
        attribute = str(group["attribute"])
        title = "" if attribute == last else _ATTRIBUTES.get(attribute, attribute)
        yield (
            Cell(title, QUIET),
            group["value"] or "(none)",
            *(f"{group['counts'][name]:,}" for name, _, _ in _ANSWERS),
        )
        last = attribute


def _instances(sheet: Sheet, reports: Iterable[text.Document]) -> None:
    sheet.heading("Instances")
    columns = (
        Column("instance", 105),
        Column("status", 82),
        Column("level", 66),
        Column("missing", 38, True),
        Column("other", 36, True),
        Column("", 6),
        Column("operating system", 92),
        Column("baseline", ROOM - 425),
    )
    sheet.table(columns, (_instance(report) for report in reports))
    sheet.skip(4)
    sheet.paragraph(
        "missing: approved and older than approved. other: rejected, failed or waiting for a restart. "
        "Undetermined: it cannot be said; missing data is never taken for compliance.",
        size=8,
        colour=QUIET,
    )


def _instance(report: text.Document) -> Sequence[str | Cell]:
    counts = report["counts"]
    reasons = ", ".join(dict.fromkeys(str(reason["reason"]) for reason in report["reasons"]))
    bad = report["status"] == "NON_COMPLIANT"
    level = str(report["level"] or "")
    return (
        Cell(report["instance_name"], INK, BOLD),
        Cell(str(report["status"] or "unknown"), _COLOURS.get(report["status"], INK)),
        level if bad and level != "UNSPECIFIED" else reasons,
        str(counts["missing"]),
        str(counts["reject"] + counts["failed"] + counts["pending_reboot"]),
        "",
        text.system(report),
        text.baseline(report) or "none",
    )


def _findings(sheet: Sheet, reports: Iterable[text.Document]) -> None:
    sheet.keep(_TITLE_AND_BEGINNING)
    sheet.heading("What is not compliant, and why")
    told = False
    for report in reports:
        items = [
            item for item in report["items"] if item["status"] in text.NON_COMPLIANT or item["status"] == "EXCEPTED"
        ]
        if not items and not report["reasons"]:
            continue
        told = True
        sheet.heading(report["instance_name"], 10.5)
        for reason in report["reasons"]:
            sheet.paragraph(f"{reason['reason']}  {reason['detail']}", colour=UNKNOWN)
            sheet.paragraph(reason["help"], size=8, colour=QUIET, indent=12)
        for item in items:
            _finding(sheet, item, report)
    if not told:
        sheet.paragraph("Nothing.")


def _finding(sheet: Sheet, item: text.Document, report: text.Document) -> None:
    sheet.keep(40)
    sheet.skip(3)
    reason = f" {item['reason']}" if item["reason"] else ""
    level = f"  {item['level']}" if item["level"] and item["level"] != "UNSPECIFIED" else ""
    package = f"{item['name']}.{item['arch']}" if item["arch"] else item["name"]
    sheet.paragraph(
        f"{item['status']}{reason}{level}  {package}", font=BOLD, colour=_COLOURS.get(item["status"], QUIET)
    )
    facts = [f"installed {item['installed']}"]
    if item["required"]:
        facts.append(f"required {item['required']}")
    if item["advisories"]:
        facts.append(" ".join(item["advisories"]))
    if age := text.age(item["first_non_compliant_at"], (report["inputs"] or {}).get("as_of")):
        facts.append(f"for {age}")
    sheet.paragraph(" · ".join(facts), size=8, indent=12)
    if item["why"]:
        sheet.paragraph(item["why"], size=8, colour=QUIET, indent=12)
    if item["available_security"]:
        waiting = f"A newer security build is not approved yet: {item['available_security']}."
        sheet.paragraph(waiting, size=8, colour=QUIET, indent=12)
    if item["cves"]:
        sheet.paragraph(" ".join(item["cves"]), size=7, colour=QUIET, indent=12)


def _inputs(sheet: Sheet, reports: Iterable[text.Document]) -> None:
    sheet.keep(_TITLE_AND_BEGINNING)
    sheet.heading("Inputs")
    sheet.paragraph(
        "Each answer is a function of five inputs: installed packages, repository metadata, baseline, exceptions, and the instant. "
        "The same inputs give the same answer; digests are SHA-256.",
        size=8,
        colour=QUIET,
    )
    columns = (Column("instance", 105), Column("input", 55), Column("digest or version", ROOM - 160))
    named = ((report["instance_name"], text.inputs(report)) for report in reports if report["inputs"])
    rows = (
        (Cell(name, INK, BOLD), Cell(tuple(word for word, _ in found), QUIET), Cell(tuple(value for _, value in found)))
        for name, found in named
    )
    sheet.table(columns, rows, 7)
