"""Protobuf to records and back: what every service needs. Enumerations by name, times, durations. The rest is in translate_*.py.

Here and in those files, and nowhere else behind the API, messages are taken apart. Nothing is lost without a word: a value that has no
counterpart is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import account_pb2, audit_pb2, baseline_pb2, fleet_pb2, schedule_pb2, ticket_pb2, types_pb2
from controller.accounts.model import AgencyPermission
from controller.api.checks import Checks
from controller.audit.model import AuditKind
from controller.compliance.model import (
    AssignmentScope,
    Category,
    DateBasis,
    ExceptionMatch,
    ExceptionScope,
    InstanceStatus,
    Level,
    PatchStatus,
    Reason,
    RejectAction,
    Severity,
)
from controller.fleet.cmdb import ChangeKind
from controller.fleet.cmdb_file import CmdbFormat
from controller.fleet.model import (
    AgentState,
    Lifecycle,
    NotSelectableReason,
    QuarantineCause,
    ResourceType,
    Role,
    View,
)
from controller.schedules.local_time import Weekday
from controller.schedules.model import MissedRunPolicy, RiskLevel, RunOutcome, ScheduleKind, SkipReason
from controller.tickets.model import AbnormalCause, BatchState, Outcome, RunState, TicketState
from controller.tickets.policies import BatchPolicyKind, SuspensionMode
from controller.tickets.waits import WaitsFor

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

E = TypeVar("E", bound=Enum)
V = TypeVar("V", bound=int)

MAX_LIST: Final = 1000
"""Values in one list of a request."""


class Words(Generic[E, V]):
    """One enumeration of ours and its counterpart on the wire: the same names, there with a prefix.

    `zero` is what the wire's 0 stands for, if we have a word for it; else 0 is None. `unsaid` are words that never travel this way.
    """

    def __init__(
        self,
        kind: type[E],
        wire: _EnumTypeWrapper[V],
        prefix: str,
        *,
        zero: E | None = None,
        unsaid: frozenset[E] = frozenset(),
    ) -> None:
        """Pair the names; a name without its counterpart is a KeyError or ValueError at import."""
        self.kind, self.wire, self.unsaid = kind, wire, unsaid
        self._zero: V = wire.Value(f"{prefix}_UNSPECIFIED")
        self._to_wire = {e: wire.Value(f"{prefix}_{e.name}") for e in kind if e not in unsaid and e is not zero}
        self._from_wire: dict[int, E | None] = {int(v): e for e, v in self._to_wire.items()}
        self._from_wire[int(self._zero)] = zero
        if zero is not None:
            self._to_wire[zero] = self._zero
        if unpaired := set(wire.values()) - set(self._from_wire):
            raise ValueError(f"{kind.__name__} has no word for {unpaired}")
        self._prefix = prefix

    def to_wire(self, value: E | None) -> V:
        """Return the wire's value."""
        return self._zero if value is None else self._to_wire[value]

    def from_wire(self, number: int) -> E | None:
        """Return our word, None for 0 if 0 is no word; raise ValueError that says what is allowed."""
        try:
            return self._from_wire[number]
        except KeyError:
            raise ValueError(f"{number} is unknown, allowed are {', '.join(self._names())}") from None

    def _names(self) -> Iterable[str]:
        return (e.name for e in self._to_wire)

    def read(self, checks: Checks, field: str, number: int, default: E) -> E:
        """Read a field; 0 and wrong values give the default, wrong ones are noted too."""
        try:
            return self.from_wire(number) or default
        except ValueError as error:
            checks.refuse(field, str(error))
            return default

    def read_optional(self, checks: Checks, field: str, number: int) -> E | None:
        """Read a field that may be unspecified."""
        try:
            return self.from_wire(number)
        except ValueError as error:
            checks.refuse(field, str(error))
            return None

    def read_all(self, checks: Checks, field: str, numbers: Iterable[int], *, zero: bool = False) -> tuple[E, ...]:
        """Read a list without its duplicates; an unspecified value in it is wrong, unless `zero` and it is one of our words."""
        found = dict[E, None]()
        for index, number in enumerate(numbers):
            if index >= MAX_LIST:
                checks.refuse(field, f"has more than {MAX_LIST} values")
                break
            try:
                word = self.from_wire(number)
            except ValueError as error:
                checks.refuse(f"{field}[{index}]", str(error))
                continue
            if word is None or (number == int(self._zero) and not zero):
                checks.refuse(f"{field}[{index}]", f"is unspecified, allowed are {', '.join(self._names())}")
            else:
                found[word] = None
        return tuple(found)


RESOURCE_TYPE: Final = Words(ResourceType, types_pb2.ResourceType, "RESOURCE_TYPE")
AGENT_STATE: Final = Words(AgentState, types_pb2.AgentState, "AGENT_STATE", zero=AgentState.NONE)
NOT_SELECTABLE: Final = Words(NotSelectableReason, types_pb2.NotSelectableReason, "NOT_SELECTABLE_REASON")
LIFECYCLE: Final = Words(Lifecycle, fleet_pb2.Lifecycle, "LIFECYCLE")
QUARANTINE_CAUSE: Final = Words(QuarantineCause, fleet_pb2.QuarantineCause, "QUARANTINE_CAUSE")
VIEW: Final = Words(View, fleet_pb2.View, "VIEW")
WEEKDAY: Final = Words(Weekday, types_pb2.Weekday, "WEEKDAY")
CMDB_FORMAT: Final = Words(CmdbFormat, fleet_pb2.CmdbFormat, "CMDB_FORMAT")
CMDB_CHANGE_KIND: Final = Words(ChangeKind, fleet_pb2.CmdbChangeKind, "CMDB_CHANGE_KIND")
PATCH_STATUS: Final = Words(PatchStatus, types_pb2.PatchStatus, "PATCH_STATUS")
INSTANCE_STATUS: Final = Words(InstanceStatus, types_pb2.InstanceStatus, "INSTANCE_STATUS")
REASON: Final = Words(Reason, types_pb2.UndeterminedReason, "UNDETERMINED_REASON")
LEVEL: Final = Words(Level, types_pb2.ComplianceLevel, "COMPLIANCE_LEVEL", zero=Level.UNSPECIFIED)
CATEGORY: Final = Words(Category, types_pb2.Category, "CATEGORY", zero=Category.UNSPECIFIED)
SEVERITY: Final = Words(Severity, types_pb2.Severity, "SEVERITY")
DATE_BASIS: Final = Words(DateBasis, baseline_pb2.DateBasis, "DATE_BASIS", unsaid=frozenset({DateBasis.BUILD_TIME}))
REJECT_ACTION: Final = Words(RejectAction, baseline_pb2.RejectAction, "REJECT_ACTION")
ASSIGNMENT_SCOPE: Final = Words(
    AssignmentScope,
    baseline_pb2.AssignmentScope,
    "ASSIGNMENT_SCOPE",
    unsaid=frozenset({AssignmentScope.DEFAULT}),
)
EXCEPTION_SCOPE: Final = Words(ExceptionScope, baseline_pb2.ExceptionScope, "EXCEPTION_SCOPE")
EXCEPTION_MATCH: Final = Words(ExceptionMatch, baseline_pb2.ExceptionMatch, "EXCEPTION_MATCH")
AUDIT_KIND: Final = Words(AuditKind, audit_pb2.AuditKind, "AUDIT_KIND")
AGENCY_PERMISSION: Final = Words(AgencyPermission, account_pb2.AgencyPermission, "AGENCY_PERMISSION")
ROLE: Final = Words(Role, account_pb2.Role, "ROLE")
TICKET_STATE: Final = Words(TicketState, ticket_pb2.TicketState, "TICKET_STATE")
ABNORMAL_CAUSE: Final = Words(AbnormalCause, ticket_pb2.AbnormalCause, "ABNORMAL_CAUSE")
TICKET_WAIT: Final = Words(WaitsFor, ticket_pb2.TicketWait, "TICKET_WAIT")
BATCH_STATE: Final = Words(BatchState, ticket_pb2.BatchState, "BATCH_STATE")
RUN_STATE: Final = Words(RunState, ticket_pb2.RunState, "RUN_STATE")
OUTCOME: Final = Words(Outcome, ticket_pb2.RunOutcome, "RUN_OUTCOME")
BATCH_POLICY_KIND: Final = Words(BatchPolicyKind, ticket_pb2.BatchPolicyKind, "BATCH_POLICY_KIND")
SUSPENSION_MODE: Final = Words(SuspensionMode, ticket_pb2.SuspensionMode, "SUSPENSION_MODE")

SCHEDULE_KIND: Final = Words(ScheduleKind, schedule_pb2.ScheduleKind, "SCHEDULE_KIND")
MISSED_RUN_POLICY: Final = Words(MissedRunPolicy, schedule_pb2.MissedRunPolicy, "MISSED_RUN_POLICY")
RISK_LEVEL: Final = Words(RiskLevel, schedule_pb2.RiskLevel, "RISK_LEVEL")
SCHEDULE_RUN_OUTCOME: Final = Words(RunOutcome, schedule_pb2.ScheduleRunOutcome, "SCHEDULE_RUN_OUTCOME")
SCHEDULE_SKIP_REASON: Final = Words(SkipReason, schedule_pb2.ScheduleSkipReason, "SCHEDULE_SKIP_REASON")


def timestamp(at: datetime | None) -> Timestamp | None:
    """Return an instant for the wire; None stays absent."""
    if at is None:
        return None
    made = Timestamp()
    made.FromDatetime(at.astimezone(UTC))
    return made


def read_instant(checks: Checks, field: str, sent: Timestamp | None) -> datetime | None:
    """Read an instant; absent gives None, one that cannot be is noted."""
    if sent is None:
        return None
    try:
        return sent.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        checks.refuse(field, "is no time")
        return None


def duration(length: timedelta) -> Duration:
    """Return a length of time for the wire."""
    made = Duration()
    made.FromTimedelta(length)
    return made


def read_length(checks: Checks, field: str, sent: Duration | None) -> timedelta | None:
    """Read a length of time of which another place checks how long it may be; absent gives None, one beyond all limits is noted."""
    if sent is None:
        return None
    if abs(sent.seconds) > 366_000 * 86400 or abs(sent.nanos) > 999_999_999:
        checks.refuse(field, "is out of range")
        return None
    return timedelta(seconds=sent.seconds, microseconds=sent.nanos // 1000)


def read_duration(
    checks: Checks, field: str, sent: Duration | None, default: timedelta, least: timedelta, most: timedelta
) -> timedelta:
    """Read a length of time; absent gives the default, a wrong one is noted."""
    if sent is None:
        return default
    if abs(sent.seconds) > 366 * 86400 or abs(sent.nanos) > 999_999_999:
        checks.refuse(field, f"is out of range, allowed {least} to {most}")
        return default
    length = timedelta(seconds=sent.seconds, microseconds=sent.nanos // 1000)
    if not least <= length <= most:
        checks.refuse(field, f"{length} is out of range, allowed {least} to {most}")
        return default
    return length
