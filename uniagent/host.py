"""What Hello says about the host, read cheaply: the whole truth is in the reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shlex
import socket
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from uniagent import durable
from uniagent.messages import Host, Placement
from uniagent.settings import Settings, split_address

log: Final = logging.getLogger(__name__)
_RESOLVE_SECONDS: Final = 5.0
_SKEW: Final = timedelta(minutes=5)
Addresses = Sequence[tuple[Any, ...]]


def clock_matter(here: datetime, there: datetime | None) -> str:
    """Say how far this host's clock is from the controller's, in words that stay the same while it does; "" when it is near."""
    if there is None or abs(here - there) <= _SKEW:
        return ""
    side = "ahead of" if here > there else "behind"
    hours = abs(here - there) / timedelta(hours=1)
    far = f"about {hours / 24:.0f} d" if hours >= 48 else f"about {hours:.0f} h" if hours >= 1 else "less than an hour"
    return f"this clock is {far} {side} the controller's"


def placement(settings: Settings) -> Placement:
    """Return the instance's place in the fleet as the settings say."""
    return Placement(
        name=settings.instance_name(),
        region=settings.region,
        zone=settings.zone,
        enterprise_project=settings.enterprise_project,
        resource_type=settings.resource_type,
        application_group=settings.application_group,
        cluster=settings.cluster,
        tags=settings.tags,
    )


def machine_id(root: Path | None) -> str:
    """Return systemd's machine id; "" when there is none."""
    text = _text((root or Path("/")) / "etc/machine-id").strip()
    return text if len(text) == 32 else ""


async def look(settings: Settings) -> Host:
    """Read what Hello says."""
    root = settings.root or Path("/")
    release = _os_release(root)
    known = _remembered(settings.state, release.get("PRETTY_NAME", ""))
    return Host(
        boot_id="" if settings.root else _text(Path("/proc/sys/kernel/random/boot_id")).strip(),
        machine_id=machine_id(settings.root),
        os_id=release.get("ID", ""),
        os_version=known or release.get("VERSION_ID", ""),
        os_pretty_name=release.get("PRETTY_NAME", ""),
        arch=os.uname().machine,
        ip_address=await _address_towards(settings.controller),
    )


def remember_os(state: Path, manifest: bytes) -> None:
    """Keep the exact OS version of a manifest for the next Hello: CentOS says 7 in os-release and 7.9 in its package."""
    try:
        told = json.loads(manifest)["os"]
        known = json.dumps({"pretty_name": told["pretty_name"], "version": told["version"]}).encode()
        path = state / "os.json"
        if not path.exists() or path.read_bytes() != known:
            durable.write(path, known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("cannot remember the OS version", extra={"cause": repr(error)})


def _remembered(state: Path, pretty_name: str) -> str:
    try:
        known = json.loads((state / "os.json").read_bytes())
        return str(known["version"]) if known["pretty_name"] == pretty_name else ""
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("cannot read the OS version of the last report", extra={"cause": repr(error)})
        return ""


def _os_release(root: Path) -> dict[str, str]:
    found = dict[str, str]()
    for line in (_text(root / "etc/os-release") or _text(root / "usr/lib/os-release")).splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            try:
                found[key] = "".join(shlex.split(value))[:256]
            except ValueError:  # a quote that is never closed
                log.warning("cannot read a line of os-release", extra={"key": key})
    return found


async def _address_towards(controller: str) -> str:
    host, port = split_address(controller)
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await _resolve(host, port)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # sends nothing: the kernel only chooses the way
            return str(probe.getsockname()[0])
    except (OSError, IndexError, TimeoutError):  # no way there: the stream is about to say so
        return ""


async def _resolve(host: str, port: int) -> Addresses:
    with contextlib.suppress(socket.gaierror):  # a name, not an address
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Addresses] = loop.create_future()

    def tell(found: Addresses) -> None:
        if not answer.done():
            answer.set_result(found)

    def ask() -> None:
        found: Addresses = ()
        with contextlib.suppress(OSError):  # no such name: an empty answer
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, found)

    # A thread of its own: those of the loop are waited for at the end, and a dead name server would hold up SIGTERM.
    threading.Thread(target=ask, name="resolve", daemon=True).start()
    return await answer


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:65536]
    except OSError:  # absent; what Hello leaves out, the report names as a problem
        return ""
