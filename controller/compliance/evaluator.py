"""Evaluation that remembers: metadata, compiled approvals and verdicts by their digests (DESIGN §4, §5).

For the controller's results loop and report API. No I/O happens here: the caller brings what `needs` names.

    evaluator = Evaluator()
    ...
    evaluator.learn(await store.inventory.packages_after(evaluator.last_package_id))
    for kind, digest in evaluator.needs(manifest):  # hexadecimal; usually there are none
        ...                                         # parse the blob in a worker process (inventory.parse_worker), then
        evaluator.add_updateinfo(digest, advisories, first_seen)  # or add_primary, or add_unreadable
    found = evaluator.evaluate(Host(instance, manifest, ...), baseline, as_of)
    since = await store.assessments.put_assessment(found.assessment, found.non_compliant_keys, as_of, deciding=True)

and later, for a report page: `evaluator.evaluate(host, baseline, as_of, since=since, everything=True).items`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from common.manifest import Manifest
from controller.compliance.host import Evaluation, Host, Limits
from controller.compliance.model import Advisory, Available, Baseline
from controller.inventory.model import Package

__all__ = ["Evaluation", "Evaluator", "Host", "Limits"]


class Evaluator:
    """Evaluates instances one after the other and computes only what it has not computed for an earlier one.

    Not thread-safe. Memory is bounded: what was not used for long is dropped, and `needs` asks for it again.
    """

    def __init__(self, limits: Limits = Limits(), *, max_records: int = 500_000, max_compiled: int = 64) -> None:
        """Keep at most so many parsed records (advisory packages and builds) and compiled approvals."""
        raise NotImplementedError

    @property
    def last_package_id(self) -> int:
        """The greatest id of a package that was learnt, 0 at first."""
        raise NotImplementedError

    def learn(self, packages: Iterable[Package]) -> None:
        """Take interned packages, in ascending order of id. Every package of a snapshot must be learnt before `evaluate`."""
        raise NotImplementedError

    def needs(self, manifest: Manifest) -> tuple[tuple[str, str], ...]:
        """Return (kind, digest) of repository files that `evaluate` will ask for and that were not added, or were dropped.

        `kind` is "updateinfo" or "primary", the digest hexadecimal.
        """
        raise NotImplementedError

    def add_updateinfo(self, digest: str, advisories: Sequence[Advisory], first_seen: Mapping[str, datetime]) -> None:
        """Take a parsed updateinfo file, and when its advisories were first seen (absent ones count as seen just now)."""
        raise NotImplementedError

    def add_primary(self, digest: str, available: Sequence[Available]) -> None:
        """Take a parsed primary file."""
        raise NotImplementedError

    def add_unreadable(self, digest: str, matter: str) -> None:
        """Take note that a repository file cannot be parsed or had: its repository counts as failed, `matter` says why."""
        raise NotImplementedError

    def evaluate(
        self,
        host: Host,
        baseline: Baseline | None,
        as_of: datetime,
        *,
        since: Mapping[str, datetime] | None = None,
        everything: bool = False,
    ) -> Evaluation:
        """Say whether an instance complies with a baseline (None: no baseline is meant for it) as of an instant.

        The same inputs give an equal answer, whatever was evaluated before (R1). `since` dates the items (R13); without it
        they carry no first_non_compliant_at. `everything` also lists INSTALLED and INSTALLED_OTHER packages.
        Raises ValueError when something `needs` names, or a package of the snapshot, was not brought.
        """
        raise NotImplementedError
