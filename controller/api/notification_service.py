"""NotificationService: contacts, shifts, and what became of messages. notify/ decides, dispatch/notifier sends."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from common.clock import Clock
from common.errors import Conflict, InvalidArgument, NotFound, Rejected
from common.ids import Ids
from common.pb.v1 import notification_pb2 as pb
from common.pb.v1 import notification_pb2_grpc
from controller.api import paging
from controller.api import translate_notification as translate
from controller.api.auth import operator
from controller.api.bound import BoundOutbox, whole_account
from controller.api.checks import Checks
from controller.api.interception import Context
from controller.api.translate import timestamp
from controller.channels.file import ChannelsFile
from controller.fleet.model import Role
from controller.hub.api import Hub
from controller.notify import retry, validate
from controller.notify.model import (
    Channel,
    Contact,
    Message,
    MessageState,
    Notice,
    NotificationEvent,
    Recipients,
    Shift,
    ShiftKey,
)
from controller.notify.routing import route
from controller.notify.shift import on_duty
from controller.notify.template import render
from controller.store.api import ContactStore, OutboxStore

log = logging.getLogger(__name__)

_KEEP_OVERRIDES: Final = timedelta(days=30)
"""How long an override that has ended stays: messages about events in its time may still wait."""
_MAX_ID: Final = 400
_ID_LENGTH: Final = 8


class NotificationService(notification_pb2_grpc.NotificationServiceServicer):
    """Serves contacts, shifts and messages."""

    def __init__(
        self,
        contacts: ContactStore,
        outbox: OutboxStore,
        bound: BoundOutbox,
        hub: Hub,
        clock: Clock,
        ids: Ids,
        channels: ChannelsFile,
    ) -> None:
        """Join the parts; messages that are asked for are looked up in `bound`."""
        self._bound = bound
        self._contacts = contacts
        self._outbox = outbox
        self._hub = hub
        self._clock = clock
        self._ids = ids
        self._channels = channels

    async def CreateContact(self, request: pb.CreateContactRequest, context: Context) -> pb.CreateContactResponse:  # noqa: N802
        """Make a contact."""
        whole_account("a contact")
        contact = _read_contact(request.contact)
        try:
            await self._contacts.add_contact(contact)
        except Conflict:
            raise Rejected(
                f"there is a contact {contact.name} already; change it: patchctl contact edit {contact.name}"
            ) from None
        return pb.CreateContactResponse(contact=_contact_message(contact))

    async def GetContact(self, request: pb.GetContactRequest, context: Context) -> pb.GetContactResponse:  # noqa: N802
        """One contact."""
        return pb.GetContactResponse(contact=_contact_message(await self._contact(request.name)))

    async def ListContacts(self, request: pb.ListContactsRequest, context: Context) -> pb.ListContactsResponse:  # noqa: N802
        """List contacts, by name."""
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, (str,))
        found = [c for c in await self._contacts.contacts(_account()) if after is None or c.name > str(after[0])]
        more = len(found) > size
        return pb.ListContactsResponse(
            contacts=[_contact_message(contact) for contact in found[:size]],
            next_page_token=paging.make_token(request, (found[size - 1].name,)) if more else "",
        )

    async def UpdateContact(self, request: pb.UpdateContactRequest, context: Context) -> pb.UpdateContactResponse:  # noqa: N802
        """Write a contact as it is from now on."""
        whole_account("a contact")
        contact = _read_contact(request.contact)
        try:
            await self._contacts.change_contact(_account(), contact.name, lambda _: contact)
        except NotFound:
            raise _no_contact(contact.name) from None
        return pb.UpdateContactResponse(contact=_contact_message(contact))

    async def DeleteContact(self, request: pb.DeleteContactRequest, context: Context) -> pb.DeleteContactResponse:  # noqa: N802
        """Delete a contact that no shift names."""
        whole_account("a contact")
        contact, now = await self._contact(request.name), self._clock.now()
        in_shifts = [str(s.key) for s in await self._contacts.shifts(_account()) if contact.name in _named(s, now)]
        if in_shifts:
            raise Rejected(
                f"{contact.name} takes turns in shift {', '.join(in_shifts[:5])}; take the name out first: patchctl shift edit"
            )
        await self._contacts.delete_contact(_account(), contact.name)
        return pb.DeleteContactResponse()

    async def CreateShift(self, request: pb.CreateShiftRequest, context: Context) -> pb.CreateShiftResponse:  # noqa: N802
        """Make a shift."""
        whole_account("a shift")
        if request.shift.overrides:
            raise InvalidArgument.of("shift.overrides", "must be empty; make the shift, then add overrides")
        shift = await self._read_shift(request.shift)
        try:
            await self._contacts.add_shift(shift)
        except Conflict:
            raise Rejected(
                f"there is a shift {shift.key} already; change it: patchctl shift edit {shift.key}"
            ) from None
        return pb.CreateShiftResponse(shift=translate.shift_message(shift))

    async def GetShift(self, request: pb.GetShiftRequest, context: Context) -> pb.GetShiftResponse:  # noqa: N802
        """One shift."""
        return pb.GetShiftResponse(shift=translate.shift_message(await self._shift(request.key)))

    async def ListShifts(self, request: pb.ListShiftsRequest, context: Context) -> pb.ListShiftsResponse:  # noqa: N802
        """List shifts, by scenario, then role."""
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, (str, str))
        everything = await self._contacts.shifts(_account())
        found = [s for s in everything if after is None or (s.key.scenario, s.key.role) > after]
        last = found[size - 1].key if len(found) > size else None
        return pb.ListShiftsResponse(
            shifts=[translate.shift_message(shift) for shift in found[:size]],
            next_page_token=paging.make_token(request, (last.scenario, last.role)) if last is not None else "",
        )

    async def UpdateShift(self, request: pb.UpdateShiftRequest, context: Context) -> pb.UpdateShiftResponse:  # noqa: N802
        """Write time zone, rotations and note of a shift as they are from now on."""
        whole_account("a shift")
        shift = await self._read_shift(request.shift)
        try:
            changed = await self._contacts.change_shift(
                _account(), shift.key, lambda there: replace(shift, overrides=there.overrides)
            )
        except NotFound:
            raise _no_shift(shift.key) from None
        return pb.UpdateShiftResponse(shift=translate.shift_message(changed))

    async def DeleteShift(self, request: pb.DeleteShiftRequest, context: Context) -> pb.DeleteShiftResponse:  # noqa: N802
        """Delete a shift."""
        whole_account("a shift")
        shift = await self._shift(request.key)
        await self._contacts.delete_shift(_account(), shift.key)
        return pb.DeleteShiftResponse()

    async def AddOverride(self, request: pb.AddOverrideRequest, context: Context) -> pb.AddOverrideResponse:  # noqa: N802
        """Put somebody else on duty for a while."""
        whole_account("a shift")
        shift, names, checks = await self._shift(request.key), await self._names(), Checks()
        override = translate.override(request.override, checks, self._ids.new("O-", _ID_LENGTH))
        with checks.part("override"):
            validate.check_override(override, names)
        checks.done()
        kept_from = self._clock.now() - _KEEP_OVERRIDES

        def add(there: Shift) -> Shift:
            kept = tuple(o for o in there.overrides if o.ends_at > kept_from)
            if len(kept) >= validate.MAX_OVERRIDES:
                raise Rejected(f"shift {there.key} has {len(kept)} overrides, the most there may be; remove some first")
            return replace(there, overrides=(*kept, override))

        changed = await self._contacts.change_shift(_account(), shift.key, add)
        return pb.AddOverrideResponse(shift=translate.shift_message(changed), override_id=override.id)

    async def RemoveOverride(self, request: pb.RemoveOverrideRequest, context: Context) -> pb.RemoveOverrideResponse:  # noqa: N802
        """Take an override back."""
        whole_account("a shift")
        shift = await self._shift(request.key)

        def remove(there: Shift) -> Shift:
            kept = tuple(o for o in there.overrides if o.id != request.override_id)
            if len(kept) == len(there.overrides):
                known = f"see patchctl shift show {there.key}"
                raise NotFound("override", request.override_id[:_MAX_ID], known)
            return replace(there, overrides=kept)

        changed = await self._contacts.change_shift(_account(), shift.key, remove)
        return pb.RemoveOverrideResponse(shift=translate.shift_message(changed))

    async def GetOnDuty(self, request: pb.GetOnDutyRequest, context: Context) -> pb.GetOnDutyResponse:  # noqa: N802
        """Say who is on duty in a shift at an instant."""
        checks = Checks()
        at = translate.instant_or("at", request.at if request.HasField("at") else None, self._clock.now(), checks)
        checks.done()
        shift = await self._shift(request.key)
        duty = on_duty(shift, at)
        contacts = {contact.name: contact for contact in await self._contacts.contacts(_account())}
        return pb.GetOnDutyResponse(
            people=[_contact_message(contacts[name]) for name in duty.people if name in contacts],
            override=translate.override_message(duty.override) if duty.override is not None else None,
            until=timestamp(duty.until),
            at=timestamp(at),
            unknown=[name for name in duty.people if name not in contacts],
            local_time=at.astimezone(ZoneInfo(shift.time_zone)).isoformat(timespec="seconds"),
        )

    async def ListNotifications(  # noqa: N802
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        """List messages, the newest event first."""
        checks = Checks()
        states = translate.STATE.read_all(checks, "states", request.states)
        checks.done()
        size = paging.page_size(request.page_size)
        position = paging.read_token(request, request.page_token, (str, str))
        before = None if position is None else (paging.decode_time(position[0]), str(position[1]))
        found = await self._bound.messages(states, size + 1, before)
        page, more = found[:size], len(found) > size
        return pb.ListNotificationsResponse(
            notifications=[await self._notification(message, whole=False) for message in page],
            next_page_token=paging.make_token(request, (paging.encode_time(page[-1].at), page[-1].id)) if more else "",
        )

    async def GetNotification(self, request: pb.GetNotificationRequest, context: Context) -> pb.GetNotificationResponse:  # noqa: N802
        """One message, with its text."""
        found = await self._message(request.id)
        return pb.GetNotificationResponse(notification=await self._notification(found, whole=True))

    async def TestNotification(  # noqa: N802
        self, request: pb.TestNotificationRequest, context: Context
    ) -> pb.TestNotificationResponse:
        """Put a test for a contact into the outbox."""
        checks = Checks()
        channel = translate.CHANNEL.read(checks, "channel", request.channel, Channel.DEFAULT)
        checks.done()
        contact, now = await self._contact(request.contact, "contact"), self._clock.now()
        notice = Notice(
            id=f"{self._ids.new('N-', _ID_LENGTH)}/{NotificationEvent.TEST}",
            event=NotificationEvent.TEST,
            at=now,
            recipients=Recipients((contact.name,), channel=channel),
            account=_account(),
            asked_by=operator().name,
        )
        (message,) = route(notice, {contact.name: contact}, None, now)
        if message.state is MessageState.GIVEN_UP:
            raise InvalidArgument.of("channel", message.error)
        await self._outbox.put_notice(notice)
        self._hub.publish("outbox")
        return pb.TestNotificationResponse(notification_id=message.id)

    async def RetryNotification(  # noqa: N802
        self, request: pb.RetryNotificationRequest, context: Context
    ) -> pb.RetryNotificationResponse:
        """Let a message that was given up be tried again."""
        found, now = await self._message(request.id), self._clock.now()
        if found.state is not MessageState.GIVEN_UP:
            state = "was sent" if found.state is MessageState.SENT else "waits and will be tried by itself"
            raise Rejected(f"{found.id} {state}: only what was given up can be retried")
        if not found.address:
            await self._outbox.unroute(found.notice_id)
        else:

            def again(there: Message) -> Message:
                return retry.again(there, now) if there.state is MessageState.GIVEN_UP else there

            await self._outbox.change_message(found.id, again)
        self._hub.publish("outbox")
        log.info("notification retried", extra={"notification": found.id, "by": operator().name})
        return pb.RetryNotificationResponse()

    async def ListChannels(self, request: pb.ListChannelsRequest, context: Context) -> pb.ListChannelsResponse:  # noqa: N802
        """Say which channels are set up."""
        now = self._channels.now()
        places = now.places()
        return pb.ListChannelsResponse(
            channels=[
                pb.ChannelSetup(
                    channel=translate.CHANNEL.to_wire(channel),
                    places=places[channel],
                    takes_addresses=now.takes_addresses(channel),
                )
                for channel in Channel
                if channel in places
            ],
            problem=self._channels.problem,
        )

    async def _contact(self, name: str, field: str = "name") -> Contact:
        if not name:
            raise InvalidArgument.of(field, "is missing")
        try:
            return await self._contacts.get_contact(_account(), name)
        except NotFound:
            raise _no_contact(name) from None

    async def _shift(self, sent: pb.ShiftKey) -> Shift:
        key = translate.shift_key(sent)
        if not key.scenario or not key.role:
            raise InvalidArgument.of("key", "needs a scenario and a role")
        try:
            return await self._contacts.get_shift(_account(), key)
        except NotFound:
            raise _no_shift(key) from None

    async def _read_shift(self, sent: pb.Shift) -> Shift:
        checks, names = Checks(), await self._names()
        shift = translate.shift(sent, checks, _account())
        checks.done()
        with checks.part("shift"):
            validate.check_shift(shift, names)
        checks.done()
        return shift

    async def _names(self) -> frozenset[str]:
        return frozenset(contact.name for contact in await self._contacts.contacts(_account()))

    async def _message(self, message_id: str) -> Message:
        try:
            return await self._bound.get_message(message_id)
        except NotFound:
            raise NotFound("notification", message_id[:_MAX_ID], "list them: patchctl notifications list") from None

    async def _notification(self, message: Message, *, whole: bool) -> pb.Notification:
        rendered = render(await self._outbox.get_notice(message.notice_id), message)
        return translate.notification_message(message, rendered, shows_addresses=_sees_addresses(), whole=whole)


def _account() -> str:
    return operator().account


def _sees_addresses() -> bool:
    """Viewers need not know telephone numbers."""
    return operator().role is not Role.VIEWER


def _contact_message(contact: Contact) -> pb.Contact:
    return translate.contact_message(contact, shows_addresses=_sees_addresses())


def _read_contact(sent: pb.Contact) -> Contact:
    checks = Checks()
    contact = translate.contact(sent, checks, _account())
    checks.done()
    with checks.part("contact"):
        validate.check_contact(contact)
    checks.done()
    return contact


def _named(shift: Shift, now: datetime) -> set[str]:
    """Return who takes turns in a shift, now or later."""
    rotations = {name for rotation in shift.rotations for name in rotation.people}
    return rotations | {name for override in shift.overrides if override.ends_at > now for name in override.people}


def _no_contact(name: str) -> NotFound:
    return NotFound("contact", name[: validate.MAX_NAME], "list them: patchctl contact list")


def _no_shift(key: ShiftKey) -> NotFound:
    return NotFound("shift", str(key)[: 2 * validate.MAX_NAME], "list them: patchctl shift list")
