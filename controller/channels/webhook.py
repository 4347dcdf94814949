"""One POST of a JSON document, signed as Standard Webhooks (standardwebhooks.com) says. Runs in the sending process.

Headers: `webhook-id` (the same for every attempt: a receiver ignores one it has had), `webhook-timestamp`, `webhook-signature`
(`v1,` and base64 of HMAC-SHA256 over "id.timestamp.body"). No redirect is followed, nothing but the status of the answer is used.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
from typing import Final
from urllib.parse import urlsplit

from controller.channels.settings import SECRET_PREFIX

TIMEOUT_SECONDS: Final = 15.0
_READ_BYTES: Final = 64 * 1024


class NotAccepted(Exception):
    """The server did not take it; `str()` says why."""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return what `webhook-signature` says."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def post(url: str, secret: str, message_id: str, body: bytes, timestamp: int, ca_file: str = "") -> None:
    """Post a document; return once the server has answered 2xx, else raise NotAccepted."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file or None)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=TIMEOUT_SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    headers = {
        "content-type": "application/json; charset=utf-8",
        "user-agent": "patchwarden",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message_id, timestamp, body),
    }
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        answer = connection.getresponse()
        answer.read(_READ_BYTES)
    except TimeoutError:
        raise NotAccepted(f"{host} did not answer within {TIMEOUT_SECONDS:.0f} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NotAccepted(f"{host}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        connection.close()
    if 300 <= answer.status < 400:
        raise NotAccepted(
            f"{host} answered {answer.status}, a redirect, which is not followed; set its new address in the settings"
        )
    if not 200 <= answer.status < 300:
        raise NotAccepted(f"{host} answered {answer.status} {http.client.responses.get(answer.status, '')}".strip())
