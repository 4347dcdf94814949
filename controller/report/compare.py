"""Two reports of one instance: which input changed, and what differs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from controller.report import text
from controller.report.seal import canonical_line

_ANSWER: Final = ("status", "level", "reasons", "counts", "baseline_name", "baseline_source")
_REMEMBERED: Final = ("first_non_compliant_at", "last_attempt_at", "last_error_class")
"""What is no function of the inputs: the controller forgets it when the package is mended."""
_BESIDES: Final = (
    *("instance_name", "enterprise_project", "region", "application_group"),
    *("operating_system", "collected_at", "ticket_id"),
)
_SHOWN_ITEMS: Final = 3
_SHOWN_DIGITS: Final = 12


def differences(kept: text.Document, again: text.Document) -> tuple[str, ...]:
    """Say what differs, the inputs first; empty when the inputs and the answer are the same, byte for byte.

    Names, places and tickets are no part of an answer: an instance may be renamed. Since when a package has been missing is compared as
    long as it is remembered.
    """
    return (*_inputs(kept, again), *_answer(kept, again), *_items(kept["items"], again["items"]))


def besides(kept: text.Document, again: text.Document) -> tuple[str, ...]:
    """Say what is told beside the answer and is otherwise now: what no computation proves, for nobody keeps what an instance was called."""
    return tuple(
        f"{name} is {_told(kept.get(name))} in the file, {_told(again.get(name))} now"
        for name in _BESIDES
        if canonical_line({"": kept.get(name)}) != canonical_line({"": again.get(name)})
    )


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
    others = _keyed(again)
    said, same = list[str](), list[Any]()
    for key, item in _keyed(kept).items():
        other = others.pop(key, None)
        if other is None:
            said.append(f"{_key(item)} {item['status']} is not there any more")
        elif item["status"] != other["status"]:
            said.append(f"{_key(item)} was {item['status']}, is {other['status']}")
        elif fields := _fields(item, other):
            said.append(f"{_key(item)} {item['status']} has another {', '.join(fields)}")
        else:
            same.append(other)
    said += [f"{_key(item)} {item['status']} is new" for item in others.values()]
    if not said and same != again:
        said.append("the packages stand in another order")
    yield from said[:_SHOWN_ITEMS]
    if len(said) > _SHOWN_ITEMS:
        yield f"and {text.plural(len(said) - _SHOWN_ITEMS, 'package')} more"


def _fields(item: text.Document, other: text.Document) -> list[str]:
    """Name the fields that differ. Where something is remembered no more, the sentence that told it cannot be the same either."""
    forgotten = [name for name in _REMEMBERED if item.get(name) and not other.get(name)]
    passed = {*forgotten, "why"} if forgotten else set[str]()
    return [
        name
        for name in sorted({*item, *other} - passed)
        if canonical_line({name: item.get(name)}) != canonical_line({name: other.get(name)})
    ]


def _keyed(items: list[Any]) -> dict[tuple[str, int], text.Document]:
    """Return the items by package; of several of one package the first, the second, and so on."""
    seen = Counter[str]()
    found = dict[tuple[str, int], text.Document]()
    for item in items:
        key = _key(item)
        found[key, seen[key]] = item
        seen[key] += 1
    return found


def _key(item: text.Document) -> str:
    return f"{item['name']}.{item['arch']}" if item["arch"] else str(item["name"])


def _reasons(found: list[Any]) -> str:
    return " ".join(str(reason["reason"]) for reason in found) or "none"


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("pretty_name") or value.get("product") or "nothing")
    return str(value) if value else "nothing"


def _short(value: str) -> str:
    is_digest = len(value) == 64 and " " not in value
    return f"{value[:_SHOWN_DIGITS]}…" if is_digest else value
