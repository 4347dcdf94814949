"""How the agent talks: what goes out first, how it waits, what it translates, what it reads of its settings."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidArgument
from uniagent import host, settings
from uniagent.backoff import Backoff
from uniagent.blobs import Blobs
from uniagent.identity import Identity
from uniagent.messages import BlobChunk, BlobGone, Heartbeat, Outcome, RunResult
from uniagent.notify import notify, watchdog_seconds
from uniagent.outbox import Outbox
from uniagent.stream import Outgoing
from uniagent.transport import Credential
from uniagent.work import next_report

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@given(st.integers(0, 2**32), st.integers(1, 80))
def test_waits_are_a_random_part_of_a_bound_that_doubles_up_to_a_cap(seed: int, tries: int) -> None:
    backoff = Backoff(random.Random(seed).random, base=1.0, cap=60.0)
    waits = [backoff.next() for _ in range(tries)]
    assert all(0 <= wait <= min(60.0, 2.0**n) for n, wait in enumerate(waits))
    backoff.reset()
    assert backoff.next() <= 1.0


def test_slow_waits_stay_between_half_a_minute_and_five() -> None:
    for dice, expected in (
        (lambda: 0.0, [30.0] * 8),
        (lambda: 1.0, [60.0, 90.0, 150.0, *[270.0, 300.0, 300.0, 300.0, 300.0]]),
    ):
        backoff = Backoff(dice, base=30.0, cap=300.0, least=30.0)
        assert [backoff.next() for _ in range(8)] == expected


@pytest.fixture
def outgoing(tmp_path: Path) -> Outgoing:
    return Outgoing(Outbox(tmp_path / "outbox"), Blobs(tmp_path / "blobs"))


async def test_nothing_small_waits_for_more_than_one_piece_of_a_large_upload(tmp_path: Path) -> None:
    outbox, blobs = Outbox(tmp_path / "outbox"), Blobs(tmp_path / "blobs")
    outgoing = Outgoing(outbox, blobs)
    content = os.urandom(1 << 20)
    name = hashlib.sha256(content).hexdigest()
    (tmp_path / "blobs" / name).write_bytes(content)
    outgoing.want((name, name))
    said = [await outgoing.next()]
    result = RunResult("m-1", "run-1", Outcome.FAILED, "no")
    outbox.put(result)
    outgoing.say(Heartbeat())
    said += [await outgoing.next() for _ in range(5)]
    assert [type(m) for m in said] == [BlobChunk, Heartbeat, RunResult, BlobChunk, BlobChunk, BlobChunk]
    outgoing.close(quietly=True)
    assert await outgoing.next() is None


async def test_it_leaves_quietly_only_after_all_that_waits_and_otherwise_at_once(outgoing: Outgoing) -> None:
    outgoing.want(("ab" * 32,))
    outgoing.close(quietly=True)
    assert await outgoing.next() == BlobGone("ab" * 32)
    outgoing.say(Heartbeat())
    outgoing.close()
    outgoing.close(quietly=True)
    assert await outgoing.next() is None


@pytest.mark.parametrize(
    ("last", "jitter", "due"),
    [
        (None, 0.0, timedelta(0)),
        (None, 1.0, timedelta(seconds=10)),
        (NOW, 0.0, timedelta(minutes=54)),
        (NOW, 1.0, timedelta(minutes=66)),
        (NOW - timedelta(hours=5), 0.5, timedelta(hours=-4)),
        (NOW + timedelta(days=9), 0.5, timedelta(hours=1)),
    ],
)
def test_the_first_report_comes_soon_and_then_one_an_interval(
    last: datetime | None, jitter: float, due: timedelta
) -> None:
    assert next_report(last, timedelta(hours=1), NOW, jitter) == NOW + due


def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left() -> None:
    me = Identity("i-1", Credential(b"", b"", b""), NOW, NOW + timedelta(days=30))
    assert me.renew_at() == NOW + timedelta(days=20)


def load(folder: Path, text: str) -> settings.Settings:
    path = folder / "uniagent.toml"
    path.write_text(text)
    return settings.load(path)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('controller = "host"', "controller"),
        ('controller = "host:0"', "controller"),
        ('controller = "::1:8443"', "controller"),
        ('resource_type = "VM"', "resource_type"),
        ('log = "xml"', "log"),
        ('log_level = "loud"', "log_level"),
        ("nice = 20", "nice"),
        (f'name = "{"x" * 65}"', "name"),
        ('token = "a"\ntoken_file = "b"', "token"),
        ("tags = { a = 1 }", "tags"),
        ('colour = "red"', "colour"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, line: str, key: str) -> None:
    text = line if line.startswith("controller") else f'controller = "host:8443"\n{line}'
    with pytest.raises(InvalidArgument) as wrong:
        load(tmp_path, text)
    assert key in {violation.field for violation in wrong.value.violations}


def test_the_name_is_the_settings_then_the_roots_then_the_hosts(tmp_path: Path) -> None:
    root = tmp_path / "web-01"
    (root / "etc").mkdir(parents=True)
    base = 'controller = "[::1]:8443"\n'
    assert settings.split_address(load(tmp_path, base).controller) == ("::1", 8443)
    assert load(tmp_path, base + 'name = "mine"').instance_name() == "mine"
    assert load(tmp_path, base + 'root = "web-01"').instance_name() == "web-01"
    (root / "etc/hostname").write_text("web-01.example.com\n")
    assert load(tmp_path, base + 'root = "web-01"').instance_name() == "web-01.example.com"
    assert load(tmp_path, base).instance_name() == socket.gethostname()[:64]


async def test_hello_says_the_version_of_the_last_report_as_long_as_the_os_is_the_same(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    release = root / "etc/os-release"
    release.write_text('ID="centos"\nVERSION_ID="7"\nPRETTY_NAME="CentOS Linux 7 (Core)"\nBROKEN="\n')
    current = load(tmp_path, 'controller = "127.0.0.1:8443"\nroot = "root"\nstate = "."')
    first = await host.look(current)
    assert (first.os_id, first.os_version, first.boot_id, first.ip_address) == ("centos", "7", "", "127.0.0.1")
    host.remember_os(tmp_path, b'{"os": {"pretty_name": "CentOS Linux 7 (Core)", "version": "7.9"}}')
    assert (await host.look(current)).os_version == "7.9"
    release.write_text('ID="centos"\nVERSION_ID="8"\nPRETTY_NAME="CentOS Linux 8"\n')
    assert (await host.look(current)).os_version == "8"


@pytest.mark.parametrize(
    "address", [lambda folder: str(folder / "notify"), lambda folder: f"@patchwarden-test-{os.getpid()}"]
)
def test_systemd_hears_a_datagram_and_without_it_nothing_happens(
    tmp_path: Path, address: Callable[[Path], str]
) -> None:
    name = address(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if name.startswith("@") else name)
        systemd.settimeout(60)
        notify("READY=1", {"NOTIFY_SOCKET": name})
        notify("READY=1", {})
        assert systemd.recv(100) == b"READY=1"


def test_the_watchdog_is_fed_twice_as_often_as_it_asks() -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000"}) == 15
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_seconds({}) is None
