"""What an AssessmentStore promises."""

from __future__ import annotations

from datetime import datetime

import pytest

from common.errors import NotFound
from controller.compliance.model import Assessment, InstanceStatus, Kept, Level, Reason, StatusCounts, Undetermined
from controller.store.api import Deciding, Store
from tests.builders import MINUTE, NOW, an_assessment, an_instance, instance_id

BAD = InstanceStatus.NON_COMPLIANT
BASELINE = "b-CentOS-Default"


def by_baseline(baseline: str, number: int = 1) -> Assessment:
    made = an_assessment(number)
    return made._replace(inputs=made.inputs._replace(baseline_id=baseline))


async def keep(
    store: Store, assessment: Assessment, *items: str, at: datetime = NOW, deciding: bool = True
) -> dict[str, datetime]:
    return dict(await store.assessments.put_assessment(assessment, items, at, deciding=deciding))


class AssessmentStoreContract:
    """Subclass it, give it a `store` fixture, and the new store is held to the contract."""

    @pytest.fixture(autouse=True)
    async def instances(self, store: Store) -> None:
        for number in (1, 2, 3):
            await store.fleet.put_instance(an_instance(number))

    async def test_an_answer_comes_back_with_every_field_as_it_was(self, store: Store) -> None:
        given = an_assessment(
            1,
            InstanceStatus.UNDETERMINED,
            reasons=(Undetermined(Reason.REPO_ERROR, "updates: timed out", "look at it"),),
            level=Level.HIGH,
            counts=StatusCounts(1, 2, 3, 4, 5, 6, 7, 8, 9),
            collected_at=None,
            ticket_id="T-1",
        )
        await keep(store, given)
        assert await store.assessments.deciding(given.instance_id) == given
        assert await store.assessments.assessment(given.instance_id, BASELINE) == given
        assert await store.assessments.all_deciding() == (Kept(given),)

    async def test_before_the_first_answer_there_is_none(self, store: Store) -> None:
        assert await store.assessments.deciding(instance_id(1)) is None
        assert await store.assessments.assessment(instance_id(1), BASELINE) is None
        assert await store.assessments.since(instance_id(1), BASELINE) == {}
        assert await store.assessments.all_deciding() == ()

    async def test_an_unknown_instance_has_no_answer(self, store: Store) -> None:
        with pytest.raises(NotFound, match="instance"):
            await keep(store, an_assessment(9))

    async def test_R16_only_a_deciding_answer_replaces_the_deciding_one(self, store: Store) -> None:
        decides, adhoc = by_baseline("b-assigned"), by_baseline("b-adhoc")
        await keep(store, decides)
        await keep(store, adhoc, deciding=False)
        assert await store.assessments.deciding(instance_id(1)) == decides
        assert await store.assessments.assessment(instance_id(1), "b-adhoc") == adhoc
        reassigned = by_baseline("b-other")._replace(baseline_source="instance")
        await keep(store, reassigned)
        assert await store.assessments.deciding(instance_id(1)) == reassigned
        assert await store.assessments.assessment(instance_id(1), "b-assigned") == decides

    async def test_R16_an_adhoc_answer_with_the_assigned_baseline_does_not_decide_either(self, store: Store) -> None:
        decides = an_assessment(1)
        adhoc = an_assessment(1, BAD, ticket_id="T-1", baseline_source="ticket")
        await keep(store, decides)
        await keep(store, adhoc, deciding=False)
        assert await store.assessments.deciding(instance_id(1)) == decides
        assert await store.assessments.assessment(instance_id(1), BASELINE) == adhoc

    async def test_deciding_answers_are_of_listed_instances_in_order_of_id(self, store: Store) -> None:
        for number in (3, 1, 2):
            await keep(store, an_assessment(number))
        await store.fleet.put_instance(an_instance(2, deleted_at=NOW))
        assert [k.assessment.instance_id for k in await store.assessments.all_deciding()] == [
            instance_id(1),
            instance_id(3),
        ]

    async def test_a_deciding_answer_is_kept_under_its_mark_with_the_time_of_its_oldest_item(
        self, store: Store
    ) -> None:
        answer = an_assessment(1, BAD)
        await keep(store, answer, "bash.x86_64")
        later, mark = NOW + MINUTE, b"a mark"
        await store.assessments.put_assessment(answer, ("bash.x86_64", "curl.x86_64"), later, deciding=True, mark=mark)
        await store.assessments.put_assessment(answer, ("curl.x86_64",), later, deciding=False, mark=b"another")
        assert await store.assessments.all_deciding() == (Kept(answer, mark, NOW),)
        await keep(store, answer, "curl.x86_64")
        assert await store.assessments.all_deciding() == (Kept(answer, b"", later),)

    async def test_R13_an_item_keeps_the_time_it_became_non_compliant(self, store: Store) -> None:
        first = await keep(store, an_assessment(1, BAD), "bash.x86_64", "sudo.x86_64")
        assert first == {"bash.x86_64": NOW, "sudo.x86_64": NOW}
        second = await keep(store, an_assessment(1, BAD), "bash.x86_64", "curl.x86_64", at=NOW + MINUTE)
        assert second == {"bash.x86_64": NOW, "curl.x86_64": NOW + MINUTE}
        assert await store.assessments.since(instance_id(1), BASELINE) == second

    async def test_R13_an_item_that_was_mended_and_returns_begins_anew(self, store: Store) -> None:
        await keep(store, an_assessment(1, BAD), "bash.x86_64")
        assert await keep(store, an_assessment(1), at=NOW + MINUTE) == {}
        assert await store.assessments.since(instance_id(1), BASELINE) == {}
        again = await keep(store, an_assessment(1, BAD), "bash.x86_64", at=NOW + 2 * MINUTE)
        assert again == {"bash.x86_64": NOW + 2 * MINUTE}

    async def test_R13_while_nobody_can_say_the_times_stay(self, store: Store) -> None:
        await keep(store, an_assessment(1, BAD), "bash.x86_64")
        assert await keep(store, an_assessment(1, InstanceStatus.UNDETERMINED), at=NOW + MINUTE) == {}
        assert await store.assessments.since(instance_id(1), BASELINE) == {"bash.x86_64": NOW}
        after = await keep(store, an_assessment(1, BAD), "bash.x86_64", at=NOW + 2 * MINUTE)
        assert after == {"bash.x86_64": NOW}

    async def test_R13_an_undetermined_answer_with_items_counts_like_any(self, store: Store) -> None:
        await keep(store, an_assessment(1, BAD), "bash.x86_64", "sudo.x86_64")
        partly = await keep(store, an_assessment(1, InstanceStatus.UNDETERMINED), "sudo.x86_64", at=NOW + MINUTE)
        assert partly == await store.assessments.since(instance_id(1), BASELINE) == {"sudo.x86_64": NOW}

    async def test_R13_times_are_of_one_instance_and_one_baseline(self, store: Store) -> None:
        await keep(store, by_baseline("b-one"), "bash.x86_64")
        other = await keep(store, by_baseline("b-two"), "bash.x86_64", at=NOW + MINUTE)
        assert other == {"bash.x86_64": NOW + MINUTE}
        neighbour = await keep(store, by_baseline("b-one", 2), "bash.x86_64", at=NOW + 2 * MINUTE)
        assert neighbour == {"bash.x86_64": NOW + 2 * MINUTE}
        assert await store.assessments.since(instance_id(1), "b-one") == {"bash.x86_64": NOW}

    async def test_an_answer_without_a_baseline_is_kept_too(self, store: Store) -> None:
        nothing = by_baseline("")._replace(status=InstanceStatus.UNDETERMINED)
        await keep(store, nothing)
        assert await store.assessments.assessment(instance_id(1), "") == nothing

    async def test_deciding_answers_that_come_together_are_kept_as_if_they_came_one_by_one(self, store: Store) -> None:
        await keep(store, an_assessment(1, BAD), "bash.x86_64")
        later = NOW + MINUTE
        answers = (
            Deciding(an_assessment(1, BAD), ("bash.x86_64", "curl.x86_64"), later, b"a mark"),
            Deciding(an_assessment(2, BAD), ("curl.x86_64",), later),
            Deciding(an_assessment(3), (), later),
        )
        assert await store.assessments.put_deciding(answers) == (NOW, later, None)
        assert await store.assessments.since(instance_id(1), BASELINE) == {"bash.x86_64": NOW, "curl.x86_64": later}
        assert await store.assessments.since(instance_id(2), BASELINE) == {"curl.x86_64": later}
        assert await store.assessments.all_deciding() == (
            Kept(an_assessment(1, BAD), b"a mark", NOW),
            Kept(an_assessment(2, BAD), b"", later),
            Kept(an_assessment(3)),
        )
        assert await store.assessments.assessment(instance_id(2), BASELINE) == an_assessment(2, BAD)
        assert await store.assessments.put_deciding(()) == ()

    async def test_of_deciding_answers_that_come_together_all_are_kept_or_none(self, store: Store) -> None:
        answers = [Deciding(an_assessment(number, BAD), ("sudo.x86_64",), NOW) for number in (1, 9)]
        with pytest.raises(NotFound, match="instance"):
            await store.assessments.put_deciding(answers)
        assert await store.assessments.all_deciding() == ()
        assert await store.assessments.since(instance_id(1), BASELINE) == {}
        assert await keep(store, an_assessment(2, BAD), "bash.x86_64", "sudo.x86_64") == {
            "bash.x86_64": NOW,
            "sudo.x86_64": NOW,
        }
        assert await store.assessments.since(instance_id(2), BASELINE) == {"bash.x86_64": NOW, "sudo.x86_64": NOW}
