"""What is asked and what is answered: one instance as it reported, and the evaluation of it. Frozen records, no rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from common.manifest import Manifest
from controller.compliance.model import NON_COMPLIANT_STATUSES, Assessment, Attempt, Item
from controller.fleet.model import Instance
from controller.inventory.model import Snapshot

STALE_AFTER: Final = timedelta(hours=26)
METADATA_STALE_AFTER: Final = timedelta(hours=48)
REBOOT_TOLERANCE: Final = timedelta(seconds=60)
"""How much a host's clock may jump while it starts (R9)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How old an answer's inputs may be (R11)."""

    stale_after: timedelta = STALE_AFTER
    """Older reports make the instance UNDETERMINED(STALE)."""
    metadata_stale_after: timedelta = METADATA_STALE_AFTER
    """Longer since the last successful refresh of the repositories makes it UNDETERMINED(METADATA_STALE)."""
    eol: bool = False
    """Whether a release that its vendor no longer maintains makes it UNDETERMINED(EOL).

    Off by default: metadata that will never change again can still be judged, and many fleets have paid extensions.
    """


@dataclass(frozen=True, slots=True)
class Host:
    """One instance and the last that it reported.

    Before its first report `manifest`, `snapshot` and `collected_at` are None. With a manifest but without a readable rpm
    database only `snapshot` is None.
    """

    instance: Instance
    manifest: Manifest | None = None
    manifest_digest: str = ""
    """Hexadecimal."""
    snapshot: Snapshot | None = None
    collected_at: datetime | None = None
    """The last time the same was said."""
    had_advisories: frozenset[str] = frozenset()
    """Ids of the repositories that offered advisories in any earlier report of this instance: losing them is no compliance (R11)."""
    baseline_source: str = ""
    """Why this baseline: "ticket", "instance", "group", "project" or "default". Copied into the answer."""
    ticket_id: str = ""
    """The ticket that brought the report. Copied into the answer."""
    details: tuple[tuple[int, str], ...] | None = None
    """(install time, vendor) of each package, in the order of the lines of the packages blob; None when not at hand.

    It is `common.manifest.decode_details(blob)` of the blob that `manifest.details` names. Without it nothing is said about restarts
    that other packages than kernels wait for (R9): neither that one is due nor that none is.
    """
    attempts: tuple[Attempt, ...] = ()
    """What repairs tried on this instance, in any order (R12). Nothing repairs yet, so the controller has none to give."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one instance and one baseline, without items: what is kept and counted."""

    assessment: Assessment
    non_compliant_keys: Sequence[str]
    """Keys (name.arch) of the non-compliant items, in order: what `AssessmentStore.put_assessment` takes as `items`."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The answer for one instance and one baseline, and its items: non-compliant first, by level, then by name and arch."""

    assessment: Assessment
    items: tuple[Item, ...]

    @property
    def non_compliant_keys(self) -> tuple[str, ...]:
        """Keys (name.arch) of the non-compliant items: what `AssessmentStore.put_assessment` takes as `items`."""
        return tuple(item.key for item in self.items if item.status in NON_COMPLIANT_STATUSES)
