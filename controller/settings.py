"""The controller's settings: what may stand in its TOML file, with defaults with which `--data DIR` alone is enough."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

DEFAULT_LISTEN: Final = "127.0.0.1:8443"
_MIB: Final = 1 << 20
_HOST: Final = re.compile(r"[A-Za-z0-9_.:*-]{1,253}")
_LEVELS: Final = ("debug", "info", "warning", "error")


def default_hosts() -> tuple[str, ...]:
    """Return the names and addresses by which this machine is reached when nobody says otherwise."""
    return tuple(dict.fromkeys(("127.0.0.1", "localhost", socket.gethostname() or "localhost")))


def parse_listen(listen: str) -> tuple[str, int]:
    """Read "HOST:PORT" ("[::1]:8443" for IPv6); raise ValueError that shows the form."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{listen[:100]!r} is not an address, write it like {DEFAULT_LISTEN} or [::1]:8443")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{listen[:100]!r} is not an address, an IPv6 host stands in brackets: [::1]:8443")
    return host, int(port)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Durations are written like 30s, 10m, 12h, 30d; sizes are in bytes."""

    data: Path
    """Where everything is kept: database, CA, join.pem."""
    listen: str = DEFAULT_LISTEN
    """HOST:PORT; port 0 takes any free one, which DATA/address then names."""
    hosts: tuple[str, ...] = field(default_factory=default_hosts)
    """Names and addresses that agents and operators use: they stand in the server's certificate."""
    heartbeat_interval: timedelta = timedelta(seconds=30)
    report_interval: timedelta = timedelta(hours=12)
    """Between reports that nobody ordered; 0s means none."""
    stream_life: timedelta = timedelta(hours=6)
    """About how long an agent's stream lasts before the agent is asked to come again."""
    certificate_lifetime: timedelta = timedelta(days=30)
    """Of agents' certificates."""
    stale_instance_after: timedelta = timedelta(days=14)
    """Without stream and report for so long an instance is shown as STALE."""
    max_message_bytes: int = 4 * _MIB
    max_blob_bytes: int = 256 * _MIB
    """Of one piece of content from an agent, unpacked."""
    notify: Path | None = None
    """The file that says how messages are sent (channels, with their credentials); without it none can be."""
    log: str = "text"
    """"text" for people, "json" for machines."""
    log_level: str = "info"

    def __post_init__(self) -> None:
        """Refuse what cannot work: ValueError("key: what is allowed")."""
        try:
            parse_listen(self.listen)
        except ValueError as error:
            raise ValueError(f"listen: {error}") from None
        if not self.hosts or not all(_HOST.fullmatch(host) for host in self.hosts):
            raise ValueError(
                "hosts: must name at least one host name or address, like patchwarden.example.com or 10.0.0.1"
            )
        for name, least, most in (
            ("heartbeat_interval", timedelta(seconds=1), timedelta(hours=1)),
            ("stream_life", timedelta(seconds=10), timedelta(days=30)),
            ("certificate_lifetime", timedelta(minutes=1), timedelta(days=398)),
            ("stale_instance_after", timedelta(hours=1), timedelta(days=3650)),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: must be between {least} and {most}")
        if self.report_interval and not timedelta(seconds=1) <= self.report_interval <= timedelta(days=30):
            raise ValueError("report_interval: must be 0s for none, or between 1s and 30d")
        if not _MIB <= self.max_message_bytes <= 64 * _MIB:  # a piece of content, 256 KiB, must pass with ease
            raise ValueError(f"max_message_bytes: must be between {_MIB} and {64 * _MIB}")
        if not _MIB <= self.max_blob_bytes <= 4096 * _MIB:
            raise ValueError(f"max_blob_bytes: must be between {_MIB} and {4096 * _MIB}")
        if self.log not in ("text", "json"):
            raise ValueError("log: must be text or json")
        if self.log_level not in _LEVELS:
            raise ValueError(f"log_level: must be one of {', '.join(_LEVELS)}")
