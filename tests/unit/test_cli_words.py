"""What patchctl says, as pure functions: words, tables, plain values, progress."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from common.pb.v1 import fleet_pb2, report_pb2, types_pb2
from common.pb.v1 import ticket_pb2 as pb
from controller.cli import words
from controller.cli.plain import cells, columns, plain
from controller.cli.progress import bar, conclusion, differences, remaining_seconds, screen
from controller.cli.table import Column, Table, lines_of

NOW = datetime(2026, 11, 22, 12, 40, tzinfo=UTC)


def at(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (112, "112th"), (21, "21st")]
)
def test_ordinals(number: int, said: str) -> None:
    assert words.ordinal(number) == said


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(7, 12, "58.3 %"), (2, 12, "16.7 %"), (1, 1, "100.0 %"), (0, 3, "0.0 %"), (0, 0, "-"), (1, 2000, "0.1 %")],
)
def test_shares_are_rounded_exactly(part: int, whole: int, said: str) -> None:
    assert words.share(part, whole) == said


def test_times_are_ages_or_utc() -> None:
    assert words.ago(at(NOW - timedelta(days=41, hours=5)), NOW) == "41 d ago"
    assert words.ago(at(NOW + timedelta(minutes=3)), NOW) == "in 3 m"
    assert words.ago(at(NOW), NOW) == "now"
    assert words.utc(at(NOW)) == "2026-11-22 12:40 UTC"
    assert [words.clock_length(s) for s in (12, 62, 3727)] == ["0:12", "1:02", "1:02:07"]
    assert [words.tenths(t) for t in (800, 995)] == ["80 %", "99.5 %"]


def test_a_value_of_a_newer_controller_is_shown_as_its_number() -> None:
    assert words.word(types_pb2.PatchStatus, 99) == "99"
    report = report_pb2.InstanceReport.FromString(b"\x38\x63")  # status = 99
    assert plain(report)["status"] == 99


@given(st.text())
def test_clean_text_has_no_control_characters(text: str) -> None:
    assert words.clean(text).isprintable()


cell_texts = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.lists(st.tuples(cell_texts, cell_texts, cell_texts), max_size=5), st.integers(20, 120))
def test_a_table_fits_into_its_width_whatever_stands_in_it(rows: list[tuple[str, str, str]], width: int) -> None:
    table = Table((Column("a", least=5), Column("b", rank=1, least=5), Column("c", rank=2, right=True)), rows)
    for line in lines_of(table, width):
        assert cell_len("".join(line)) <= width


def test_columns_that_matter_less_go_first_and_empty_ones_are_not_there() -> None:
    table = Table(
        (Column("name"), Column("zone", rank=2), Column("empty"), Column("os", rank=1)),
        [("n" * 10, "z" * 10, "", "o" * 10)],
    )
    assert [cell.strip() for cell in lines_of(table, None)[0]] == ["name", "zone", "os"]
    assert [cell.strip() for cell in lines_of(table, 25)[0]] == ["name", "os"]
    assert [cell.strip() for cell in lines_of(table, 12)[0]] == ["name"]
    assert lines_of(Table((Column("name", least=5),), [("abcdefgh",)]), 5)[1] == ["abcd…"]


def test_plain_values_are_complete_and_cells_match_their_columns() -> None:
    instance = fleet_pb2.Instance(enrolled_at=at(NOW), tags={"b": "2", "a": "1"})
    value = plain(instance)
    assert set(value) == {field.name for field in fleet_pb2.Instance.DESCRIPTOR.fields}
    assert (value["enrolled_at"], value["reported_at"], value["status"]) == ("2026-11-22T12:40:00Z", None, None)
    assert value["level"] == "UNSPECIFIED"  # a level of the model, unlike other unspecified values
    assert list(value["tags"]) == ["a", "b"]
    for message in (instance, pb.Ticket(), report_pb2.InstanceReport()):
        assert list(cells(message)) == list(columns(message.DESCRIPTOR))


def ticket(**fields: object) -> pb.Ticket:
    values: dict[str, object] = {
        "id": "T-1",
        "state": pb.TICKET_STATE_PROCESSING,
        "batches": [
            pb.Batch(
                number=1,
                state=pb.BATCH_STATE_PROCESSING,
                counts=pb.RunCounts(succeeded=2, processing=6),
                started_at=at(NOW),
            )
        ],
        "counts": pb.RunCounts(succeeded=2, processing=6),
        "changed_at": at(NOW + timedelta(seconds=10)),
        "stops_at": 3,
    }
    return pb.Ticket(**(values | fields))  # type: ignore[arg-type]


def test_the_eta_is_the_pace_so_far_by_the_controllers_times() -> None:
    assert remaining_seconds(ticket()) == 30
    assert remaining_seconds(ticket(state=pb.TICKET_STATE_PAUSED)) is None
    assert remaining_seconds(ticket(counts=pb.RunCounts(processing=8))) is None
    assert remaining_seconds(ticket(batches=[])) is None


def test_the_bar_is_full_only_when_all_is_done() -> None:
    assert bar(0, 0) == "─" * 20
    assert bar(99, 100).endswith("─")
    assert bar(100, 100) == "━" * 20


def test_the_picture_names_who_is_out_and_who_failed() -> None:
    out = [pb.Run(batch=1, instance_name=f"w-{n}", step="collecting", sent_at=at(NOW)) for n in range(6)]
    failed = [pb.Run(batch=1, instance_name="w-9", outcome=pb.RUN_OUTCOME_FAILED, error="rpm database\x1b[31m")]
    lines = screen(pb.WatchResponse(ticket=ticket(), running=out, failed=failed), NOW + timedelta(seconds=4))
    assert lines == [
        "T-1 scan  PROCESSING  batch 1/1  ━━━━━─────────────── 2/8  ok 2  failed 0 (stops at 3)  eta 0:30",
        "  batch 1  PROCESSING  2/8  w-0 collecting (4 s), w-1 collecting (4 s), w-2 collecting (4 s), w-3 collecting (4 s), …",
        "  batch 1  w-9 FAILED: rpm database\\x1b[31m",
    ]


def test_of_many_batches_the_current_ones_and_the_abnormal_ones_are_shown() -> None:
    def state(number: int) -> pb.BatchState.ValueType:
        if number < 50:
            return pb.BATCH_STATE_ABNORMAL if number in (3, 30) else pb.BATCH_STATE_FINISHED
        return pb.BATCH_STATE_PROCESSING if number == 50 else pb.BATCH_STATE_READY

    batches = [pb.Batch(number=n, state=state(n), counts=pb.RunCounts(ready=1)) for n in range(1, 101)]
    lines = screen(pb.WatchResponse(ticket=ticket(batches=batches)), NOW)
    numbers = [line.split()[1] for line in lines[1:-1]]
    assert numbers == ["3", "30", "48", "49", "50", "51", "52"]
    assert lines[-1] == "  93 batches more"


def test_differences_tell_each_change_once() -> None:
    before = pb.WatchResponse(ticket=ticket())
    assert list(differences(before, before)) == []
    run = pb.Run(id="r", attempt=1, batch=1, instance_name="w", outcome=pb.RUN_OUTCOME_UNREACHABLE)
    after = pb.WatchResponse(ticket=ticket(), failed=[run])
    assert list(differences(before, after)) == ["12:40:10  batch 1  w UNREACHABLE"]
    assert list(differences(after, after)) == []
    again = pb.Run(id="r", attempt=2, batch=1, instance_name="w", outcome=pb.RUN_OUTCOME_TIMEOUT)
    assert list(differences(after, pb.WatchResponse(ticket=ticket(), failed=[again]))) == [
        "12:40:10  batch 1  w TIMEOUT"
    ]


def test_the_conclusion_says_what_can_be_done_now() -> None:
    suspended = ticket(
        state=pb.TICKET_STATE_ABNORMAL,
        abnormal_cause=pb.ABNORMAL_CAUSE_SUSPENDED,
        counts=pb.RunCounts(failed=3, ready=7),
    )
    said = "\n".join(conclusion(suspended))
    assert "T-1 ABNORMAL: 0 of 10 instances succeeded" in said
    assert "Stopped at the 3rd failed instance" in said
    assert "patchctl ticket continue T-1" in said
    canceled = list(conclusion(ticket(state=pb.TICKET_STATE_CANCELED)))
    assert canceled == ["T-1 CANCELED: 2 of 8 instances succeeded"]
