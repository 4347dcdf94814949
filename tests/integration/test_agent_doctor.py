"""`uniagent doctor` names what is wrong and what to do, and the command line is what the manual says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common import VERSION
from common.manifest import Manifest, OsRelease, Problem, ProblemCode, Repository
from uniagent.doctor import Result, judge, render

sys.path.insert(0, str(Path(__file__).resolve().parent))

from agent_controller import WAIT, Agent, Controller, running

Pair = tuple[Controller, Agent]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    folder = tmp_path / "agent"
    folder.mkdir()
    async with running(folder) as both:
        yield both


async def uniagent(*words: str) -> tuple[int, str, str]:
    import asyncio

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uniagent", *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), WAIT)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_on_a_healthy_host_every_check_is_ok(pair: Pair, centos_host: Any) -> None:
    controller, agent = pair
    agent.configure(root=centos_host.root)
    agent.start()
    await controller.session()
    status, out, _ = await uniagent("doctor", "--config", str(agent.config), "--output", "json")
    checks = {check["what"]: check for check in json.loads(out)}
    unhappy = {what for what, check in checks.items() if check["result"] != "ok"}
    assert unhappy == {"controller health"}  # the scripted controller has no health service
    assert status == 1
    assert {"settings", "state", "identity", "join file", "controller TLS", "RPMDB", "repository updates"} <= set(
        checks
    )


async def test_a_broken_host_is_told_what_is_wrong_and_what_to_do(pair: Pair, own_centos_host: Any) -> None:
    controller, agent = pair
    (own_centos_host.root / "etc/yum.repos.d/updates.repo").write_text(
        "[updates]\nname=updates\nbaseurl=file:///nowhere\nenabled=1\ngpgcheck=0\n"
    )
    shutil.rmtree(own_centos_host.root / "var/cache", ignore_errors=True)
    agent.configure(root=own_centos_host.root, join="nowhere.pem")
    await controller.stop()
    status, out, _ = await uniagent("doctor", "--config", str(agent.config))
    lines = {line.split()[1]: line for line in out.splitlines()}
    assert status == 1
    assert lines["state"].startswith("FAIL  state")
    assert "mkdir -p" in lines["state"]
    assert lines["identity"].startswith("warn")
    assert "copy join.pem from the controller" in out
    assert lines["controller"].startswith("FAIL")
    assert lines["REPO_ERROR"].startswith("FAIL")
    assert "updates:" in lines["REPO_ERROR"]
    assert lines["RPMDB"].startswith("ok")


async def test_wrong_settings_are_the_first_thing_it_says(tmp_path: Path) -> None:
    config = tmp_path / "uniagent.toml"
    config.write_text('controller = "nowhere"\n')
    status, out, _ = await uniagent("doctor", "--config", str(config))
    assert status == 1
    assert out.startswith("FAIL  settings")
    assert "must be host:port" in out


async def test_the_command_line_says_its_version_and_refuses_what_it_does_not_know() -> None:
    assert (await uniagent("version"))[:2] == (0, f"{VERSION}\n")
    status, _, err = await uniagent("dance")
    assert status == 2
    assert "invalid choice: 'dance'" in err
    status, out, _ = await uniagent("--help")
    assert status == 0
    assert {"run", "doctor", "inventory", "version"} <= set(out.split())


def test_the_words_are_those_of_the_undetermined_reasons() -> None:
    from datetime import UTC, datetime

    now = datetime(2026, 11, 22, tzinfo=UTC)
    told = Manifest(
        OsRelease("centos", "7.9", "CentOS"),
        problems=(Problem(ProblemCode.RPMDB, "rpm is not installed"), Problem(ProblemCode.FACTS, "no memory size")),
        repositories=(Repository("base", timestamp=1), Repository("updates", "404 Not Found")),
    )
    found = {check.what: check for check in judge(told, now)}
    assert {w: c.result for w, c in found.items()} == {
        "RPMDB": Result.FAIL,
        "FACTS": Result.WARN,
        "package manager": Result.FAIL,
        "METADATA_STALE": Result.WARN,
        "REPO_ERROR": Result.FAIL,
        "NO_ADVISORIES": Result.WARN,
    }
    assert render(found["REPO_ERROR"]).endswith(
        "updates: 404 Not Found; check baseurl and network of updates, then dnf makecache"
    )
    bare = {check.what for check in judge(Manifest(OsRelease()), now)}
    assert "NO_REPOS" in bare
