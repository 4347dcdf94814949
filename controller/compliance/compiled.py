"""What was compiled for a question, and the verdicts that were given by it. Records of the evaluator's; they decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from pyroaring import FrozenBitMap

from common.manifest import Stream
from controller.compliance.evaluate import NOTHING, Verdict
from controller.compliance.judge import NOTHING_JUDGED, Judged
from controller.compliance.model import Baseline
from controller.compliance.required import Approved
from controller.compliance.undetermined import Asks

Repositories = tuple[tuple[str, str, str], ...]
"""Id, updateinfo and primary of each, by id."""


@dataclass(frozen=True, slots=True)
class Question:
    """What compiled approvals depend on, but for first_seen."""

    repositories: Repositories
    baseline: Baseline
    day: date
    streams: tuple[Stream, ...]
    product: str


Same = tuple[bytes, str, tuple[str, ...], int, str | None]
"""What a verdict depends on besides what was compiled."""


@dataclass(slots=True)
class Compiled:
    """Approvals of one question, and what was judged and decided by them."""

    approved: Approved
    metadata_digest: str
    advisory_counts: Mapping[str, int] = field(default_factory=dict)
    judged: Judged = NOTHING_JUDGED
    asks: Asks | None = None
    verdicts: dict[Same, Verdict] = field(default_factory=dict)
    base: Compiled | None = None
    """What was compiled before the repositories' files changed: its verdicts on hosts without a changed package are still right."""
    changed: FrozenBitMap = NOTHING.newest
    """Builds of which something else is required than by `base`, or may be: of those with ids up to `learnt`."""
    learnt: int = 0
    """The last package id that was known when `changed` was found."""

    def known(self, same: Same) -> Verdict | None:
        """Return what was decided, here or before the files changed."""
        found = self.verdicts.get(same)
        if found is not None or self.base is None:
            return found
        before = self.base.verdicts.get(same)
        if before is None or before.newest.intersect(self.changed):
            return None
        if before.newest and before.newest.max() > self.learnt:
            return None  # `base` is still asked by hosts with older metadata, also about builds that came later
        more = len(self.approved.names) - len(self.base.approved.names)
        return before._replace(not_applicable=before.not_applicable + more) if more else before
