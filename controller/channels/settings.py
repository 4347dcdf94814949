"""The file of channels: which endpoints there are and with which credentials. file.py reads it again when it changes.

    [EMAIL]
    url = "mailtos://user:password@smtp.example.com:587?from=patchwarden@example.com&to={address}"

    [WECOM.places]
    ops-room = "wecombot://KEY"

    [WEBHOOK.siem]
    url = "https://siem.example.com/hook"
    secret = "whsec_..."

`url` takes a contact's address where {address} stands; `places` are whole endpoints, of which a contact's address is the name.
"""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from common.errors import InvalidArgument, Violation
from common.settings import parse
from controller.notify.model import Channel

ADDRESS: Final = "{address}"
SECRET_PREFIX: Final = "whsec_"
_READABLE_BY_OTHERS: Final = 0o004
_SCHEME: Final = re.compile(r"[a-z][a-z0-9]{1,30}://.+")
_PLACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_LEAST_SECRET_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How one channel is reached through apprise. Its URLs hold credentials: they are never shown."""

    url: str = field(default="", repr=False)
    """An apprise URL with {address} in it, for every contact."""
    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    """apprise URLs by name: a contact's address is one of these names."""

    def __post_init__(self) -> None:
        """Refuse what cannot work: ValueError("key: what is allowed")."""
        if self.url and ADDRESS not in self.url:
            raise ValueError(f"url: must have {ADDRESS} where the contact's address goes; else put it under places")
        if self.url and not _SCHEME.fullmatch(self.url):
            raise ValueError("url: must be an apprise URL such as mailtos://...")
        for name, url in self.places.items():
            if not _PLACE.fullmatch(name) or not _SCHEME.fullmatch(url):
                raise ValueError(f"places: {name!r} must be a name of letters, digits, _ . or -, and an apprise URL")
        if not self.url and not self.places:
            raise ValueError("url: is missing; give url, or places")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where documents are posted, and the secret that signs them (Standard Webhooks)."""

    url: str = field(repr=False)
    secret: str = field(repr=False)
    ca_file: Path | None = None
    """PEM of the CA that the server's certificate is from; the system's CAs if not said."""

    def __post_init__(self) -> None:
        """Refuse what cannot work: ValueError("key: what is allowed")."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None:
            raise ValueError("url: must be https://HOST/PATH without a name or a password in it")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("url: must be https; http is for this machine alone")
        try:
            key = base64.b64decode(self.secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if len(key) < _LEAST_SECRET_BYTES:
            raise ValueError(
                f"secret: must be {SECRET_PREFIX} and at least 16 bytes in base64: openssl rand -base64 24"
            )


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Every channel that is set up."""

    endpoints: Mapping[Channel, Endpoints] = field(default_factory=dict)
    webhooks: Mapping[str, Webhook] = field(default_factory=dict)

    def places(self) -> Mapping[Channel, tuple[str, ...]]:
        """Return the names of places by channel that is set up: what may be shown of these settings."""
        found = {channel: tuple(sorted(endpoints.places)) for channel, endpoints in self.endpoints.items()}
        return {**found, Channel.WEBHOOK: tuple(sorted(self.webhooks))} if self.webhooks else found

    def takes_addresses(self, channel: Channel) -> bool:
        """Say whether contacts have addresses of their own on a channel."""
        return channel in self.endpoints and bool(self.endpoints[channel].url)


NO_CHANNELS: Final = ChannelSettings()


def load_channels(path: Path) -> ChannelSettings:
    """Read the file; raise InvalidArgument that names each unknown, missing or wrong key, and shows no value."""
    try:
        if path.stat().st_mode & _READABLE_BY_OTHERS:
            raise InvalidArgument.of(str(path), "holds credentials and everybody can read it: chmod o-r it")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument.of(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument.of(str(path), "is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument.of(str(path), f"is not TOML: {error}") from None
    return parse_channels(table, path.parent)


def parse_channels(table: Mapping[str, Any], folder: Path) -> ChannelSettings:
    """Read what stands in the file; see `load_channels`."""
    endpoints, webhooks, wrong = dict[Channel, Endpoints](), dict[str, Webhook](), list[Violation]()
    known = [channel.value for channel in Channel if channel is not Channel.DEFAULT]
    for key, value in table.items():
        try:
            if key not in known:
                raise InvalidArgument.of(key, f"is unknown; known are {', '.join(known)}")
            if not isinstance(value, dict):
                raise InvalidArgument.of(key, "must be a table")
            if key != Channel.WEBHOOK:
                endpoints[Channel(key)] = parse(Endpoints, value, folder, f"{key}.")
                continue
            for name, webhook in value.items():
                if not _PLACE.fullmatch(name) or not isinstance(webhook, dict):
                    raise InvalidArgument.of(f"{key}.{name}", f"must be a table such as [{key}.siem]")
                webhooks[name] = parse(Webhook, webhook, folder, f"{key}.{name}.")
        except InvalidArgument as error:
            wrong += error.violations
    if wrong:
        raise InvalidArgument(tuple(wrong))
    return ChannelSettings(endpoints, webhooks)
