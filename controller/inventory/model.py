"""What the controller keeps of hosts: interned packages, snapshots by digest, reports (DESIGN §4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyroaring import FrozenBitMap

from common.nevra import Nevra
from controller.fleet.model import InstanceId


@dataclass(frozen=True, slots=True)
class Package:
    """An interned package: the same build has the same small id on every host."""

    id: int
    nevra: Nevra
    module: str
    """Modularity label; empty for a plain package."""
    key: bytes
    """evr.key: compare these, never the texts."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One distinct set of installed packages."""

    digest: bytes
    packages: FrozenBitMap
    """Ids of the packages."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one agent said at one time. Unchanged hosts repeat the digest and stretch the interval."""

    instance_id: InstanceId
    manifest_digest: bytes
    inventory_digest: bytes | None
    """None when the agent could not read its inventory."""
    first_collected_at: datetime
    collected_at: datetime
    """The last time the same was said."""
    received_at: datetime
    ticket_id: str = ""
    """The ticket that brought it last; empty for a self-report."""
