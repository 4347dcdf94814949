"""What would be if another baseline decided: the same questions with a baseline that is not stored. Nothing is kept (DESIGN §5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.clock import Clock
from controller.compliance.evaluator import Answer
from controller.compliance.judge import Spelled
from controller.compliance.model import Assessment, AssignmentScope, Baseline
from controller.dispatch.assess import Assessor
from controller.dispatch.decisions import Decisions
from controller.dispatch.evaluations import Assess, Question
from controller.fleet.assignment import is_meant_for
from controller.fleet.model import Instance


@dataclass(frozen=True, slots=True)
class TryRow:
    """What a baseline that is tried would change for one instance."""

    instance: Instance
    before: Assessment
    after: Assessment
    newly: tuple[str, ...]
    """Packages (name.arch) that would become non-compliant."""
    gone: tuple[str, ...]
    """Packages (name.arch) that would no longer be non-compliant."""


@dataclass(frozen=True, slots=True)
class TryOutcome:
    """What would be if a baseline decided."""

    replaces: Baseline | None
    """In whose place; None when it would be the first."""
    rows: tuple[TryRow, ...]
    """Every instance for which it would decide, those too for which nothing would change."""


async def try_baseline(
    assessor: Assessor, baseline: Baseline, instances: Sequence[Instance], clock: Clock
) -> TryOutcome:
    """Say what would be if this baseline decided wherever the stored one of the same name decides now.

    When there is none of its name, or nobody is assigned to it, then in place of the default of its scenario and operating system.
    Nothing is stored.
    """
    decisions = assessor.decisions
    replaces = _replaced(baseline, decisions)
    meant = list[Instance]()
    for instance in instances:
        now_decides, _ = decisions.deciding(instance)
        if now_decides is None:
            if replaces is None and is_meant_for(baseline, instance):
                meant.append(instance)
        elif replaces is not None and now_decides.id == replaces.id:
            meant.append(instance)
    standings = await assessor.standings(meant)
    now, evaluations = clock.now(), assessor.evaluations
    questions, again = list[Question[Answer]](), list[Question[Answer]]()
    hosts = await evaluations.hosts(
        (instance, standing.report, standing.assessment.baseline_source or "default")
        for instance, standing in zip(meant, standings, strict=True)
    )
    for instance, standing, host in zip(meant, standings, hosts, strict=True):
        questions.append(Question(host, Assess(host, baseline, now, decisions.exceptions)))
        if (
            standing.non_compliant is None
        ):  # it stands since before a restart: which packages it was about is asked again
            decides, _ = decisions.deciding(instance)
            as_of = standing.assessment.inputs.as_of or now
            again.append(Question(host, Assess(host, decides, as_of, decisions.exceptions)))
    answers = await evaluations.ask_all(questions)
    asked_again = iter(await evaluations.ask_all(again))
    rows = list[TryRow]()
    for instance, standing, answer in zip(meant, standings, answers, strict=True):
        before = standing.non_compliant
        if before is None:
            before = next(asked_again).non_compliant_keys
        newly, gone = _difference(before, answer.non_compliant_keys)
        rows.append(TryRow(instance, standing.assessment, answer.assessment, newly, gone))
    return TryOutcome(replaces, tuple(rows))


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what came and what went, each in order; keys stand in each once."""
    if before == after:
        return (), ()
    if isinstance(before, Spelled) and isinstance(after, Spelled):
        return tuple(sorted(after.without(before))), tuple(sorted(before.without(after)))
    old = frozenset(before)
    came = [key for key in after if key not in old]
    if len(after) - len(came) == len(before):
        return tuple(sorted(came)), ()
    return tuple(sorted(came)), tuple(sorted(old.difference(after)))


def _replaced(baseline: Baseline, decisions: Decisions) -> Baseline | None:
    stored = next(
        (b for b in decisions.baselines.values() if b.name == baseline.name and b.is_for(baseline.account)), None
    )
    if stored is not None and any(
        a.baseline_id == stored.id and a.account == baseline.account for a in decisions.assignments.values()
    ):
        return stored
    default = decisions.assignments.get(
        (baseline.account, AssignmentScope.DEFAULT, "", baseline.scenario, baseline.operating_system)
    )
    return decisions.baselines.get(default.baseline_id) if default is not None else None
