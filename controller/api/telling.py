"""Whether everybody whom a policy wants told is there and can be reached: asked when a ticket or a task is made, not when it runs."""

from __future__ import annotations

from common.errors import InvalidArgument
from controller.notify.model import NotificationPolicy
from controller.notify.validate import check_recipients
from controller.store.api import ContactStore


async def refuse_unreachable(
    store: ContactStore, policy: NotificationPolicy, account: str, field: str = "notification"
) -> None:
    """Raise InvalidArgument that names everybody who is not there, or has no address for the policy's channel."""
    if not policy.events:
        return
    contacts = {contact.name: contact for contact in await store.contacts(account)}
    shifts = {shift.key for shift in await store.shifts(account)}
    if wrong := tuple(check_recipients(policy, contacts, shifts, field)):
        raise InvalidArgument(wrong[:20])
