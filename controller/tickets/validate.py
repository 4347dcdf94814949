"""What a ticket's specification may say. Everything that is wrong is named at once, by its field in the API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Final

from common.errors import InvalidArgument, Violation
from controller.fleet.groups import wrong_with
from controller.fleet.model import Selector
from controller.fleet.selection import read_network
from controller.notify.validate import check_policy
from controller.schedules.validate import wrong_with_windows
from controller.tickets.model import TicketSpec
from controller.tickets.policies import BatchPolicy, BatchPolicyKind, Canary

MAX_NAME: Final = 100
MAX_REASON: Final = 200
MAX_REQUEST_ID: Final = 64
MAX_ACCOUNTS: Final = 20
"""In one ticket."""
MAX_VALUES: Final = 10_000
MAX_VALUE: Final = 256
MAX_MANUAL: Final = 100_000
MAX_IN_FLIGHT: Final = 10_000
MAX_BATCH_SIZE: Final = 1000
MAX_RAMP: Final = 10
SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(hours=24)
LONGEST_TICKET: Final = timedelta(days=30)
"""A whole ticket, and waiting for agents that are away."""
_SAID: Final = {LONGEST: "24 h", LONGEST_TICKET: "30 d"}
MAX_CANARY: Final = 10_000
OLDEST: Final = timedelta(days=3653)
"""How old a report may be asked for."""
_EACH_FIELD: Final = (
    5  # violations of one list: they travel in a response header, which has room for a few thousand bytes
)


def check_spec(spec: TicketSpec) -> None:
    """Raise InvalidArgument with everything that is wrong; of one list's values the first few."""
    wrong = [
        *_text("name", spec.name, MAX_NAME),
        *_selector(spec.selector),
        *_execution_accounts(spec),
        *_text("baseline", spec.baseline, MAX_VALUE),
        *_duration("timeout", spec.timeout),
        *_batch_policy(spec.batch_policy),
        *_number("max_in_flight", spec.max_in_flight, 1, MAX_IN_FLIGHT),
        *_success_rate(spec.suspension_policy.success_rate_tenths),
        *_duration("unreachable_after", spec.unreachable_after),
        *_duration("ticket_timeout", spec.ticket_timeout, LONGEST_TICKET, zero=True),
        *_offline(spec),
        *wrong_with_windows(spec.maintenance_windows),
        *check_policy(spec.notification),
    ]
    if wrong:
        raise InvalidArgument(tuple(wrong))


def check_reason(reason: str) -> None:
    """Raise InvalidArgument when the reason of a pause or an end is too long or not printable."""
    if wrong := tuple(_text("reason", reason, MAX_REASON)):
        raise InvalidArgument(wrong)


def check_request_id(request_id: str) -> None:
    """Raise InvalidArgument when an idempotency key is too long or not printable. Empty means none."""
    if wrong := tuple(_text("request_id", request_id, MAX_REQUEST_ID)):
        raise InvalidArgument(wrong)


def check_selector(selector: Selector) -> None:
    """Raise InvalidArgument when a selector is too large, has values that cannot be meant, or selects nothing."""
    if wrong := tuple(_selector(selector)):
        raise InvalidArgument(wrong)


def _success_rate(tenths: int) -> Iterator[Violation]:
    if not 0 <= tenths <= 1000:
        whole, tenth = divmod(abs(tenths), 10)
        said = ("-" if tenths < 0 else "") + (f"{whole}.{tenth}" if tenth else f"{whole}")
        yield Violation("success_rate", f"{said} is out of range, allowed 0.0 to 100.0 with one decimal")


def _number(field: str, value: int, least: int, most: int) -> Iterator[Violation]:
    if not least <= value <= most:
        yield Violation(field, f"{value} is out of range, allowed {least} to {most}")


def _duration(field: str, value: timedelta, longest: timedelta = LONGEST, *, zero: bool = False) -> Iterator[Violation]:
    if not SHORTEST <= value <= longest and not (zero and not value):
        allowed = f"1 s to {_SAID[longest]}" + (", or 0 for none" if zero else "")
        yield Violation(field, f"{value.total_seconds():.15g} s is out of range, allowed {allowed}")


def _offline(spec: TicketSpec) -> Iterator[Violation]:
    yield from _duration("offline.wait", spec.offline.wait, LONGEST_TICKET, zero=True)
    if spec.offline.until is not None and spec.offline.wait:
        yield Violation("offline", "wait and until are given both; say how long, or until when")


def _text(field: str, value: str, most: int, least: int = 0) -> Iterator[Violation]:
    if len(value) > most:
        yield Violation(field, f"has {len(value)} characters, allowed are {most}")
    elif len(value) < least:
        yield Violation(field, f"is empty, allowed are {least} to {most} characters")
    elif not value.isprintable():
        yield Violation(field, f"{value[:80]!a} has characters that cannot be printed")


def _values(field: str, values: Sequence[str], most: int = MAX_VALUES) -> Iterator[Violation]:
    if len(values) > most:
        yield Violation(field, f"has {len(values)} values, allowed are {most}")
        return
    each = (_text(f"{field}[{n}]", value, MAX_VALUE, 1) for n, value in enumerate(values))
    yield from _first(violation for violations in each for violation in violations)


def _selector(selector: Selector) -> Iterator[Violation]:
    if not selector.instances and not selector.all:
        yield Violation("selector", "nothing is selected; name instances or set all")
    for field, values in (
        ("instances", selector.instances),
        ("enterprise_projects", selector.enterprise_projects),
        ("regions", selector.regions),
        ("zones", selector.zones),
        ("resource_types", selector.resource_types),
        ("application_groups", selector.application_groups),
        ("names", selector.names),
        ("tags", selector.tags),
        ("operating_systems", selector.operating_systems),
        ("clusters", selector.clusters),
        ("accounts", selector.accounts),
        ("addresses", selector.addresses),
    ):
        yield from _values(f"selector.{field}", values)
    yield from _first(
        Violation(f"selector.tags[{n}]", f"{tag[:80]!r} has no key; write key=value or key")
        for n, tag in enumerate(selector.tags)
        if tag.startswith("=")
    )
    yield from _first(
        Violation(
            f"selector.addresses[{n}]",
            f"{text[:80]!r} is neither an address nor a network; write 10.0.3.7 or 10.0.0.0/16",
        )
        for n, text in enumerate(selector.addresses)
        if text and read_network(text) is None
    )
    yield from _first(
        Violation(f"selector.application_groups[{n}]", wrong)
        for n, group in enumerate(selector.application_groups)
        if (wrong := wrong_with(group)) is not None
    )
    for field, age in (
        ("report_older_than", selector.report_older_than),
        ("report_newer_than", selector.report_newer_than),
    ):
        if age is not None and not SHORTEST <= age <= OLDEST:
            yield Violation(f"selector.{field}", f"{age} is out of range, allowed 1 second to 10 years")


def _execution_accounts(spec: TicketSpec) -> Iterator[Violation]:
    field, accounts = "execution_accounts", [e.account for e in spec.execution_accounts]
    if len(accounts) > MAX_ACCOUNTS:
        yield Violation(field, f"has {len(accounts)} values, allowed are {MAX_ACCOUNTS}")
        return
    for n, named in enumerate(spec.execution_accounts):
        yield from _text(f"{field}[{n}].account", named.account, MAX_VALUE, 1)
        yield from _text(f"{field}[{n}].agency", named.agency, MAX_VALUE)
        if named.account in accounts[:n]:
            yield Violation(f"{field}[{n}].account", f"{named.account[:80]} is named twice")
    if spec.go_on_without_agency and not accounts:
        yield Violation("go_on_without_agency", "needs execution_accounts; without them no agency is asked for")


def _batch_policy(policy: BatchPolicy) -> Iterator[Violation]:
    field = "batch_policy.batches"
    if policy.kind is not BatchPolicyKind.MANUAL_BATCH:
        if policy.manual:
            yield Violation(field, f"{policy.kind} takes no lists of instances; choose MANUAL_BATCH or leave them out")
    elif not policy.manual:
        yield Violation(field, "MANUAL_BATCH needs the batches; give at least one list of instances")
    elif len(policy.manual) > MAX_VALUES or sum(map(len, policy.manual)) > MAX_MANUAL:
        yield Violation(field, f"is too long, allowed are {MAX_VALUES} batches and {MAX_MANUAL} instances in all")
    else:
        lists = (_values(f"{field}[{n}].instances", names, MAX_MANUAL) for n, names in enumerate(policy.manual))
        yield from _first(violation for violations in lists for violation in violations)
    yield from _number("batch_policy.batch_size", policy.batch_size, 1, MAX_BATCH_SIZE)
    yield from _number("batch_policy.group_share_percent", policy.group_share_percent, 1, 100)
    if len(policy.ramp) > MAX_RAMP:
        yield Violation("batch_policy.ramp", f"has {len(policy.ramp)} steps, allowed are {MAX_RAMP}")
    else:
        for n, most in enumerate(policy.ramp):
            yield from _number(f"batch_policy.ramp[{n}]", most, 1, MAX_BATCH_SIZE)

    yield from _duration("batch_policy.soak", policy.soak, zero=True)
    if policy.canary is not None:
        yield from _canary(policy.kind, policy.canary)


def _canary(kind: BatchPolicyKind, canary: Canary) -> Iterator[Violation]:
    field, sizes = "batch_policy.canary", (canary.instances, canary.percent)
    if kind is BatchPolicyKind.MANUAL_BATCH:
        if any(sizes):
            yield Violation(field, "the first batch of MANUAL_BATCH is the canary; leave its size out")
        return
    if all(sizes):
        yield Violation(field, "instances and percent are given both; give one of them")
    elif not any(sizes):
        yield Violation(field, "has no size; give instances or percent")
    yield from _number(f"{field}.instances", canary.instances, 0, MAX_CANARY)
    yield from _number(f"{field}.percent", canary.percent, 0, 100)


def _first(violations: Iterable[Violation]) -> Iterator[Violation]:
    yield from islice(violations, _EACH_FIELD)
