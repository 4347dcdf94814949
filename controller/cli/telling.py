"""Options that say whom to tell of a ticket: for every command that makes one, now or on a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.command import Misuse

if TYPE_CHECKING:
    from common.pb.v1 import notification_pb2 as pb

_WHOM: Final = "Whom to tell"
_SHIFT: Final = "shift:"


class TicketEvent(StrEnum):
    """Of what somebody is told."""

    START_EXECUTION = "START_EXECUTION"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    EXECUTION_SUCCEEDED = "EXECUTION_SUCCEEDED"


class By(StrEnum):
    """How somebody is told."""

    DEFAULT = "DEFAULT"
    SMS = "SMS"
    WECOM = "WECOM"
    DINGTALK = "DINGTALK"
    LARK = "LARK"
    EMAIL = "EMAIL"
    WEBHOOK = "WEBHOOK"


@dataclass(frozen=True, slots=True)
class Telling:
    """Whom to tell of what, and how."""

    notify: Annotated[
        str,
        typer.Option(
            metavar="EVENT,...",
            help="Of which events: START_EXECUTION, EXECUTION_FAILED, EXECUTION_SUCCEEDED, or all.",
            rich_help_panel=_WHOM,
        ),
    ] = ""
    notify_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHOM",
            help="A contact, or shift:SCENARIO/ROLE for whoever is on duty at the event; repeat it.",
            rich_help_panel=_WHOM,
        ),
    ] = None
    notify_by: Annotated[
        By,
        typer.Option(case_sensitive=False, help="How; DEFAULT is each one's own choice.", rich_help_panel=_WHOM),
    ] = By.DEFAULT

    def policy(self) -> pb.NotificationPolicy | None:
        """Return what the API takes, None when nobody is to be told; raise Misuse for what cannot be sent."""
        from common.pb.v1 import notification_pb2 as pb

        people, shift = list[str](), None
        for whom in self.notify_to or ():
            if not whom.startswith(_SHIFT):
                people += [name.strip() for name in whom.split(",") if name.strip()]
            elif shift is not None:
                raise Misuse("--notify-to: only one shift can be told")
            else:
                shift = shift_key("--notify-to", whom.removeprefix(_SHIFT))
        events = [pb.NotificationEvent.Value(f"NOTIFICATION_EVENT_{event}") for event in self._events()]
        if not events and not people and shift is None:
            if self.notify_by is not By.DEFAULT:
                raise Misuse("--notify-by: needs --notify and --notify-to")
            return None
        if not events or not (people or shift is not None):
            raise Misuse("--notify and --notify-to go together: of what, and whom")
        return pb.NotificationPolicy(events=events, people=people, shift=shift, channel=channel(self.notify_by))

    def _events(self) -> list[str]:
        words = [word.strip().upper().replace("-", "_") for word in self.notify.split(",") if word.strip()]
        if "ALL" in words:
            return list(TicketEvent)
        for word in words:
            if word not in list(TicketEvent):
                raise Misuse(
                    f"--notify: {word[:40]!a} is no event of a ticket; choose of {', '.join(TicketEvent)}, or all"
                )
        return words


def channel(by: By) -> pb.Channel.ValueType:
    """Return a channel as the API takes it."""
    from common.pb.v1 import notification_pb2 as pb

    return pb.Channel.Value(f"CHANNEL_{by}")


def shift_key(option: str, text: str) -> pb.ShiftKey:
    """Read SCENARIO/ROLE; raise Misuse."""
    from common.pb.v1 import notification_pb2 as pb

    scenario, slash, role = text.partition("/")
    if not slash or not scenario or not role:
        raise Misuse(f"{option}: {text!r} is not a shift, write it like patching/primary")
    return pb.ShiftKey(scenario=scenario, role=role)
