"""The evidence of an item as sentences for people (SEMANTICS R14). Made from the item's fields and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from controller.compliance.exceptions import Excuse
from controller.compliance.model import Category, DateBasis, Item, PatchStatus, Severity
from controller.compliance.required import BY_HAND, REQUIRED

_MAX_LISTED: Final = 5


def why(
    item: Item,
    instance: str,
    baseline: str,
    *,
    running: str = "",
    decisive_cves: Sequence[str] = (),
    by_advisory: bool = True,
) -> str:
    """Say why an item has its status; empty for INSTALLED_OTHER, where there is nothing to tell.

    The first of the item's advisories is the one that was approved. `running` is the running kernel's version; `decisive_cves`
    are those of the approved advisory (the item has the union over all that are skipped). Not `by_advisory`: a build is approved that no
    advisory mentions, and all advisories of the item are of versions between.
    """
    match item.status:
        case PatchStatus.MISSING | PatchStatus.FAILED:
            approval = _approval(item, baseline, decisive_cves, by_advisory)
            head = f"{instance} is missing {item.name} {item.required} because {approval}"
            if item.reason.startswith("OBSOLETES("):
                new = item.reason.removeprefix("OBSOLETES(").removesuffix(")")
                head = f"{instance} still has {item.name}, which {new} {item.required} replaces, because {approval}"
            parts = [
                f"{head}; installed is {item.installed}",
                *_also(item, by_advisory),
                *_source(item),
                *_obstacles(item),
            ]
            parts += [*_since("Missing", item), _last_attempt(item)]
        case PatchStatus.PENDING_REBOOT if not running:
            parts = [
                (
                    f"{instance} has {item.name} {item.installed}, which by the clock was installed after the last start, so that older"
                    f" code may still run; {item.required} or newer is required because"
                    f" {_approval(item, baseline, decisive_cves, by_advisory)}"
                ),
                *_source(item),
                "Restart the instance to be sure",
                *_since("Pending", item),
            ]
        case PatchStatus.PENDING_REBOOT:
            parts = [
                (
                    f"{instance} has {item.name} {item.installed} installed but still runs {running}, and"
                    f" {item.required} is required because {_approval(item, baseline, decisive_cves, by_advisory)}"
                ),
                *_also(item, by_advisory),
                *_source(item),
                "Restart the instance to make it effective",
                *_since("Pending", item),
            ]
        case PatchStatus.INSTALLED:
            parts = [
                (
                    f"{instance} has {item.name} {item.installed}; {item.required} or newer is required because"
                    f" {_approval(item, baseline, decisive_cves, by_advisory)}"
                ),
                *_source(item),
            ]
        case PatchStatus.REJECT:
            parts = [
                f'{instance} has {item.name} {item.installed}, which must not be installed: {baseline} says "{item.clause}"',
                *_since("Rejected", item),
            ]
        case _:
            return ""
    return ". ".join(parts) + "."


def excepted_why(excuse: Excuse, otherwise: str) -> str:
    """Say what excuses an item, by whom and until when, and what it would be without."""
    named = f"exception{'s' if len(excuse.ids) > 1 else ''} {', '.join(excuse.ids)}"
    told = f" of {excuse.approver}" if excuse.approver else ""
    because = f" ({excuse.because})" if excuse.because else ""
    return f"Excused by {named}{told} until {_time(excuse.until)}{because}. Without: {otherwise}"


def _approval(item: Item, baseline: str, cves: Sequence[str], by_advisory: bool) -> str:
    if item.clause.startswith(REQUIRED):
        return f'{baseline} asks for it ("{item.clause.removeprefix(REQUIRED)}")'
    if not item.rule:
        by = f'was approved by hand in {baseline} ("{item.clause.removeprefix(BY_HAND)}")'
    else:
        by = f'was approved on {item.approved_on} by rule {item.rule} of {baseline} ("{item.clause}")'
    if not by_advisory or not item.advisories:
        built = f" of {item.basis_date}" if item.date_basis is DateBasis.BUILD_TIME else ""
        return f"this build{built}, which no advisory mentions, {by}"
    facts = [item.category.value] if item.category is not Category.UNSPECIFIED else []
    facts += [item.severity.value] if item.severity is not Severity.NONE else []
    if item.date_basis is not None:
        facts.append(f"{item.date_basis.value.replace('_', ' ')} {item.basis_date}")
    facts += _listed(cves)
    return f"advisory {item.advisories[0]} ({', '.join(facts)}) {by}"


def _also(item: Item, by_advisory: bool) -> list[str]:
    """Name what else the update brings: the advisories of the versions between."""
    others = item.advisories[1:] if by_advisory else item.advisories
    return [f"It also brings {', '.join(_listed(others))}"] if others else []


def _source(item: Item) -> list[str]:
    if not item.repository:
        return []
    made = f", metadata of {_time(item.metadata_at)}" if item.metadata_at is not None else ""
    return [f"Repository {item.repository}{made}"]


def _obstacles(item: Item) -> list[str]:
    found = list[str]()
    if item.reason == "VERSION_GONE":
        found.append("No repository offers that version any more, and no newer one is approved yet")
    if item.hold:
        found.append(f"Held back on the host by {item.hold}")
    return found


def _since(word: str, item: Item) -> list[str]:
    return [f"{word} since {_day(item.first_non_compliant_at)}"] if item.first_non_compliant_at is not None else []


def _last_attempt(item: Item) -> str:
    if item.last_attempt_at is None:
        return "Last attempt: none"
    ended = f" ({item.last_error_class})" if item.last_error_class else ""
    return f"Last attempt: {_time(item.last_attempt_at)}{ended}"


@lru_cache(maxsize=1024)
def _time(at: datetime | None) -> str:
    """Remembered, as `_day` is: the hundreds of items of one page have the same few."""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at is not None else ""


@lru_cache(maxsize=1024)
def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


def _listed(words: Sequence[str]) -> list[str]:
    """At most a handful, then how many more."""
    if len(words) <= _MAX_LISTED + 1:
        return list(words)
    return [*words[:_MAX_LISTED], f"and {len(words) - _MAX_LISTED} more"]
