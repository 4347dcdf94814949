"""What an operator decides about an agent: one TOML file."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common import settings
from common.errors import InvalidArgument

RESOURCE_TYPES: Final = ("ECS", "BMS", "CCE")
LOGS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")
MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """The file's keys. Only `controller` has no default."""

    controller: str
    """host:port; an IPv6 address stands in brackets."""
    join: Path = Path("/etc/uniagent/join.pem")
    """The join file of the controller; read when the agent enrols."""
    state: Path = Path("/var/lib/uniagent")
    """The agent's own folder: identity, journal, outbox."""
    token: str = ""
    """The one-time enrolment token."""
    token_file: Path | None = None
    """A file that holds the token instead."""
    name: str = ""
    """The instance's name; the host name when empty."""
    region: str = ""
    zone: str = ""
    enterprise_project: str = ""
    resource_type: str = ""
    application_group: str = ""
    """A path, e.g. shop/web/frontend."""
    cluster: str = ""
    """The CCE cluster of which this host is a node."""
    tags: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    """Speak for the installation under this folder instead of the running host."""
    log: str = "text"
    log_level: str = "info"
    nice: int = 10
    """How far a collection steps back behind the host's own work: 0 not at all, 19 as far as possible."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, as `common.settings` asks: "key: what is allowed"."""
        split_address(self.controller)
        if len(self.name) > MAX_NAME:
            raise ValueError(f"name: has {len(self.name)} characters, allowed are {MAX_NAME}")
        if self.resource_type not in ("", *RESOURCE_TYPES):
            raise ValueError(f"resource_type: must be one of {', '.join(RESOURCE_TYPES)}")
        if self.log not in LOGS:
            raise ValueError(f"log: must be one of {', '.join(LOGS)}")
        if self.log_level not in LEVELS:
            raise ValueError(f"log_level: must be one of {', '.join(LEVELS)}")
        if not 0 <= self.nice <= 19:
            raise ValueError("nice: must be from 0 to 19")
        if self.token and self.token_file:
            raise ValueError("token: give token or token_file, not both")

    def instance_name(self) -> str:
        """Return the name this instance goes by."""
        if self.name:
            return self.name
        if self.root is not None:
            try:
                named = (self.root / "etc/hostname").read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                named = ""
            return (named or self.root.resolve().name)[:MAX_NAME]
        return socket.gethostname()[:MAX_NAME]

    def read_token(self) -> str:
        """Return the enrolment token, "" when there is none; raise InvalidArgument when its file cannot be read."""
        if self.token_file is None:
            return self.token.strip()
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not text"
            raise InvalidArgument.of("token_file", f"{self.token_file} cannot be read: {why}") from None


def load(path: Path) -> Settings:
    """Read the settings file; raise InvalidArgument that names each wrong key."""
    return settings.load(Settings, path)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of "host:port"; raise ValueError that starts with the key."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ValueError(f"controller: {address!r} must be host:port, e.g. patchwarden.example.com:7443")
    return host, int(port)
