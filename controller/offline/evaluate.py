"""One inventory, some repositories and a baseline: the answer that the controller would give, and what dnf would list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, Final

from common.manifest import Manifest, Problem, ProblemCode, Repository, Stream
from controller.compliance.advisory_rows import AdvisoryRow, RowState, advisory_rows
from controller.compliance.approvals import applicable_rules, basis_date
from controller.compliance.evaluate import running_kernel
from controller.compliance.evaluator import evaluate as evaluate_instance
from controller.compliance.host import Evaluation, Host
from controller.compliance.model import ALL_PRODUCTS, Baseline, Category, DateBasis, Item, Rule
from controller.fleet import products
from controller.fleet.model import Instance, InstanceId, OperatingSystem, ResourceType
from controller.inventory.advisories import UNKNOWN_MODULE, is_modular
from controller.inventory.modules import defaults
from controller.offline.inventory import Inventory
from controller.offline.repositories import ReadRepository

EVERYTHING: Final = "Everything"
"""The baseline when none is given: every advisory of any category and severity, on the day it is issued."""
_ANY_FAMILY: Final = "CentOS"
_UNKNOWN_TYPE: Final = "unknown"
_NEVER: Final = b"\xff"
"""Above every key."""


class UnknownProduct(ValueError):
    """It is not known which operating system is meant. `str()` says what to do."""


class UnknownFirstSeen(ValueError):
    """A rule waits from the day on which something was first seen, which no file tells. `str()` says what to do."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: all five inputs, nothing else is looked at (R1)."""

    name: str
    """What the answer calls the instance."""
    inventory: Inventory
    repositories: Sequence[ReadRepository]
    baseline: Baseline | None
    """None: every advisory is required, see EVERYTHING."""
    as_of: date
    product: str = ""
    """As baselines spell it, e.g. "CentOS 7.9"; empty: what the inventory says."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer."""

    name: str
    product: str
    """Empty when it is not known, which matters only with a baseline that asks for it."""
    evaluation: Evaluation
    rows: tuple[AdvisoryRow, ...]
    undated: tuple[str, ...] = ()
    """The available advisories that a rule would require one day, and whose date is not known: they count from `as_of` (R5)."""


def evaluate(question: Question) -> Outcome:
    """Answer. The same question has an equal answer. Raises UnknownProduct when a baseline cannot be matched without it.

    Raises UnknownFirstSeen when a rule could never approve anything here: only a controller remembers when it saw an advisory first.
    """
    _check_dates(question.baseline, question.as_of)
    told = question.inventory.manifest
    known = question.product or products.product_of(told.os.id, told.os.version)
    baseline, product = _baseline_and_product(question.baseline, known, told)
    repositories = question.repositories
    problems = [p for p in told.problems if not (product and p.code is ProblemCode.OS_RELEASE)]
    manifest = replace(
        told,
        streams=told.streams if question.inventory.knows_streams else _default_streams(repositories),
        repositories=(*(r.repository for r in repositories), *missed(question.inventory, repositories)),
        problems=(*problems, *_unknown_streams(question.inventory, repositories)),
    )
    as_of = datetime.combine(question.as_of, time.min, UTC)
    host = Host(
        Instance(
            id=InstanceId(question.name),
            name=question.name,
            enterprise_project="",
            region="",
            zone="",
            resource_type=baseline.scenario,
            application_group="",
            enrolled_at=as_of,
            operating_system=OperatingSystem(told.os.id, told.os.version, product, told.os.pretty_name, told.os.arch),
        ),
        manifest,
        details=question.inventory.details,
        collected_at=as_of,  # a file does not say how old it is: judging that is its keeper's business
    )
    evaluation = evaluate_instance(
        host,
        question.inventory.packages,
        {r.repository.updateinfo: r.advisories for r in repositories if r.repository.updateinfo},
        {r.repository.primary: r.available for r in repositories if r.available is not None},
        baseline,
        as_of,
        everything=True,
    )
    rows = advisory_rows(
        (line.nevra for line in question.inventory.packages),
        (advisory for repository in repositories for advisory in repository.listed),
        running_kernel(manifest),
        manifest.streams,
    )
    undated = _undated(rows, repositories, baseline, product, question.as_of)
    return Outcome(question.name, known, evaluation, rows, undated)


def _check_dates(baseline: Baseline | None, as_of: date) -> None:
    for number, rule in enumerate(baseline.rules if baseline is not None else (), 1):
        if rule.date_basis is DateBasis.FIRST_SEEN and _waits(rule, as_of):
            raise UnknownFirstSeen(
                f"rule {number} counts from the day on which an advisory was first seen, and files do not tell it: every day would be"
                " the first, and the rule approve nothing; let it count from issued or updated here"
            )


def missed(inventory: Inventory, repositories: Sequence[ReadRepository]) -> tuple[Repository, ...]:
    """Return the host's repositories that count and that nobody could read, each with what went wrong (R11).

    If one of those that are given is the host's own, by its id, all of its own are meant: one that failed when the inventory was collected
    is in no folder that came with it. If none is, what the host has enabled is of no matter: others are given in its place.
    """
    given = {read.repository.id for read in repositories}
    if given.isdisjoint(inventory.enabled):
        return ()
    return tuple(
        Repository(failed.id, error=f"{failed.error} (when the inventory was collected)")
        for failed in inventory.failed
        if failed.id not in given
    )


def _waits(rule: Rule, as_of: date) -> bool:
    """Say whether a rule would not approve what is seen for the first time on `as_of`."""
    return rule.approve_until < as_of if rule.approve_until is not None else bool(rule.approve_after_days)


def _undated(
    rows: Iterable[AdvisoryRow], repositories: Sequence[ReadRepository], baseline: Baseline, product: str, as_of: date
) -> tuple[str, ...]:
    waiting = [rule for _, rule in applicable_rules(baseline, product) if _waits(rule, as_of)]
    if not waiting:
        return ()
    available = {row.id for row in rows if row.state is RowState.AVAILABLE}
    return tuple(
        sorted(
            {
                advisory.id
                for repository in repositories
                for advisory in repository.advisories
                if advisory.id in available
                and any(
                    basis_date(rule.date_basis, advisory, as_of)[0] is DateBasis.FIRST_SEEN
                    and (not rule.categories or advisory.category in rule.categories)
                    and (not rule.severities or advisory.severity in rule.severities)
                    for rule in waiting
                )
            }
        )
    )


def _default_streams(repositories: Sequence[ReadRepository]) -> tuple[Stream, ...]:
    """Return the streams that count where nobody said which ones do: dnf asks about the defaults of modules that nobody touched."""
    found = defaults(each for repository in repositories for each in repository.defaults)
    return tuple(sorted(Stream(*each) for each in found))


def _unknown_streams(inventory: Inventory, repositories: Sequence[ReadRepository]) -> Iterator[Problem]:
    """Yield a problem when the answer depends on module streams of which nobody said whether they are enabled (R8, R11)."""
    if inventory.knows_streams:
        return
    newest = dict[tuple[str, str], bytes]()
    for line in inventory.packages:
        build = line.nevra
        if line.module or is_modular(build.release):
            newest[build.name, build.arch] = max(build.key, newest.get((build.name, build.arch), b""))
    streams = {
        package.module
        for repository in repositories
        for advisory in repository.advisories
        for package in advisory.packages
        if package.module not in ("", UNKNOWN_MODULE)
        and package.nevra.key > newest.get((package.nevra.name, package.nevra.arch), _NEVER)
    }
    if streams:
        yield Problem(
            ProblemCode.MODULES,
            f"the inventory does not say whether {', '.join(sorted(streams))} is enabled, and there are advisories for it:"
            " give --module-streams",
        )


def document(outcome: Outcome) -> dict[str, Any]:
    """Return the answer as `--output json` writes it."""
    assessment = outcome.evaluation.assessment
    return {
        "status": assessment.status.value,
        "reasons": [{"reason": r.reason.value, "detail": r.detail, "help": r.help} for r in assessment.reasons],
        "counts": assessment.counts._asdict(),
        "items": [item_document(item) for item in outcome.evaluation.items],
        "advisories": [row_document(row) for row in outcome.rows],
    }


def item_document(item: Item) -> dict[str, Any]:
    """Return one package as plain values."""
    return {
        "name": item.name,
        "arch": item.arch,
        "installed": str(item.installed),
        "status": item.status.value,
        "reason": item.reason,
        "target": str(item.required) if item.required is not None else "",
        "level": item.level.name,
        "category": item.category.value,
        "severity": item.severity.value,
        "advisories": list(item.advisories),
        "cves": list(item.cves),
        "why": item.why,
    }


def row_document(row: AdvisoryRow) -> dict[str, Any]:
    """Return one advisory package as plain values; types in dnf's words, "unknown" for those that dnf does not know either."""
    return {
        "id": row.id,
        "type": _UNKNOWN_TYPE if row.category is Category.UNSPECIFIED else row.category.value.lower(),
        "severity": row.severity.value,
        "package": str(row.package),
        "state": row.state.value,
    }


def everything(family: str) -> Baseline:
    """Return the baseline that approves every advisory on the day it is issued."""
    return Baseline(EVERYTHING, EVERYTHING, ResourceType.ECS, family, (Rule(),), public=True)


def _baseline_and_product(baseline: Baseline | None, known: str, told: Manifest) -> tuple[Baseline, str]:
    if baseline is None:
        # It is for any system, also for one that is not known: the family that evaluation asks for means nothing here.
        return everything(products.family_of(known) or _ANY_FAMILY), known or _ANY_FAMILY
    if known or told.os.id:
        return baseline, known
    return baseline, _assumed(baseline)


def _assumed(baseline: Baseline) -> str:
    """Return the product that an inventory without one is taken for: the one that a baseline is for."""
    wanted = dict.fromkeys(p for rule in baseline.rules for p in rule.products if p != ALL_PRODUCTS)
    if not wanted:
        return baseline.operating_system
    for product in wanted:
        if all(products.matches(other, product) for other in wanted):
            return product
    raise UnknownProduct(
        f"the inventory does not say which operating system it is of, and {baseline.name} has rules for several"
        f" ({', '.join(wanted)}): say which one with --os"
    )
