"""What callers are told when something is wrong, and page tokens that cannot be bent."""

from __future__ import annotations

import base64
import json

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from common import errors
from common.errors import Conflict, IllegalMove, InvalidArgument, NotFound, PatchError, Rejected, TooLarge, Violation
from common.pb.v1 import fleet_pb2
from controller.api import paging
from controller.api.checks import Checks, reference
from controller.api.faults import status_of

EVERY = [
    InvalidArgument.of("success_rate", "101 is out of range, allowed 0.0 to 100.0 with one decimal"),
    NotFound("ticket", "T-1", "list them"),
    Conflict("ticket", "T-1"),
    Rejected("not now"),
    IllegalMove(subject="ticket T-1", state="FINISHED", event="pause", allowed="retry it"),
    errors.Unauthenticated("who are you?"),
    errors.PermissionDenied("you may not"),
    TooLarge("message", 10, 5),
    errors.Unavailable("disk full"),
]


def details(status: status_pb2.Status) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest]:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(bad)
    return info, bad


def test_every_class_of_the_tree_is_tried_here() -> None:
    classes = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, PatchError)}
    assert {type(e) for e in EVERY} == classes - {PatchError}


@pytest.mark.parametrize("error", EVERY, ids=lambda e: type(e).__name__)
def test_an_error_says_its_code_its_sentence_and_its_reason_for_machines(error: PatchError) -> None:
    status = status_of(error)
    info, _ = details(status)
    assert status.code == grpc.StatusCode[error.code].value[0]
    assert status.message == str(error)
    assert (info.reason, info.domain) == (error.reason, "patchwarden")
    assert info.metadata["retry"] == ("true" if error.retry else "false")


def test_the_parts_of_a_refused_move_can_be_read_without_taking_the_sentence_apart() -> None:
    info, _ = details(status_of(EVERY[4]))
    assert dict(info.metadata) == {
        "retry": "false",
        "subject": "ticket T-1",
        "state": "FINISHED",
        "event": "pause",
        "allowed": "retry it",
    }


def test_each_wrong_field_is_named_with_what_is_allowed() -> None:
    _, bad = details(status_of(InvalidArgument((Violation("a", "is missing"), Violation("b[0]", "is too long")))))
    assert [(v.field, v.description) for v in bad.field_violations] == [("a", "is missing"), ("b[0]", "is too long")]


@given(st.lists(st.tuples(st.text(max_size=3000), st.text(max_size=3000)), max_size=200))
def test_a_status_fits_into_the_trailers_whatever_is_wrong(wrong: list[tuple[str, str]]) -> None:
    status = status_of(InvalidArgument(tuple(Violation(f, d) for f, d in wrong)))
    assert status.ByteSize() * 4 // 3 + len(status.message.encode()) * 3 < 16 * 1024


def test_when_there_are_too_many_violations_it_says_how_many_more() -> None:
    many = tuple(Violation(f"rules[{n}].products", "is unknown " * 10) for n in range(100))
    _, bad = details(status_of(InvalidArgument(many)))
    named = len(bad.field_violations) - 1
    assert bad.field_violations[-1].description == f"and {100 - named} more"
    assert named > 10


def request(**changes: object) -> fleet_pb2.ListInstancesRequest:
    return fleet_pb2.ListInstancesRequest(selector=fleet_pb2.Selector(all=True), **changes)  # type: ignore[arg-type]


@given(st.text(max_size=64), st.text(max_size=64))
def test_a_position_comes_back_from_its_token(name: str, key: str) -> None:
    token = paging.make_token(request(), (name, key))
    assert paging.read_token(request(page_token=token, page_size=7), token, (str, str)) == (name, key)


def test_the_first_page_has_no_position() -> None:
    assert paging.read_token(request(), "", (str, str)) is None


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_anything_that_is_no_token_is_refused_by_field(token: str) -> None:
    if not token:
        return
    with pytest.raises(InvalidArgument) as refused:
        paging.read_token(request(), token, (str, str))
    assert [v.field for v in refused.value.violations] == ["page_token"]


@pytest.mark.parametrize(
    "content",
    [
        ["x"], [], {}, 3, None, ["mark", 1, "b"], ["mark", "a"], ["mark", "a", "b", "c"], [["a"], "a", "b"], ["mark", True, "b"],
    ],
)  # fmt: skip
def test_a_token_of_the_wrong_shape_is_refused(content: object) -> None:
    token = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    with pytest.raises(InvalidArgument, match="page_token"):
        paging.read_token(request(), token, (str, str))


def test_deeply_nested_and_endless_tokens_are_refused() -> None:
    for content in ("[" * 700, "x" * 100_000):
        token = base64.urlsafe_b64encode(content.encode()).decode()
        with pytest.raises(InvalidArgument, match="page_token"):
            paging.read_token(request(), token, (str, str))


def test_a_token_of_another_question_is_refused() -> None:
    token = paging.make_token(request(), ("a", "i-1"))
    with pytest.raises(InvalidArgument, match="another question"):
        paging.read_token(request(selectable_only=True), token, (str, str))
    with pytest.raises(InvalidArgument, match="another question"):
        paging.read_token(fleet_pb2.ListEnrolmentTokensRequest(), token, (str, str))


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-22T12:00:00", 5])
def test_a_position_with_no_time_where_one_belongs_is_refused(text: str | int) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        paging.decode_time(text)


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1000, 1000)])
def test_a_page_has_1_to_1000_things_and_100_by_default(asked: int, given: int) -> None:
    assert paging.page_size(asked) == given


@pytest.mark.parametrize("asked", [-1, 1001, 2**31 - 1])
def test_other_page_sizes_are_refused(asked: int) -> None:
    with pytest.raises(InvalidArgument, match="page_size"):
        paging.page_size(asked)


@pytest.mark.parametrize("value", ["", "x" * 101, "a\nb", "a\x00b", "\x1b[2J", "a\u200fb"])
def test_an_id_or_name_that_is_empty_too_long_or_hostile_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        reference("instance", value)
    assert refused.value.violations[0].field == "instance"


def test_checks_gather_everything_and_raise_once() -> None:
    checks = Checks()
    checks.text("a", "", 3, least=1)
    checks.number("b", 5, 1, 4)
    with checks.part("c"):
        raise InvalidArgument.of("d", "is wrong")
    with pytest.raises(InvalidArgument) as refused:
        checks.done()
    assert [v.field for v in refused.value.violations] == ["a", "b", "c.d"]
