"""Two reports of one instance: which input changed, and what differs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controller.report import text
from controller.report.seal import canonical_line

_ANSWER: Final = ("status", "level", "reasons", "counts", "baseline_name", "baseline_source")
_SHOWN_ITEMS: Final = 3
_SHOWN_DIGITS: Final = 12


def differences(kept: text.Document, again: text.Document) -> tuple[str, ...]:
    """Say what differs, the inputs first; empty when the inputs and the answer are the same, byte for byte.

    Names, places and tickets are no part of an answer: an instance may be renamed.
    """
    return (*_inputs(kept, again), *_answer(kept, again), *_items(kept["items"], again["items"]))


def is_whole(report: text.Document) -> bool:
    """Tell whether a report lists compliant packages too: then it is compared with one that does."""
    return any(item["status"] in ("INSTALLED", "INSTALLED_OTHER") for item in report["items"])


def _inputs(kept: text.Document, again: text.Document) -> Iterator[str]:
    for (name, before), (_, now) in zip(text.inputs(kept), text.inputs(again), strict=True):
        if before != now:
            yield f"input {name} was {_short(before)}, is {_short(now)}"


def _answer(kept: text.Document, again: text.Document) -> Iterator[str]:
    for name in _ANSWER:
        before, now = kept[name], again[name]
        if canonical_line({"": before}) == canonical_line({"": now}):
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
            yield f"{name}: " + ", ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
        elif isinstance(before, list) and isinstance(now, list):
            yield f"{name} were {_reasons(before)}, are {_reasons(now)}"
        else:
            yield f"{name} was {before}, is {now}"


def _items(kept: list[Any], again: list[Any]) -> Iterator[str]:
    before, now = list(map(canonical_line, kept)), list(map(canonical_line, again))
    if before == now:
        return
    by_key = {_key(item): item for item in again}
    said = list[str]()
    for item in kept:
        other = by_key.pop(_key(item), None)
        if other is None:
            said.append(f"{_key(item)} {item['status']} is not there any more")
        elif item["status"] != other["status"]:
            said.append(f"{_key(item)} was {item['status']}, is {other['status']}")
        elif canonical_line(item) != canonical_line(other):
            fields = [name for name in sorted({*item, *other}) if item.get(name) != other.get(name)]
            said.append(f"{_key(item)} {item['status']} has another {', '.join(fields)}")
    said += [f"{key} {item['status']} is new" for key, item in by_key.items()]
    if not said:
        said.append("the packages stand in another order")
    yield from said[:_SHOWN_ITEMS]
    if len(said) > _SHOWN_ITEMS:
        yield f"and {text.plural(len(said) - _SHOWN_ITEMS, 'package')} more"


def _key(item: text.Document) -> str:
    return f"{item['name']}.{item['arch']}" if item["arch"] else str(item["name"])


def _reasons(found: list[Any]) -> str:
    return " ".join(str(reason["reason"]) for reason in found) or "none"


def _short(value: str) -> str:
    is_digest = len(value) == 64 and " " not in value
    return f"{value[:_SHOWN_DIGITS]}…" if is_digest else value
