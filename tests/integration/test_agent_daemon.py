"""The real agent process against a scripted controller over real mutual TLS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from common import manifest
from common.pb.v1 import agent_pb2 as pb

sys.path.insert(0, str(Path(__file__).resolve().parent))

from agent_controller import Agent, Controller, running

Pair = tuple[Controller, Agent]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    folder = tmp_path / "agent"
    folder.mkdir()
    async with running(folder) as both:
        yield both


async def test_it_enrols_once_and_comes_back_with_the_same_identity(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    session = await controller.session()
    identity = agent.state / "identity"
    assert session.hello.placement.name == "one"
    assert (identity / "key.pem").stat().st_mode & 0o777 == 0o600
    assert (identity / "instance_id").read_text() == controller.tokens["good"]
    await controller.stop()
    await controller.start()
    await controller.session(2)
    agent.signal(signal.SIGTERM)
    assert await agent.wait() == 0
    agent.start()
    await controller.session(3)
    assert controller.enrolments == 1


async def leave(agent: Agent) -> tuple[int, str]:
    """What the package's hook runs when the agent is uninstalled."""
    command = (sys.executable, "-m", "uniagent", "leave", "--config", str(agent.config))
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await child.communicate()
    assert child.returncode is not None
    return child.returncode, said.decode()


async def test_uninstalled_it_tells_the_controller_with_its_own_identity(pair: Pair) -> None:
    controller, agent = pair
    assert await leave(agent) == (0, "this host never enrolled: there is nobody to tell\n")
    agent.start()
    await controller.session()
    agent.signal(signal.SIGTERM)
    await agent.wait()
    assert await leave(agent) == (0, "the controller knows that this agent is being uninstalled\n")
    assert controller.left == [(agent.state / "identity" / "instance_id").read_text()]
    await controller.stop()
    status, said = await leave(agent)
    assert status == 1
    assert said.startswith(f"uniagent leave: the controller at 127.0.0.1:{controller.port} said UNAVAILABLE")


async def test_a_lost_answer_to_enrol_is_asked_for_again_with_the_same_key(pair: Pair) -> None:
    controller, agent = pair
    controller.lose_answers = 1
    agent.start()
    await controller.session()
    assert controller.enrolments == 2
    assert list(controller.tokens) == ["good"]


async def test_a_wrong_token_ends_it_with_one_sentence(pair: Pair) -> None:
    _, agent = pair
    agent.configure(token="wrong")
    agent.start()
    assert await agent.wait() == 1
    assert agent.said().count("the token is unknown or used") == 1
    assert "Traceback" not in agent.said()


async def test_without_a_token_or_with_wrong_settings_it_says_what_is_missing(pair: Pair) -> None:
    _, agent = pair
    agent.configure(token="")
    agent.start()
    assert await agent.wait() == 1
    assert "patchctl enrolment create" in agent.said()
    agent.configure(colour="red")
    agent.start()
    assert await agent.wait() == 1
    assert "colour: is unknown" in agent.said()


async def test_an_assignment_is_accepted_done_and_forgotten_after_its_ack(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    session = await controller.session()
    await session.assign("run-1")
    (result,) = await controller.until(lambda: controller.heard("run_result"))
    assert result.run_id == "run-1"
    assert (result.outcome, result.error) == (pb.SCAN_OUTCOME_SUCCEEDED, "")
    await controller.until(lambda: controller.blobs)
    told = manifest.decode(controller.blobs[result.report.manifest_digest.hex()])
    assert manifest.ProblemCode.RPMDB in {problem.code for problem in told.problems}
    steps = [p.step for p in session.all("run_progress")]
    assert steps[0] == "accepted"
    assert steps[-1] == "sending"
    await agent.until_kept_nothing("outbox", "blobs")
    assert agent.kept("journal") == ["finished.jsonl"]


async def test_the_same_assignment_twice_is_done_once(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    session = await controller.session()
    await session.assign("run-1")
    await session.assign("run-1")
    await controller.until(lambda: session.all("run_result"))
    await session.assign("run-1")
    first, again = await controller.until(lambda: len(r := session.all("run_result")) == 2 and r)
    assert (first.run_id, first.report) == (again.run_id, again.report)
    assert agent.said().count("accepted a run") == agent.said().count("a run ended") == 1


async def test_a_result_is_sent_again_on_every_stream_until_it_is_acknowledged(pair: Pair) -> None:
    controller, agent = pair
    controller.acknowledge = False
    agent.start()
    await (await controller.session()).assign("run-1")
    await controller.until(lambda: controller.heard("run_result"))
    await agent.kill()
    agent.start()
    await controller.until(lambda: controller.sessions[1:] and controller.sessions[1].all("run_result"))
    controller.acknowledge = True
    await controller.stop()
    await controller.start()
    await controller.until(lambda: any(session.all("run_result") for session in controller.sessions[2:]))
    results = controller.heard("run_result")
    assert len({r.SerializeToString() for r in results}) == 1
    assert len(results) >= 3
    await agent.until_kept_nothing("outbox")


@pytest.mark.parametrize("moment", ["accepted", "collecting", "sending"])
async def test_killed_at_any_moment_of_a_run_it_loses_nothing(pair: Pair, moment: str) -> None:
    controller, agent = pair
    controller.acknowledge = False
    agent.start()
    session = await controller.session()
    await session.assign("run-1")
    await controller.until(lambda: [p for p in session.all("run_progress") if p.step == moment])
    await agent.kill()
    controller.acknowledge = True
    agent.start()
    again = await controller.session(2)
    assert list(again.hello.open_run_ids) in ([], ["run-1"])
    await controller.until(lambda: again.all("run_result"))
    assert {r.run_id for r in controller.heard("run_result")} == {"run-1"}
    await controller.until(lambda: controller.blobs)


async def test_a_run_whose_time_was_over_before_the_restart_is_a_timeout(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    session = await controller.session()
    await session.assign("run-1", seconds=0.02)  # no process starts so fast
    (result,) = await controller.until(lambda: session.all("run_result"))
    assert result.outcome == pb.SCAN_OUTCOME_TIMEOUT
    # a busy machine may have used the time up before the collector was even asked to start
    assert "0 s" in result.error or result.error == "its time was over before it could begin"


async def test_cancelled_before_it_began_a_run_is_dropped_and_said_so(pair: Pair) -> None:
    controller, agent = pair
    agent.hold_collections()
    agent.start()
    session = await controller.session()
    await session.assign("run-1")
    await agent.until_held()
    await session.assign("run-2")
    await session.send(cancel_run=pb.CancelRun(run_id="run-2"))
    await controller.until(lambda: session.all("run_result"))
    agent.let_go()
    await controller.until(lambda: len(session.all("run_result")) == 2)
    ended = {r.run_id: r.outcome for r in session.all("run_result")}
    assert ended == {"run-1": pb.SCAN_OUTCOME_SUCCEEDED, "run-2": pb.SCAN_OUTCOME_CANCELED}


async def test_content_that_is_gone_is_said_to_be_gone(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    session = await controller.session()
    await session.send(want=pb.Want(digests=[b"x" * 32]))
    (gone,) = await controller.until(lambda: session.all("blob_gone"))
    assert gone.digest == b"x" * 32


async def test_a_gap_in_the_sequence_ends_the_stream_and_another_begins(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    session = await controller.session()
    await session.send_with_a_gap()
    await controller.session(2)
    assert session.over.is_set()
    assert "is missing" in agent.said()


async def test_sigterm_ends_it_cleanly_in_the_middle_of_a_collection(pair: Pair) -> None:
    controller, agent = pair
    agent.hold_collections()  # for ever: that it ends shows that it does not wait for the collection
    agent.start()
    session = await controller.session()
    await session.assign("run-1")
    await agent.until_held()
    agent.signal(signal.SIGTERM)
    assert await agent.wait() == 0
    assert not session.all("run_result")
    assert len(agent.kept("journal")) == 1
    assert not (agent.state / "collector.pid").exists()
    assert "Traceback" not in agent.said()


async def test_sighup_moves_the_instance_and_wrong_settings_change_nothing(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    await controller.session()
    agent.configure(log_level="debug")
    agent.signal(signal.SIGHUP)
    await agent.until_said("read the settings again")
    agent.configure(log_level="loud")
    agent.signal(signal.SIGHUP)
    await agent.until_said("the old ones stay")
    assert len(controller.sessions) == 1
    agent.configure(log_level="info", region="cn-hongkong")
    agent.signal(signal.SIGHUP)
    assert (await controller.session(2)).hello.placement.region == "cn-hongkong"
    assert "stream lost" not in agent.said()


async def test_sighup_with_a_new_controller_address_goes_there(pair: Pair, tmp_path: Path) -> None:
    controller, agent = pair
    agent.start()
    session = await controller.session()
    agent.configure(controller=f"localhost:{controller.port}")
    agent.signal(signal.SIGHUP)
    await controller.session(2)
    assert session.over.is_set()


async def test_a_removed_agent_says_so_and_retries_slowly(pair: Pair) -> None:
    controller, agent = pair
    controller.refuse = grpc.StatusCode.PERMISSION_DENIED
    agent.start()
    await agent.until_said("refuses this agent")
    await asyncio.sleep(1.5)
    assert agent.said().count("refuses this agent") == 1
    agent.signal(signal.SIGTERM)
    assert await agent.wait() == 0


async def test_a_removed_agent_comes_back_only_with_another_token(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    await controller.session()
    await agent.kill()
    controller.refuse = grpc.StatusCode.PERMISSION_DENIED
    for token, enrolments in (("good", 1), ("second", 2)):
        controller.tokens[token] = controller.tokens.get(token, "")
        agent.configure(token=token)
        agent.start()
        await agent.until_said("refuses this agent")
        agent.signal(signal.SIGHUP)  # looks again at once
        await agent.until_said("refuses this agent", times=2)
        assert controller.enrolments == enrolments
        await agent.kill()
        agent.log.unlink()
    controller.refuse = None
    agent.start()
    assert (await controller.session(2)).hello.placement.name == "one"


async def test_a_stream_cut_in_the_middle_of_a_blob_begins_the_blob_again(pair: Pair) -> None:
    controller, agent = pair
    controller.want = controller.acknowledge = False
    agent.start()
    session = await controller.session()
    await session.assign("run-1")
    (result,) = await controller.until(lambda: session.all("run_result"))
    agent.signal(signal.SIGTERM)
    await agent.wait()
    content = random.Random(1).randbytes(24 << 20)
    name = hashlib.sha256(content).hexdigest()
    document = json.dumps({"primary": name}).encode()  # as if that had been collected
    kept = hashlib.sha256(document).hexdigest()
    for digest, blob in ((name, content), (kept, document)):
        (agent.state / "blobs" / digest).write_bytes(blob)
    for path in (agent.state / "outbox").glob("*.json"):
        path.write_text(path.read_text().replace(result.report.manifest_digest.hex(), kept))
    agent.start()
    second = await controller.session(2)
    await second.send(want=pb.Want(digests=[bytes.fromhex(name)]))
    await controller.until(lambda: second.all("blob_chunk"))
    await controller.stop()
    assert name not in controller.blobs
    await controller.start()
    third = await controller.session(3)
    await third.send(want=pb.Want(digests=[bytes.fromhex(name)]))
    await controller.until(lambda: name in controller.blobs)
    assert controller.blobs[name] == content
    assert max(len(c.data) for c in third.all("blob_chunk")) == 256 * 1024
    assert third.all("run_result")


async def test_heartbeats_and_results_pass_a_large_upload(pair: Pair) -> None:
    controller, agent = pair
    controller.want = controller.acknowledge = False
    controller.heartbeat_interval = timedelta(seconds=0.05)
    controller.seconds_a_chunk = 0.1
    agent.start()
    session = await controller.session()
    content = random.Random(2).randbytes(24 << 20)
    name = hashlib.sha256(content).digest()
    (agent.state / "blobs" / name.hex()).write_bytes(content)
    await session.send(want=pb.Want(digests=[name]))
    await session.assign("run-1")
    await controller.until(lambda: all(map(session.all, ("blob_chunk", "heartbeat", "run_progress"))))
    assert name.hex() not in controller.blobs, "the upload is still under way"
    controller.seconds_a_chunk = 0.0
    await controller.until(lambda: name.hex() in controller.blobs)


async def test_a_full_disk_fails_the_run_with_a_sentence_and_the_agent_lives_on(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    session = await controller.session()
    journal, away = agent.state / "journal", agent.state / "away"
    journal.rename(away)  # nothing can be written there now, also by root
    journal.write_text("")
    await session.assign("run-1")
    (result,) = await controller.until(lambda: session.all("run_result"))
    assert result.outcome == pb.SCAN_OUTCOME_FAILED
    assert "cannot write to" in result.error
    journal.unlink()
    away.rename(journal)
    await session.assign("run-2")
    await controller.until(lambda: len(session.all("run_result")) == 2)
    assert session.all("run_result")[1].outcome == pb.SCAN_OUTCOME_SUCCEEDED


async def test_a_real_installation_is_reported_whole_and_unchanged_costs_only_its_digest(
    pair: Pair, centos_host: Any
) -> None:
    controller, agent = pair
    agent.configure(root=centos_host.root)
    agent.start()
    session = await controller.session()
    assert session.hello.os_id == "centos"
    await session.assign("run-1")
    (first,) = await controller.until(lambda: session.all("run_result"))
    digest = first.report.manifest_digest.hex()
    await controller.until(lambda: digest in controller.blobs)
    told = manifest.decode(controller.blobs[digest])
    assert (told.problems, told.package_count) == ((), 6)
    await session.assign("run-2")
    _, second = await controller.until(lambda: len(r := session.all("run_result")) == 2 and r)
    assert second.report.manifest_digest == first.report.manifest_digest
    assert {p.step for p in session.all("run_progress")} == {"accepted", "refreshing", "collecting", "sending"}


async def test_the_certificate_is_renewed_in_time_and_the_new_one_is_used(pair: Pair) -> None:
    controller, agent = pair
    controller.lifetime = timedelta(
        seconds=60
    )  # of which, with the five minutes backwards, a third is left from the start
    agent.start()
    await controller.until(lambda: controller.renewals)
    await controller.session(2)
    assert controller.renewals == 1
    assert controller.enrolments == 1


async def test_self_reports_come_at_the_pace_the_controller_gives(pair: Pair) -> None:
    controller, agent = pair
    controller.report_interval = timedelta(seconds=1)
    controller.heartbeat_interval = timedelta(seconds=0.2)
    agent.start()
    session = await controller.session()
    await controller.until(lambda: len(session.all("self_report")) >= 2)
    first, second = session.all("self_report")[:2]
    assert first.id != second.id
    assert session.all("heartbeat")
    assert (agent.state / "last_report").exists()


async def test_two_agents_cannot_share_a_state_folder(pair: Pair) -> None:
    controller, agent = pair
    agent.start()
    await controller.session()
    first, agent.process = agent.process, None
    agent.start()
    assert await agent.wait() == 1
    assert "another uniagent is running" in agent.said()
    agent.process = first
