"""Where a message goes: the endpoint that the settings have for its channel and address, as a job for the process that sends it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from controller.channels.settings import ADDRESS, ChannelSettings
from controller.notify.model import Channel, Message
from controller.notify.template import Rendered


class CannotSend(Exception):
    """The settings have no way to send this; trying again does not help until they have."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the sending process is told. It holds credentials: it goes through a pipe, never into arguments, files or logs."""

    document: dict[str, Any]

    def __repr__(self) -> str:
        return f"Job({self.document['kind']})"

    def encoded(self) -> bytes:
        """Return it as the process reads it."""
        return json.dumps(self.document).encode()


APPRISE: Final = "apprise"
WEBHOOK: Final = "webhook"


def job_for(settings: ChannelSettings, message: Message, rendered: Rendered, domain: str) -> Job:
    """Return how to send a message; raise CannotSend. `domain` ends its Message-ID."""
    if message.channel is Channel.WEBHOOK:
        webhook = settings.webhooks.get(message.address)
        if webhook is None:
            raise CannotSend(_no_place("WEBHOOK", message.address, list(settings.webhooks)))
        return Job(
            {
                "kind": WEBHOOK,
                "url": webhook.url,
                "secret": webhook.secret,
                "ca_file": str(webhook.ca_file) if webhook.ca_file is not None else "",
                "id": idempotency_key(message),
                "body": json.dumps(rendered.document, ensure_ascii=False, separators=(",", ":")),
            }
        )
    endpoints = settings.endpoints.get(message.channel)
    if endpoints is None:
        raise CannotSend(
            f"the controller has no way to send {message.channel}: add [{message.channel}] to the file that notify names in its settings"
        )
    url = endpoints.places.get(message.address, "")
    if not url and endpoints.url:
        url = endpoints.url.replace(
            ADDRESS, quote(message.address, safe="@" if message.channel is Channel.EMAIL else "")
        )
    if not url:
        raise CannotSend(_no_place(message.channel.value, message.address, list(endpoints.places)))
    return Job(
        {
            "kind": APPRISE,
            "url": url,
            "address": message.address,
            "subject": rendered.subject,
            "text": rendered.text,
            "message_id": message_id(message, domain),
        }
    )


def idempotency_key(message: Message) -> str:
    """Return what a receiver can know a repeated message by: the same for every attempt."""
    return "msg_" + hashlib.sha256(f"{message.id} {message.at.isoformat()}".encode()).hexdigest()[:32]


def message_id(message: Message, domain: str) -> str:
    """Return the Message-ID of an e-mail: the same for every attempt, so that mail programs show a repeated one once."""
    return f"<{idempotency_key(message)}@{domain}>"


def _no_place(channel: str, address: str, known: list[str]) -> str:
    have = f"they have {', '.join(sorted(known))}" if known else "they have none"
    return f"the controller's settings have no place {address!r} for {channel}; {have}"
