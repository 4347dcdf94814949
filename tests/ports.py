"""Ports that stay free between two servers: the system gives none of them to a connection or to a server that takes any port."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Final

_LEAST: Final = 10_000
_TRIES: Final = 100


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and that nobody takes by chance while a server of ours is down."""
    chance = random.SystemRandom()  # workers that began with one seed must not find the same port
    for _ in range(_TRIES):
        port = chance.randrange(_LEAST, _first_given_away())
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port of 127.0.0.1 is free")


def _first_given_away() -> int:
    """Return the first port that the system itself gives to whoever wants any."""
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(told.read_text().split()[0]) if told.exists() else 32_768
    return first if first > _LEAST + _TRIES else 32_768
