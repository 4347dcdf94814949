"""The controller's settings, and what it keeps on disk: CA, certificates, tokens. What is there is used; what is broken is said."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from common import digest, settings, tls
from common.errors import Conflict, InvalidArgument, Rejected
from controller.accounts.model import Account
from controller.api.authority import SERVER_LIFETIME, open_keyring
from controller.api.operators import first_token, leave_token, take_tokens
from controller.api.recording import Recorder
from controller.app import seed
from controller.compliance.presets import public_baselines
from controller.fleet.model import ResourceType, Role
from controller.settings import Settings, parse_listen
from controller.store.memory import MemoryStore
from tests.builders import NOW, a_baseline, a_user
from tests.fakes import FakeClock, SequentialIds

HOSTS = ("127.0.0.1", "localhost")
DAY = timedelta(days=1)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_everything_and_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    made = open_keyring(tmp_path, HOSTS, NOW)
    assert (mode(tmp_path / "ca"), mode(tmp_path / "ca/ca.key"), mode(tmp_path / "server.pem")) == (0o700, 0o600, 0o600)
    join = tls.parse_join((tmp_path / "join.pem").read_bytes())
    assert join == made.join
    assert join.ca_pem == made.authority.ca_pem
    assert tls.uri_of(join.credential.chain_pem) == tls.JOIN_URI


def test_the_next_start_finds_the_same(tmp_path: Path) -> None:
    made, again = open_keyring(tmp_path, HOSTS, NOW), open_keyring(tmp_path, HOSTS[::-1], NOW + DAY)
    assert (again.authority.ca_pem, again.server, again.join) == (made.authority.ca_pem, made.server, made.join)


def test_the_server_s_certificate_is_made_anew_when_its_names_change(tmp_path: Path) -> None:
    made, again = open_keyring(tmp_path, HOSTS, NOW), open_keyring(tmp_path, (*HOSTS, "patch.example.com"), NOW)
    assert again.server != made.server
    assert again.authority.ca_pem == made.authority.ca_pem


@pytest.mark.parametrize(("spent", "renewed"), [(0.6, False), (0.7, True), (1.5, True)])
def test_the_server_s_certificate_is_made_anew_when_less_than_a_third_is_left(
    tmp_path: Path, spent: float, *, renewed: bool
) -> None:
    made = open_keyring(tmp_path, HOSTS, NOW)
    again = open_keyring(tmp_path, HOSTS, NOW + SERVER_LIFETIME * spent)
    assert (again.server != made.server) == renewed
    assert tls.not_after(again.server.chain_pem) > NOW + SERVER_LIFETIME * spent


@pytest.mark.parametrize("name", ["server.pem", "join.pem"])
@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"])
def test_a_broken_certificate_that_can_be_made_again_is_made_again(tmp_path: Path, name: str, content: bytes) -> None:
    made = open_keyring(tmp_path, HOSTS, NOW)
    (tmp_path / name).write_bytes(content)
    again = open_keyring(tmp_path, HOSTS, NOW)
    assert again.authority.ca_pem == made.authority.ca_pem
    assert (tmp_path / name).read_bytes() != content


@pytest.mark.parametrize("name", ["ca.pem", "ca.key"])
@pytest.mark.parametrize("content", [None, b"", b"rubbish"])
def test_a_broken_ca_is_never_replaced_for_that_would_shut_every_agent_out(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    open_keyring(tmp_path, HOSTS, NOW)
    file = tmp_path / "ca" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Rejected, match=r"ca"):
        open_keyring(tmp_path, HOSTS, NOW)
    assert file.exists() == (content is not None)


def test_a_ca_of_one_s_own_is_taken(tmp_path: Path) -> None:
    own = tls.Authority.create("ours", NOW, 365 * DAY)
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca/ca.pem").write_bytes(own.chain_pem)
    (tmp_path / "ca/ca.key").write_bytes(own.key_pem)
    assert open_keyring(tmp_path, HOSTS, NOW).authority.ca_pem == own.chain_pem


def test_with_another_ca_the_certificates_of_the_old_one_are_not_used(tmp_path: Path) -> None:
    made = open_keyring(tmp_path, HOSTS, NOW)
    own = tls.Authority.create("ours", NOW, 365 * DAY)
    (tmp_path / "ca/ca.pem").write_bytes(own.chain_pem)
    (tmp_path / "ca/ca.key").write_bytes(own.key_pem)
    again = open_keyring(tmp_path, HOSTS, NOW)
    assert again.server != made.server
    assert again.join.ca_pem == own.chain_pem


def test_a_ca_that_has_ended_is_said(tmp_path: Path) -> None:
    open_keyring(tmp_path, HOSTS, NOW)
    with pytest.raises(Rejected, match="ended at"):
        open_keyring(tmp_path, HOSTS, NOW + 4000 * DAY)


def test_a_first_start_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "ca.new").mkdir()
    (tmp_path / "ca.new/ca.key").write_bytes(b"half")
    open_keyring(tmp_path, HOSTS, NOW)
    assert not (tmp_path / "ca.new").exists()


async def test_the_first_admin_s_token_is_made_once_and_kept_for_the_owner_only(tmp_path: Path) -> None:
    store, ids = MemoryStore(), SequentialIds()
    secret = await first_token(tmp_path, store.accounts, ids, NOW, Recorder(store.audit, FakeClock()).note)
    assert secret is not None
    assert (tmp_path / "admin-token").read_text().strip() == secret
    assert mode(tmp_path / "admin-token") == 0o600
    token, user = await store.accounts.find_token(digest.of(secret.encode()))
    assert (token.role, token.expires_at) == (Role.ADMIN, None)
    assert (user.name, user.account, user.role, user.enterprise_projects) == ("admin", "default", Role.ADMIN, ())
    assert await first_token(tmp_path, store.accounts, ids, NOW, Recorder(store.audit, FakeClock()).note) is None
    [made] = await store.audit.entries_after(0, 9)
    assert (made.deed.method, made.deed.subject) == ("operator token made", token.id)


async def test_a_token_that_was_left_is_taken_once_and_its_secret_was_never_on_disk(tmp_path: Path) -> None:
    store = MemoryStore()
    note = Recorder(store.audit, FakeClock()).note
    secret = leave_token(tmp_path, "eve", SequentialIds(), NOW)
    [file] = (tmp_path / "operators").iterdir()
    assert secret not in file.read_text()
    assert mode(file) == 0o600
    (tmp_path / "operators/broken.json").write_text("{}")
    for _ in range(2):
        assert await take_tokens(tmp_path, store.accounts, note) == ""
    token, eve = await store.accounts.find_token(digest.of(secret.encode()))
    assert (eve.name, eve.account, eve.role, token.role) == ("eve", "default", Role.ADMIN, Role.ADMIN)
    [taken] = await store.audit.entries_after(0, 9)
    assert (taken.deed.method, taken.deed.subject) == ("operator token taken", token.id)
    assert secret not in str(taken)


async def test_a_left_token_is_another_one_of_an_admin_that_there_is(tmp_path: Path) -> None:
    store = MemoryStore()
    note = Recorder(store.audit, FakeClock()).note
    await store.accounts.add_account(Account("acme", NOW))
    await store.accounts.add_user(a_user(1, Role.ADMIN, name="eve", account="acme"))
    secret = leave_token(tmp_path, "eve", SequentialIds(), NOW, "acme")
    await take_tokens(tmp_path, store.accounts, note)
    _, eve = await store.accounts.find_token(digest.of(secret.encode()))
    assert eve.account == "acme"
    [taken] = await store.audit.entries_after(0, 9)
    assert taken.deed.account == "acme"


@pytest.mark.parametrize(
    ("name", "account", "sentence"),
    [
        ("new", "acme", "there is no account 'acme'; an admin of default can make it: patchctl accounts create acme"),
        ("ann", "beta", "the name ann is taken by a user of the account default; choose another --name"),
        ("ann", "default", "the user ann of the account default is VIEWER; choose another --name"),
        ("bob", "default", "the user bob of the account default is disabled; choose another --name"),
    ],
)
async def test_a_left_token_that_cannot_be_taken_stays_and_says_why(
    tmp_path: Path, name: str, account: str, sentence: str
) -> None:
    store = MemoryStore()
    await store.accounts.add_account(Account("beta", NOW))
    await store.accounts.add_user(a_user(1, Role.VIEWER, name="ann"))
    await store.accounts.add_user(a_user(2, Role.ADMIN, name="bob", disabled_at=NOW))
    secret = leave_token(tmp_path, name, SequentialIds(), NOW, account)
    note, shown = Recorder(store.audit, FakeClock()).note, digest.of(secret.encode())
    assert await take_tokens(tmp_path, store.accounts, note, shown) == f"the token O-00000001 was not taken: {sentence}"
    assert await take_tokens(tmp_path, store.accounts, note, digest.of(b"another")) == ""
    assert len(list((tmp_path / "operators").iterdir())) == 1
    assert not await store.accounts.has_tokens()
    assert await store.audit.entries_after(0, 9) == ()
    if account == "acme":  # what was missing comes: it is taken then
        await store.accounts.add_account(Account("acme", NOW))
        assert await take_tokens(tmp_path, store.accounts, note, shown) == ""
        assert await store.accounts.has_tokens()


async def test_public_baselines_are_seeded_once() -> None:
    store = MemoryStore()
    await seed(store.baselines, NOW)
    first = await store.baselines.baselines()
    await seed(store.baselines, NOW + DAY)
    assert await store.baselines.baselines() == first
    assert len(first) == len(public_baselines())
    assert len(await store.baselines.defaults()) == len(first)


async def test_seeding_leaves_the_default_that_an_operator_chose() -> None:
    store = MemoryStore()
    await seed(store.baselines, NOW)
    await store.baselines.put_baseline(a_baseline("Mine"))
    await store.baselines.set_default("b-Mine")
    await seed(store.baselines, NOW + DAY)
    assert (await store.baselines.defaults())[ResourceType.ECS, "CentOS"] == "b-Mine"


async def test_a_public_baseline_that_a_release_changed_becomes_a_new_version() -> None:
    store, preset = MemoryStore(), public_baselines()[0]
    await store.baselines.put_baseline(replace(preset, description="as it was", version=1))
    await seed(store.baselines, NOW)
    newest = await store.baselines.get_baseline(preset.id)
    assert (newest.version, newest.description, newest.created_at) == (2, preset.description, NOW)


async def test_a_name_that_an_operator_took_before_does_not_stop_the_start() -> None:
    store, preset = MemoryStore(), public_baselines()[0]
    await store.baselines.put_baseline(a_baseline(preset.name))
    await seed(store.baselines, NOW)
    assert len(await store.baselines.baselines()) == len(public_baselines())
    with pytest.raises(Conflict):
        await store.baselines.put_baseline(preset)


def test_settings_need_nothing_but_a_folder(tmp_path: Path) -> None:
    made = Settings(tmp_path)
    assert made.listen == "127.0.0.1:8443"
    assert {"127.0.0.1", "localhost"} <= set(made.hosts)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('listen = "8443"', "listen"),
        ('listen = "host:99999"', "listen"),
        ('listen = "::1:8443"', "listen"),
        ("hosts = []", "hosts"),
        ('hosts = ["a b"]', "hosts"),
        ('heartbeat_interval = "0s"', "heartbeat_interval"),
        ('heartbeat_interval = "soon"', "heartbeat_interval"),
        ('report_interval = "10ms"', "report_interval"),
        ('stream_life = "1s"', "stream_life"),
        ('certificate_lifetime = "999d"', "certificate_lifetime"),
        ("max_message_bytes = 1", "max_message_bytes"),
        ("max_blob_bytes = 1", "max_blob_bytes"),
        ('log = "xml"', "log"),
        ('log_level = "loud"', "log_level"),
        ("colour = 1", "colour"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, line: str, field: str) -> None:
    (tmp_path / "c.toml").write_text(f'data = "d"\n{line}\n')
    with pytest.raises(InvalidArgument) as refused:
        settings.load(Settings, tmp_path / "c.toml")
    assert refused.value.violations[0].field == field


def test_a_settings_file_may_set_everything_and_its_paths_begin_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'data = "d"\nlisten = "[::1]:0"\nhosts = ["a.example", "::1"]\nheartbeat_interval = "10s"\nreport_interval = "0s"\n'
        'certificate_lifetime = "7d"\nmax_message_bytes = 1048576\nmax_blob_bytes = 1048576\nstream_life = "1h"\n'
        'log = "json"\nlog_level = "debug"\n'
    )
    made = settings.load(Settings, tmp_path / "c.toml")
    assert (made.data, made.report_interval, made.log) == (tmp_path / "d", timedelta(0), "json")
    assert parse_listen(made.listen) == ("[::1]", 0)
