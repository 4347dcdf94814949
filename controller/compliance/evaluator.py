"""Evaluation that remembers: metadata, compiled approvals and verdicts by their digests (DESIGN §4, §5).

For the controller's results loop and report API. No I/O happens here: the caller brings what `needs` names.

    evaluator = Evaluator()
    ...
    evaluator.learn(await store.inventory.packages_after(evaluator.last_package_id))
    for kind, digest in evaluator.needs(manifest):  # hexadecimal; usually there are none
        ...                                         # parse the blob in a worker process (inventory.parse_worker), then
        evaluator.add_updateinfo(digest, advisories, first_seen)  # or add_primary, or add_unreadable
    exceptions = await store.exceptions.exceptions()   # all there are, once for all instances
    found = evaluator.assess(Host(instance, manifest, ...), baseline, as_of, exceptions=exceptions)
    since = await store.assessments.put_assessment(found.assessment, found.non_compliant_keys, as_of, deciding=True)

and later, for a report page: `evaluator.evaluate(host, baseline, as_of, exceptions=exceptions, since=since, everything=True).items`.
`exceptions.next_change` says when exceptions alone change an answer next; another UTC day does as well.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Final

from immutables import Map
from pyroaring import FrozenBitMap

from common import digest
from common.manifest import Manifest, OsRelease, PackageLine, Problem, Repository, Stream, encode_packages
from controller.compliance import undetermined
from controller.compliance.approvals import compile_approvals, compile_custom, recompile
from controller.compliance.compiled import Compiled, Question
from controller.compliance.evaluate import (
    NOTHING,
    Verdict,
    assess,
    attempted,
    decide,
    excuse,
    non_compliant_keys,
    restarts,
)
from controller.compliance.exceptions import NO_EXCEPTIONS, Excuses, LiveExceptions
from controller.compliance.files import RepositoryFiles
from controller.compliance.host import REBOOT_TOLERANCE, Answer, Evaluation, Host, Limits
from controller.compliance.items import Items
from controller.compliance.judge import NOTHING_JUDGED, PackageTable, judge, judge_again
from controller.compliance.model import Advisory, Assessment, Available, Baseline, Exceptions, Undetermined
from controller.compliance.newest import Newest
from controller.compliance.required import Approved
from controller.compliance.told import Change
from controller.fleet.products import family_of
from controller.inventory.model import Package, Snapshot

__all__ = ["Answer", "Evaluation", "Evaluator", "Host", "Limits", "evaluate"]

_MAX_ORDERS: Final = 4096
_MAX_VERDICTS: Final = 1 << 14
"""Of all compiled approvals together; a verdict takes some kilobytes. Approvals are compiled anew each day, so none grows old."""
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_NO_MANIFEST: Final = Manifest(os=OsRelease())
_NOTHING_APPROVED: Final = Approved(Map(), frozenset(), Map())


@dataclass(slots=True)
class _Last:
    """What was compiled last, as it was asked for."""

    baseline: Baseline
    as_of: datetime
    product: str
    repositories: tuple[Repository, ...]
    streams: tuple[Stream, ...]
    compiled: Compiled
    fit: tuple[tuple[Problem, ...], frozenset[str]] | None = None
    """The problems of a host that could be answered for, and where it had advisories."""


@dataclass(frozen=True, slots=True)
class _Answered:
    assessment: Assessment
    verdict: Verdict
    compiled: Compiled


class Evaluator:
    """Evaluates instances one after the other and computes only what it has not computed for an earlier one.

    Not thread-safe. Memory is bounded: what was not used for long is dropped, and `needs` asks for it again, so call `needs`
    right before `evaluate`.
    """

    def __init__(self, limits: Limits | None = None, *, max_records: int = 2_000_000, max_compiled: int = 64) -> None:
        """Keep about so many parsed records (advisory packages and builds) and compiled approvals."""
        self._limits = limits or Limits()
        self._max_compiled = max_compiled
        self._table = PackageTable()
        self._files = RepositoryFiles(max_records)
        self._first_seen = dict[str, datetime]()
        self._compiled = OrderedDict[Question, Compiled]()
        self._last: _Last | None = None
        self._kept = 0
        self._newest = Newest(self._table)
        self._orders: OrderedDict[bytes, array[int]] = OrderedDict()
        self._live = (NO_EXCEPTIONS, _LONG_AGO, LiveExceptions(NO_EXCEPTIONS, _LONG_AGO))

    @property
    def last_package_id(self) -> int:
        """The greatest id of a package that was learnt, 0 at first."""
        return self._table.last_id

    def learn(self, packages: Iterable[Package]) -> None:
        """Take interned packages, in ascending order of id. Every package of a snapshot must be learnt before `evaluate`."""
        self._table.add(packages)

    def needs(self, manifest: Manifest) -> tuple[tuple[str, str], ...]:
        """Return (kind, digest) of repository files that `evaluate` will ask for and that were not added, or were dropped.

        `kind` is "updateinfo" or "primary", the digest hexadecimal.
        """
        return self._files.missing(manifest.repositories)

    def add_updateinfo(self, digest: str, advisories: Sequence[Advisory], first_seen: Mapping[str, datetime]) -> None:
        """Take a parsed updateinfo file, and when its advisories were first seen (absent ones count as seen just now)."""
        self._last = None
        self._files.add_updateinfo(digest, advisories)
        for advisory in advisories:
            at = first_seen.get(advisory.id)
            if at is not None:
                self._first_seen[advisory.id] = min(at, self._first_seen.get(advisory.id, at))

    def add_primary(self, digest: str, available: Sequence[Available]) -> None:
        """Take a parsed primary file."""
        self._last = None
        self._files.add_primary(digest, available)

    def add_unreadable(self, digest: str, matter: str) -> None:
        """Take note that a repository file cannot be parsed or had: its repository counts as failed, `matter` says why."""
        self._last = None
        self._files.add_unreadable(digest, matter)

    def evaluate(
        self,
        host: Host,
        baseline: Baseline | None,
        as_of: datetime,
        *,
        exceptions: Exceptions = NO_EXCEPTIONS,
        since: Mapping[str, datetime] | None = None,
        everything: bool = False,
    ) -> Evaluation:
        """Say whether an instance complies with a baseline (None: no baseline is meant for it) as of an instant.

        `exceptions` are all there are: those that are live at `as_of` and concern this instance excuse items (R10). Pass the same
        object for a whole fleet: it is sorted once.

        The same inputs give an equal answer, whatever was evaluated before (R1). `since` dates the items (R13); without it
        they carry no first_non_compliant_at. `everything` also lists INSTALLED and INSTALLED_OTHER packages.
        Raises ValueError when something `needs` names, or a package of the snapshot, was not brought.
        """
        answered = self._answer(host, baseline, as_of, exceptions)
        maker = Items(host, baseline, answered.compiled.approved, self._table, since or {})
        items = maker.non_compliant(answered.verdict) + (maker.others(answered.verdict) if everything else ())
        return Evaluation(answered.assessment, items)

    def assess(
        self, host: Host, baseline: Baseline | None, as_of: datetime, *, exceptions: Exceptions = NO_EXCEPTIONS
    ) -> Answer:
        """Return what `evaluate` does, but for the items: their keys only. This is what a whole fleet can be asked."""
        answered = self._answer(host, baseline, as_of, exceptions)
        return Answer(answered.assessment, non_compliant_keys(answered.verdict, self._table))

    def _answer(self, host: Host, baseline: Baseline | None, as_of: datetime, exceptions: Exceptions) -> _Answered:
        manifest = host.manifest or _NO_MANIFEST
        product = host.instance.operating_system.product
        if baseline is not None and product and family_of(product) == baseline.operating_system:
            last = self._same_as_last(manifest, baseline, as_of, product)
            compiled = last.compiled
        else:
            last, compiled = (
                None,
                Compiled(_NOTHING_APPROVED, _metadata_digest(self._files.named(manifest.repositories), ())),
            )
        verdict = self._decide(host, manifest, compiled)
        excuses = self._excuses(host, as_of, exceptions)
        if excuses:
            verdict = excuse(verdict, excuses, compiled.approved, compiled.judged, self._table)
        if host.attempts:
            verdict = attempted(verdict, host.attempts, as_of, self._table)
        fit = (manifest.problems, host.had_advisories)
        reasons: tuple[Undetermined, ...] = ()
        if last is None or last.fit != fit or not self._is_fresh(host, as_of) or verdict.kernel_matters:
            reasons = undetermined.undetermined_reasons(
                host,
                baseline,
                as_of,
                self._limits,
                self._files.unreadable,
                compiled.advisory_counts,
                kernel_matters=verdict.kernel_matters,
                asks=compiled.asks,
            )
            if last is not None and not reasons:
                last.fit = fit
        return _Answered(
            assess(host, baseline, as_of, verdict, reasons, compiled.metadata_digest, exceptions.version),
            verdict,
            compiled,
        )

    def _is_fresh(self, host: Host, as_of: datetime) -> bool:
        """Say whether nothing that is of this host alone can keep an answer from being given (R11).

        All else is asked of the first of several hosts that say the same of the same repositories, and remembered in `_Last.fit`.
        """
        if host.snapshot is None or host.collected_at is None or host.instance.quarantine is not None:
            return False
        return as_of - host.collected_at <= min(self._limits.stale_after, self._limits.metadata_stale_after)

    def _excuses(self, host: Host, as_of: datetime, exceptions: Exceptions) -> Excuses | None:
        if not exceptions.all:
            return None
        known, at, live = self._live
        if known is not exceptions or at != as_of:
            live = LiveExceptions(exceptions, as_of)
            self._live = (exceptions, as_of, live)
        return live.of(host.instance.account, host.instance.id, host.instance.application_group)

    def _decide(self, host: Host, manifest: Manifest, compiled: Compiled) -> Verdict:
        """Decide, or remember what was decided for an instance that has the same installed and runs the same."""
        if host.snapshot is None:
            return NOTHING._replace(not_applicable=len(compiled.approved.custom or compiled.approved.names))
        details = manifest.details if host.details is not None else None
        same = (
            host.snapshot.digest,
            manifest.running_kernel_package,
            manifest.install_only,
            manifest.boot_time,
            details,
        )
        if (known := compiled.known(same)) is not None:
            if same not in compiled.verdicts and self._kept < _MAX_VERDICTS:
                compiled.verdicts[same] = known
                self._kept += 1
            return known
        compiled.judged = judged = judge(compiled.approved, self._table, compiled.judged)
        newest = self._newest.of(host.snapshot)
        verdict = decide(newest, manifest, compiled.approved, judged, self._table)
        if host.details and manifest.boot_time and (late := self._installed_late(host, newest & judged.restart)):
            verdict = restarts(verdict, late, manifest, compiled.approved, judged, self._table)
        if self._kept < _MAX_VERDICTS:
            compiled.verdicts[same] = verdict
            self._kept += 1
        return verdict

    def _installed_late(self, host: Host, candidates: FrozenBitMap) -> FrozenBitMap:
        """Choose the packages that were installed after the host started; none where that is not known (R9)."""
        manifest, snapshot = host.manifest, host.snapshot
        if not candidates or snapshot is None or manifest is None or not host.details:
            return FrozenBitMap()
        order = self._line_order(snapshot)
        if len(order) != len(host.details):
            return FrozenBitMap()  # these details belong to other packages
        started = manifest.boot_time + REBOOT_TOLERANCE.total_seconds()
        return FrozenBitMap(number for number in candidates if host.details[order.index(number)][0] > started)

    def _line_order(self, snapshot: Snapshot) -> array[int]:
        """Return the ids of a snapshot's packages in the order of the lines of its packages blob."""
        if (found := self._orders.get(snapshot.digest)) is None:
            packages = [self._table[number] for number in snapshot.packages]
            lines = sorted(("\t".join((*map(str, p.nevra), p.module)), p.id) for p in packages)
            found = self._orders[snapshot.digest] = array("q", (number for _, number in lines))
            if len(self._orders) > _MAX_ORDERS:
                self._orders.popitem(last=False)
        else:
            self._orders.move_to_end(snapshot.digest)
        return found

    def _same_as_last(self, manifest: Manifest, baseline: Baseline, as_of: datetime, product: str) -> _Last:
        """Compile, unless the one before asked the same: hashing a baseline takes longer than all the rest."""
        last = self._last
        if (
            last is not None
            and last.baseline is baseline
            and last.as_of == as_of
            and last.product == product
            and last.repositories == manifest.repositories
            and last.streams == manifest.streams
        ):
            return last
        compiled = self._compile(manifest, baseline, as_of, product)
        self._last = last = _Last(baseline, as_of, product, manifest.repositories, manifest.streams, compiled)
        return last

    def _compile(self, manifest: Manifest, baseline: Baseline, as_of: datetime, product: str) -> Compiled:
        day = as_of.astimezone(UTC).date()
        if baseline.custom:
            return self._compile_custom(baseline, day)
        question = Question(
            self._files.named(manifest.repositories),
            baseline,
            day,
            manifest.streams,
            product,
        )
        compiled = self._compiled.get(question)
        if compiled is None or not self._still_seen(compiled.approved, day):
            self._kept -= len(compiled.verdicts) if compiled is not None else 0
            compiled = self._compile_anew(question)
            self._compiled[question] = compiled
            self._trim({name for _, *files in question.repositories for name in files})
        self._compiled.move_to_end(question)
        return compiled

    def _compile_anew(self, question: Question) -> Compiled:
        contents = self._files.contents(question.repositories)
        offers = self._files.offers(question.repositories, contents)
        told = self._files.told(question.repositories, question.streams, contents, offers)
        judged, base, changed = NOTHING_JUDGED, None, NOTHING.newest
        if (before := self._base(question)) is None:
            approved = compile_approvals(
                contents,
                question.baseline,
                question.day,
                question.streams,
                question.product,
                self._first_seen,
                offers=offers,
                told=told,
            )
        else:
            base, change = before
            approved = recompile(
                base.approved,
                change,
                contents,
                question.baseline,
                question.day,
                question.product,
                self._first_seen,
                offers,
                told,
            )
            was, now = base.approved.obsoleted, approved.obsoleted
            replaced = {old for old in was.keys() | now.keys() if was.get(old) != now.get(old)}
            names = change.names | replaced
            changed = self._table.named(names)
            judged = judge_again(approved, self._table, base.judged, names)
            base.base = None  # one step back is enough, and all of them would never be let go
        return Compiled(
            approved,
            _metadata_digest(question.repositories, approved.first_seen_used),
            self._files.advisory_counts(question.repositories),
            judged,
            undetermined.what_it_asks(question.baseline, question.product),
            base=base,
            changed=changed,
            learnt=self._table.last_id,
        )

    def _base(self, question: Question) -> tuple[Compiled, Change] | None:
        """Return what was compiled last for the same question about other editions of the same files, and what changed."""
        for known, compiled in reversed(self._compiled.items()):
            if (
                known.baseline == question.baseline
                and replace(known, repositories=()) == replace(question, repositories=())
                and self._still_seen(compiled.approved, question.day)
                and (change := self._files.change(known.repositories, question.repositories)) is not None
            ):
                return compiled, change
        return None

    def _compile_custom(self, baseline: Baseline, day: date) -> Compiled:
        """Compile the rows of a custom baseline: no repository has a say, so one serves all instances."""
        question = Question((), baseline, day, (), "")
        if (compiled := self._compiled.get(question)) is None:
            compiled = self._compiled[question] = Compiled(
                compile_custom(baseline.custom), _metadata_digest((), ()), asks=undetermined.what_it_asks(baseline, "")
            )
            self._trim(set())
        self._compiled.move_to_end(question)
        return compiled

    def _still_seen(self, approved: Approved, day: date) -> bool:
        return all(
            (self._first_seen[advisory].astimezone(UTC).date() if advisory in self._first_seen else day) == used
            for advisory, used in approved.first_seen_used
        )

    def _trim(self, in_use: AbstractSet[str]) -> None:
        """Drop what was not used for long, but no file that is in use now: it would be asked for again at once."""
        while len(self._compiled) > self._max_compiled:
            _, dropped = self._compiled.popitem(last=False)
            self._kept -= len(dropped.verdicts)
        self._files.trim(in_use)


def evaluate(
    host: Host,
    packages: Sequence[PackageLine],
    advisories: Mapping[str, Sequence[Advisory]],
    available: Mapping[str, Sequence[Available]],
    baseline: Baseline | None,
    as_of: datetime,
    *,
    exceptions: Exceptions = NO_EXCEPTIONS,
    first_seen: Mapping[str, datetime] | None = None,
    unreadable: Mapping[str, str] | None = None,
    since: Mapping[str, datetime] | None = None,
    limits: Limits | None = None,
    everything: bool = False,
) -> Evaluation:
    """Evaluate one instance by itself: the same code without a controller.

    `host.snapshot` is made from `packages`, unless the manifest names none; `advisories` and `available` hold the parsed
    repository files by the digests that the manifest names them by, `unreadable` what is wrong with those that cannot be.
    """
    evaluator = Evaluator(limits)
    lines = sorted(set(packages), key=lambda line: (line.nevra, line.module))
    evaluator.learn(Package(n, line.nevra, line.module, line.nevra.key) for n, line in enumerate(lines, 1))
    for name, parsed in advisories.items():
        evaluator.add_updateinfo(name, parsed, first_seen or {})
    for name, builds in available.items():
        evaluator.add_primary(name, builds)
    for name, matter in (unreadable or {}).items():
        evaluator.add_unreadable(name, matter)
    if host.manifest is not None and host.manifest.packages:
        content, _ = encode_packages((line, 0, "") for line in lines)
        snapshot = Snapshot(digest.of(content), FrozenBitMap(range(1, len(lines) + 1)))
        host = replace(host, snapshot=snapshot)
    return evaluator.evaluate(host, baseline, as_of, exceptions=exceptions, since=since, everything=everything)


def _metadata_digest(repositories: Iterable[tuple[str, str, str]], first_seen_used: Iterable[tuple[str, date]]) -> str:
    """Name what was known of the repositories: their files, and the first_seen dates that were asked for."""
    lines = [f"repository\t{identifier}\t{updateinfo}\t{primary}\n" for identifier, updateinfo, primary in repositories]
    lines += [f"first_seen\t{advisory}\t{day}\n" for advisory, day in first_seen_used]
    return digest.of("".join(lines).encode("utf-8", "surrogatepass")).hex()
