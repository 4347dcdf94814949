"""The calls about notifications: contacts, shifts, and what became of messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from common.pb.v1 import notification_pb2, notification_pb2_grpc
from controller.client.line import Line


class NotificationCalls:
    """NotificationService."""

    def __init__(self, line: Line) -> None:
        """Use this connection."""
        self._notification_line = line
        self._notifications = notification_pb2_grpc.NotificationServiceStub(line.channel)

    def create_contact(self, contact: notification_pb2.Contact) -> notification_pb2.Contact:
        """Make a contact. Return it as stored."""
        request = notification_pb2.CreateContactRequest(contact=contact)
        return self._notification_line.ask(self._notifications.CreateContact, request).contact

    def get_contact(self, name: str) -> notification_pb2.Contact:
        """Return one contact."""
        request = notification_pb2.GetContactRequest(name=name)
        return self._notification_line.ask(self._notifications.GetContact, request).contact

    def list_contacts(self, *, page_size: int = 0) -> Iterator[notification_pb2.Contact]:
        """Yield the contacts, by name."""
        request = notification_pb2.ListContactsRequest(page_size=page_size)
        return self._notification_line.rows(self._notifications.ListContacts, request, lambda page: page.contacts)

    def update_contact(self, contact: notification_pb2.Contact) -> notification_pb2.Contact:
        """Write a contact as it is from now on. Return it as stored."""
        request = notification_pb2.UpdateContactRequest(contact=contact)
        return self._notification_line.ask(self._notifications.UpdateContact, request).contact

    def delete_contact(self, name: str) -> None:
        """Delete a contact that takes turns in no shift."""
        request = notification_pb2.DeleteContactRequest(name=name)
        self._notification_line.ask(self._notifications.DeleteContact, request)

    def create_shift(self, shift: notification_pb2.Shift) -> notification_pb2.Shift:
        """Make a shift. Return it as stored."""
        request = notification_pb2.CreateShiftRequest(shift=shift)
        return self._notification_line.ask(self._notifications.CreateShift, request).shift

    def get_shift(self, scenario: str, role: str) -> notification_pb2.Shift:
        """Return one shift."""
        request = notification_pb2.GetShiftRequest(key=_key(scenario, role))
        return self._notification_line.ask(self._notifications.GetShift, request).shift

    def list_shifts(self, *, page_size: int = 0) -> Iterator[notification_pb2.Shift]:
        """Yield the shifts, by scenario, then role."""
        request = notification_pb2.ListShiftsRequest(page_size=page_size)
        return self._notification_line.rows(self._notifications.ListShifts, request, lambda page: page.shifts)

    def update_shift(self, shift: notification_pb2.Shift) -> notification_pb2.Shift:
        """Write time zone, rotations and note of a shift as they are from now on. Return it as stored."""
        request = notification_pb2.UpdateShiftRequest(shift=shift)
        return self._notification_line.ask(self._notifications.UpdateShift, request).shift

    def delete_shift(self, scenario: str, role: str) -> None:
        """Delete a shift."""
        request = notification_pb2.DeleteShiftRequest(key=_key(scenario, role))
        self._notification_line.ask(self._notifications.DeleteShift, request)

    def add_override(
        self,
        scenario: str,
        role: str,
        people: Sequence[str],
        *,
        begins_at: datetime,
        ends_at: datetime,
        reason: str = "",
    ) -> notification_pb2.AddOverrideResponse:
        """Put these people on duty for a while. Return the shift and the override's id."""
        begins, ends = Timestamp(), Timestamp()
        begins.FromDatetime(begins_at)
        ends.FromDatetime(ends_at)
        override = notification_pb2.Override(people=people, begins_at=begins, ends_at=ends, reason=reason)
        request = notification_pb2.AddOverrideRequest(key=_key(scenario, role), override=override)
        return self._notification_line.ask(self._notifications.AddOverride, request)

    def remove_override(self, scenario: str, role: str, override_id: str) -> notification_pb2.Shift:
        """Take an override back. Return the shift as it is now."""
        request = notification_pb2.RemoveOverrideRequest(key=_key(scenario, role), override_id=override_id)
        return self._notification_line.ask(self._notifications.RemoveOverride, request).shift

    def get_on_duty(self, scenario: str, role: str, at: datetime | None = None) -> notification_pb2.GetOnDutyResponse:
        """Say who is on duty in a shift at an instant, now if not said."""
        request = notification_pb2.GetOnDutyRequest(key=_key(scenario, role))
        if at is not None:
            request.at.FromDatetime(at)
        return self._notification_line.ask(self._notifications.GetOnDuty, request)

    def list_notifications(
        self, *, states: Sequence[notification_pb2.NotificationState.ValueType] = (), page_size: int = 0
    ) -> Iterator[notification_pb2.Notification]:
        """Yield messages, the newest event first; only in these states, if any are named."""
        request = notification_pb2.ListNotificationsRequest(states=states, page_size=page_size)
        return self._notification_line.rows(
            self._notifications.ListNotifications, request, lambda page: page.notifications
        )

    def get_notification(self, notification_id: str) -> notification_pb2.Notification:
        """Return one message, with its text."""
        request = notification_pb2.GetNotificationRequest(id=notification_id)
        return self._notification_line.ask(self._notifications.GetNotification, request).notification

    def test_notification(
        self,
        contact: str,
        channel: notification_pb2.Channel.ValueType = notification_pb2.CHANNEL_UNSPECIFIED,
    ) -> str:
        """Send a test to a contact. Return the message's id: `get_notification` says how it went, once it was routed."""
        request = notification_pb2.TestNotificationRequest(contact=contact, channel=channel)
        return self._notification_line.ask(self._notifications.TestNotification, request).notification_id

    def retry_notification(self, notification_id: str) -> None:
        """Let a message that was given up be tried again."""
        request = notification_pb2.RetryNotificationRequest(id=notification_id)
        self._notification_line.ask(self._notifications.RetryNotification, request)

    def list_channels(self) -> notification_pb2.ListChannelsResponse:
        """Return the channels that are set up, and what is wrong with their file since it changed."""
        request = notification_pb2.ListChannelsRequest()
        return self._notification_line.ask(self._notifications.ListChannels, request)


def _key(scenario: str, role: str) -> notification_pb2.ShiftKey:
    return notification_pb2.ShiftKey(scenario=scenario, role=role)
