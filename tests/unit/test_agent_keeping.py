"""What the agent promised stays on its disk: outbox, journal and blobs, through crashes, full disks and torn files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard

from uniagent import durable
from uniagent.blobs import CHUNK_BYTES, Blobs
from uniagent.journal import REMEMBERED, Finished, Journal, Run
from uniagent.messages import BlobChunk, Encoding, Offer, Outcome, RunResult, SelfReport
from uniagent.outbox import Outbox

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OFFER = Offer("ab" * 32, NOW)


def result(name: str = "m-1", run: str = "run-1") -> RunResult:
    return RunResult(name, run, Outcome.SUCCEEDED, report=OFFER)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every fsync fail as on a full disk."""

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", disk_is_full)
        yield


def disk_is_full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_what_was_put_is_there_after_a_restart_in_its_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    messages = (result(), SelfReport("m-2", OFFER), RunResult("m-3", "run-3", Outcome.FAILED, "rpm is gone"))
    for message in messages:
        outbox.put(message)
    assert Outbox(tmp_path).messages() == messages


def test_only_the_ack_that_names_its_id_removes_a_message(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(result("m-1"))
    outbox.put(result("m-2", "run-2"))
    assert not outbox.acknowledge("m-9")
    assert outbox.acknowledge("m-2")
    assert not outbox.acknowledge("m-2")
    assert [m.id for m in Outbox(tmp_path).messages()] == ["m-1"]


def test_a_repeated_result_comes_after_all_that_was_sent(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(result())
    found = outbox.after(0)
    assert found is not None
    order, first = found
    assert outbox.after(order) is None
    assert outbox.repeat("run-1")
    assert not outbox.repeat("run-2")
    again = outbox.after(order)
    assert again is not None
    assert again[1] == first


def test_with_a_full_disk_a_result_is_kept_in_memory_and_written_later(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    outbox = Outbox(tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", disk_is_full)
        outbox.put(result())
        assert not outbox.save()
    assert outbox.messages() == (result(),)
    assert not Outbox(tmp_path).messages()
    assert outbox.save()
    assert Outbox(tmp_path).messages() == (result(),)


def test_a_file_that_is_no_message_is_set_aside_and_the_others_are_kept(tmp_path: Path) -> None:
    Outbox(tmp_path).put(result())
    (tmp_path / "000000000007.json").write_text('{"id": 1')
    (tmp_path / "000000000008.json").write_text("{}")
    assert Outbox(tmp_path).messages() == (result(),)
    assert len(list(tmp_path.glob("*.unreadable"))) == 2


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        durable.write(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def run(name: str = "run-1") -> Run:
    return Run(name, "T-1", NOW, timedelta(minutes=10))


def test_accepted_runs_are_open_after_a_restart_in_their_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for name in ("run-2", "run-1", "T-7Q4M/../../x"):
        journal.accept(run(name))
    assert Journal(tmp_path).open_runs() == (run("run-2"), run("run-1"), run("T-7Q4M/../../x"))


def test_a_finished_run_is_remembered_with_its_outcome_and_is_not_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.accept(run())
    ended = Finished("run-1", Outcome.FAILED, "rpm is gone", OFFER)
    journal.finish(ended)
    for each in (journal, Journal(tmp_path)):
        assert not each.is_open("run-1")
        assert each.finished("run-1") == ended
        assert each.finished("run-2") is None


def test_a_crash_between_ending_and_forgetting_a_run_does_not_open_it_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.accept(run())
    (left,) = tmp_path.glob("*.json")
    content = left.read_bytes()
    journal.finish(Finished("run-1", Outcome.SUCCEEDED))
    left.write_bytes(content)
    assert not Journal(tmp_path).open_runs()
    assert not list(tmp_path.glob("*.json"))


def test_a_line_torn_by_a_power_failure_costs_only_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.finish(Finished("run-1", Outcome.SUCCEEDED))
    with (tmp_path / "finished.jsonl").open("ab") as file:
        file.write(b'{"run_id": "run-2", "outc')
    journal = Journal(tmp_path)
    journal.finish(Finished("run-3", Outcome.SUCCEEDED))
    again = Journal(tmp_path)
    assert again.finished("run-1")
    assert again.finished("run-3")
    assert again.finished("run-2") is None


def test_so_many_finished_runs_are_remembered_and_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)  # thousands of them take a while, and are not what is tested
        journal = Journal(tmp_path)
        for number in range(2 * REMEMBERED + 10):
            journal.finish(Finished(f"run-{number}", Outcome.SUCCEEDED))
    again = Journal(tmp_path)
    assert again.finished("run-1009") is None
    assert again.finished("run-1010")
    assert len((tmp_path / "finished.jsonl").read_bytes().splitlines()) < 2 * REMEMBERED


def test_a_run_that_cannot_be_journaled_is_not_accepted(tmp_path: Path, full_disk: None) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(OSError, match="No space"):
        journal.accept(run())
    assert not journal.open_runs()


@pytest.mark.parametrize(
    ("later", "left"),
    [(timedelta(0), 10), (timedelta(minutes=4), 6), (timedelta(minutes=11), -1), (timedelta(minutes=-30), 10)],
)
def test_what_is_left_of_a_timeout_is_never_more_than_all_of_it(later: timedelta, left: int) -> None:
    assert run().left(NOW + later) == timedelta(minutes=left)


def put_blob(folder: Path, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return name


def join(chunks: list[BlobChunk]) -> bytes:
    offset = 0
    for chunk in chunks:
        assert chunk.offset == offset
        assert len(chunk.data) <= CHUNK_BYTES
        offset += len(chunk.data)
    assert [c.last for c in chunks] == [False] * (len(chunks) - 1) + [True]
    content = b"".join(c.data for c in chunks)
    if chunks[0].encoding is Encoding.ZSTD:
        return zstandard.ZstdDecompressor().decompress(content)  # one frame that says its size
    return content


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", Encoding.IDENTITY),
        (b"bash\t0\t5.1\t1\tx86_64\t\n" * 40_000, Encoding.ZSTD),
        (os.urandom(3 * CHUNK_BYTES + 1), Encoding.IDENTITY),
        (os.urandom(CHUNK_BYTES), Encoding.IDENTITY),
        (b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() for n in range(40_000)), Encoding.ZSTD),
    ],
    ids=["empty", "text", "random", "one chunk", "half random"],
)
def test_a_blob_travels_in_pieces_compressed_only_if_that_makes_it_smaller(
    tmp_path: Path, content: bytes, encoding: Encoding
) -> None:
    name = put_blob(tmp_path, content)
    chunks = list(Blobs(tmp_path).chunks(name))
    assert join(chunks) == content
    assert chunks[0].encoding is encoding


def test_blobs_are_kept_as_long_as_a_manifest_names_them(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    spool = tmp_path / "spool"
    packages, other = put_blob(spool, b"packages"), put_blob(spool, b"other")
    manifest = put_blob(spool, json.dumps({"packages": packages}).encode())
    (spool / "result.json").write_text("{}")
    blobs.adopt(spool)
    blobs.keep_only([manifest])
    assert {p.name for p in (tmp_path / "blobs").iterdir()} == {manifest, packages}
    assert other not in {p.name for p in spool.iterdir()}
    blobs.keep_only([])
    assert not list((tmp_path / "blobs").iterdir())


def test_a_blob_cut_off_by_a_power_failure_is_dropped_at_start(tmp_path: Path) -> None:
    whole, cut = put_blob(tmp_path, b"whole"), put_blob(tmp_path, b"cut off")
    (tmp_path / cut).write_bytes(b"cut")
    Blobs(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [whole]
