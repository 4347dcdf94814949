"""One message through apprise. Runs in the sending process, which is the only one that imports apprise.

apprise says yes or no; why not stands in what it logs. That is kept, without the credentials.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urlsplit

_LEAST_SECRET: Final = 6
_TIMEOUTS: Final = "cto=10&rto=20"
"""Seconds to connect and to read, unless the settings say others."""
_HIDDEN: Final = "***"


class NotUnderstood(Exception):
    """apprise can do nothing with the URL in the settings."""


class NotAccepted(Exception):
    """It was not sent; `str()` says why."""


def send(url: str, address: str, subject: str, text: str, message_id: str) -> None:
    """Send one message; return once the service has accepted it. Raise NotUnderstood, NotAccepted."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logger = logging.getLogger("apprise")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    import apprise
    from apprise.plugins.email import base as email

    # An e-mail that is sent again must be known as the same one; apprise makes a new Message-ID each time and takes none from a URL.
    email.make_msgid = lambda *_, **__: message_id  # type: ignore[attr-defined]
    asset = apprise.AppriseAsset(app_id="Patchwarden", app_desc="Patchwarden", app_url="", async_mode=False)
    service: Any = apprise.Apprise(asset=asset)
    if not service.add(_with_timeouts(url)):
        raise NotUnderstood("apprise does not understand the URL of this channel in the controller's settings")
    said.seek(0)
    said.truncate()
    if not service.notify(title=subject, body=text, body_format=apprise.NotifyFormat.TEXT):
        raise NotAccepted(why(said.getvalue(), url, address))


def _with_timeouts(url: str) -> str:
    if re.search(r"[?&](cto|rto)=", url):
        return url
    return f"{url}{'&' if '?' in url else '?'}{_TIMEOUTS}"


def why(said: str, url: str, address: str) -> str:
    """Return what of apprise's log says why it failed, without anything secret of the URL."""
    lines = [line.strip() for line in said.splitlines()]
    causes = [line.removeprefix("Socket Exception: ") for line in lines if line.startswith("Socket Exception: ")]
    plain = [line for line in lines if re.search(r"fail|error|refus|denied|invalid", line, re.IGNORECASE)]
    found = [*plain[:1], *(cause for cause in causes[:1] if cause not in plain[:1])] or [
        "the service did not accept it"
    ]
    text = ": ".join(found)
    for secret in sorted(_secrets(url, address), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def _secrets(url: str, address: str) -> Iterator[str]:
    """Yield what of a URL may be a credential: of a mail server's all but its name, of any other service's everything."""
    parts = urlsplit(url)
    pieces = [parts.username or "", parts.password or "", *re.split(r"[/?&=]", parts.path + "?" + parts.query)]
    if not parts.scheme.startswith("mailto"):
        pieces += [parts.hostname or "", parts.netloc.rpartition("@")[2].partition(":")[0]]
    yield url
    for piece in pieces:
        for form in {piece, unquote(piece)}:
            if len(form) >= _LEAST_SECRET and form != address and form not in ("localhost", "127.0.0.1"):
                yield form
