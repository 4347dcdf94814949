"""Each channel to a real server on loopback: what arrives, and what is said when a server refuses, hangs or is not there."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import ssl
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from common import tls
from common.errors import InvalidArgument
from controller.channels import child, through_apprise
from controller.channels.file import ChannelsFile
from controller.channels.places import CannotSend, idempotency_key, job_for, message_id
from controller.channels.settings import ChannelSettings, load_channels, parse_channels
from controller.channels.transport import ChildTransport, NotSent, mail_domain
from controller.notify.model import Channel, Message
from controller.notify.template import render
from tests.builders import a_message, a_notice
from tests.ports import free_port
from tests.receivers import HANG, Hook, Post, http_server, smtp_server

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
PASSWORD = "s3cret-password"


def settings(**table: Any) -> ChannelSettings:
    return parse_channels(table, Path())


def mail_settings(port: int, scheme: str = "mailto", login: str = "", more: str = "") -> ChannelSettings:
    url = f"{scheme}://{login}127.0.0.1:{port}?from=patchwarden@example.com&to={{address}}{more}"
    return settings(EMAIL={"url": url})


async def send(channels: ChannelSettings, message: Message | None = None, seconds: float = 30.0) -> None:
    message = message or a_message(a_notice())
    await ChildTransport(lambda: channels, "pw.example.com", seconds).send(message, render(a_notice(), message))


def over(channel: Channel, address: str) -> Message:
    return a_message(a_notice(), channel=channel, address=address)


@pytest.fixture(scope="module")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    folder, now = tmp_path_factory.mktemp("tls"), datetime.now(UTC)
    authority = tls.Authority(tls.Authority.create("a test", now, timedelta(days=1)))
    served = authority.issue_server(("127.0.0.1", "localhost"), now, timedelta(days=1))
    (folder / "ca.pem").write_bytes(authority.ca_pem)
    (folder / "key.pem").write_bytes(served.key_pem)
    (folder / "chain.pem").write_bytes(served.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return context, folder / "ca.pem"


class TestEmail:
    async def test_it_arrives_with_its_words_and_its_own_message_id(self) -> None:
        message = a_message(a_notice())
        with smtp_server() as box:
            await send(mail_settings(box.port), message)
        (mail,) = box.mails
        assert mail["subject"] == "Patchwarden: a test"
        assert mail["to"] == "lin@example.com"
        assert "patchwarden@example.com" in mail["from"]
        assert mail.get_all("message-id") == [message_id(message, "pw.example.com")]
        assert mail.get_content_type() == "text/plain"
        assert "ops asked for this test at 2026-11-22 12:41:00 UTC." in mail.get_content()

    async def test_it_has_the_same_message_id_each_time(self) -> None:
        with smtp_server() as box:
            for _ in range(2):
                await send(mail_settings(box.port))
        first, second = box.mails
        assert first["message-id"] == second["message-id"]

    async def test_through_starttls_with_a_login_to_a_server_that_is_verified(
        self, server_tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context, ca = server_tls
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        with smtp_server(context=context) as box:
            await send(mail_settings(box.port, "mailtos", f"ops:{PASSWORD}@", "&user=ops"))
        assert box.encrypted == [True]
        assert box.logins == [(b"ops", PASSWORD.encode())]

    async def test_a_server_that_nobody_vouches_for_gets_nothing(self, server_tls: tuple[ssl.SSLContext, Path]) -> None:
        context, _ = server_tls
        with smtp_server(context=context) as box, pytest.raises(NotSent, match=r"(?i)certificate verify failed"):
            await send(mail_settings(box.port, "mailtos", f"ops:{PASSWORD}@"))
        assert (box.mails, box.logins) == ([], [])

    async def test_a_wrong_password_is_said_and_not_shown(
        self, server_tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context, ca = server_tls
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        with smtp_server(context=context) as box, pytest.raises(NotSent) as caught:
            await send(mail_settings(box.port, "mailtos", "ops:wrong-password@", "&user=ops"))
        assert "535" in str(caught.value)
        assert "wrong-password" not in str(caught.value)

    async def test_a_refusal_is_said_in_the_servers_words(self) -> None:
        with smtp_server(answers=["554 no mail today"]) as box, pytest.raises(NotSent, match="no mail today"):
            await send(mail_settings(box.port))
        assert box.mails == []

    async def test_a_server_that_is_not_there(self) -> None:
        with pytest.raises(NotSent, match="refused"):
            await send(mail_settings(free_port()))

    async def test_a_server_that_hangs_is_left_in_time(self) -> None:
        with smtp_server(answers=[HANG]) as box, pytest.raises(NotSent, match="was not accepted within 3 s"):
            await send(mail_settings(box.port), seconds=3)


class TestWebhook:
    def channels(self, hook: Hook, scheme: str = "http", **more: str) -> ChannelSettings:
        return settings(WEBHOOK={"siem": {"url": f"{scheme}://127.0.0.1:{hook.port}/in?x=1", "secret": SECRET, **more}})

    async def test_a_document_arrives_signed_as_standard_webhooks_says(self) -> None:
        message = over(Channel.WEBHOOK, "siem")
        with http_server() as hook:
            await send(self.channels(hook), message)
        (post,) = hook.posts
        assert post.path == "/in?x=1"
        assert post.headers["content-type"].startswith("application/json")
        assert post.headers["webhook-id"] == idempotency_key(message)
        assert post.document["schema"] == "patchwarden.notification/1"
        assert post.document["event"] == "TEST"
        signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body
        mac = hmac.new(b"0123456789abcdef01234567", signed, hashlib.sha256).digest()
        assert post.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()

    async def test_the_example_of_standard_webhooks_has_its_signature(self) -> None:
        from controller.channels.webhook import signature

        # The example in the specification's reference libraries.
        secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
        expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected

    async def test_over_tls_to_a_server_of_a_ca_that_is_named(self, server_tls: tuple[ssl.SSLContext, Path]) -> None:
        context, ca = server_tls
        with http_server(context=context) as hook:
            await send(self.channels(hook, "https", ca_file=str(ca)), over(Channel.WEBHOOK, "siem"))
            with pytest.raises(NotSent, match=r"(?i)certificate verify failed"):
                await send(self.channels(hook, "https"), over(Channel.WEBHOOK, "siem"))
        assert len(hook.posts) == 1

    async def test_an_error_of_the_server_is_said_and_the_next_attempt_is_the_same_message(self) -> None:
        message = over(Channel.WEBHOOK, "siem")
        with http_server([500]) as hook:
            with pytest.raises(NotSent, match=r"127\.0\.0\.1 answered 500 Internal Server Error"):
                await send(self.channels(hook), message)
            await send(self.channels(hook), message)
        first, second = hook.posts
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body

    async def test_a_redirect_is_not_followed(self) -> None:
        with http_server() as elsewhere, http_server([302]) as hook:
            hook.location = f"http://127.0.0.1:{elsewhere.port}/"
            with pytest.raises(NotSent, match="a redirect, which is not followed"):
                await send(self.channels(hook), over(Channel.WEBHOOK, "siem"))
        assert elsewhere.posts == []

    async def test_a_server_that_hangs_is_left_in_time(self) -> None:
        with http_server([HANG]) as hook, pytest.raises(NotSent, match="was not accepted within 2 s"):
            await send(self.channels(hook), over(Channel.WEBHOOK, "siem"), seconds=2)

    async def test_a_server_that_is_not_there(self) -> None:
        with pytest.raises(NotSent, match="refused"):
            await send(self.channels(Hook(free_port())), over(Channel.WEBHOOK, "siem"))


async def test_an_sms_goes_through_the_gateway_that_the_settings_name() -> None:
    with http_server() as hook:
        hook.answer = b'{"result": {"message_id": "748", "status": "ok"}}'
        channels = settings(SMS={"url": f"smseagle://a-token-of-ours@127.0.0.1:{hook.port}/{{address}}"})
        await send(channels, over(Channel.SMS, "+8613800000000"))
    (post,) = hook.posts
    assert b"+8613800000000" in post.body
    assert b"You are reached" in post.body


CHAT = [
    (Channel.WECOM, {"places": {"ops": "wecombot://botkey-12345"}}, "ops", "wecombot", "notify_url"),
    (Channel.DINGTALK, {"places": {"ops": "dingtalk://abcdefabcdef/"}}, "ops", "dingtalk", "notify_url"),
    (Channel.DINGTALK, {"url": "dingtalk://abcdefabcdef/{address}"}, "13800000000", "dingtalk", "notify_url"),
    (Channel.LARK, {"places": {"ops": "lark://abcdef-abc12345"}}, "ops", "lark", "notify_url"),
    (Channel.LARK, {"places": {"ops": "feishu://abcdefabc12345"}}, "ops", "feishu", "notify_url"),
]


@pytest.mark.parametrize(("channel", "table", "address", "plugin", "where"), CHAT)
def test_each_chat_gets_the_text_as_its_robot_takes_it(
    channel: Channel, table: Mapping[str, Any], address: str, plugin: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The robots' hosts stand in apprise; here they are this machine. So the job is done in this process, not in one of its own."""
    import importlib

    module = importlib.import_module(f"apprise.plugins.{plugin}")
    plugins = (v for n, v in vars(module).items() if n.startswith("Notify") and hasattr(v, where))
    kind = next(found for found in plugins if found.__module__ == module.__name__)
    message = over(channel, address)
    level, handlers = logging.getLogger("apprise").level, logging.getLogger("apprise").handlers
    with http_server() as hook:
        monkeypatch.setattr(kind, where, f"http://127.0.0.1:{hook.port}/robot/")
        job = job_for(settings(**{channel.value: table}), message, render(a_notice(), message), "x")
        try:
            assert child.perform(job.document) == {"sent": True}
        finally:
            logging.getLogger("apprise").setLevel(level)
            logging.getLogger("apprise").handlers = handlers
    (post,) = hook.posts
    assert "You are reached" in _text_of(post)


def _text_of(post: Post) -> str:
    return str(post.document)


class TestSettings:
    async def test_what_is_not_set_up_says_what_to_add(self) -> None:
        for message, said in (
            (
                over(Channel.SMS, "+86138"),
                r"no way to send SMS: add \[SMS\] to the file that notify names in its settings",
            ),
            (over(Channel.WEBHOOK, "siem"), "no place 'siem' for WEBHOOK; they have other"),
        ):
            with pytest.raises(CannotSend, match=said):
                await send(settings(WEBHOOK={"other": {"url": "https://x.example.com/", "secret": SECRET}}), message)

    async def test_a_url_that_apprise_does_not_know_is_hopeless_and_not_shown(self) -> None:
        with pytest.raises(CannotSend) as caught:
            await send(settings(EMAIL={"url": "nonsense://top-secret@host/{address}"}))
        assert "top-secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("table", "field"),
        [
            ({"FAX": {}}, "FAX"),
            ({"SMS": "x://y"}, "SMS"),
            ({"SMS": {}}, "SMS.url"),
            ({"SMS": {"url": "twilio://without/an/address"}}, "SMS.url"),
            ({"SMS": {"url": "{address}"}}, "SMS.url"),
            ({"SMS": {"uri": "x"}}, "SMS.uri"),
            ({"WECOM": {"places": {"a b": "wecombot://key"}}}, "WECOM.places"),
            ({"WEBHOOK": {"siem": {"url": "https://h/"}}}, "WEBHOOK.siem.secret"),
            ({"WEBHOOK": {"siem": {"url": "http://h.example.com/", "secret": SECRET}}}, "WEBHOOK.siem.url"),
            ({"WEBHOOK": {"siem": {"url": "https://u:p@h/", "secret": SECRET}}}, "WEBHOOK.siem.url"),
            ({"WEBHOOK": {"siem": {"url": "file:///etc/passwd", "secret": SECRET}}}, "WEBHOOK.siem.url"),
            ({"WEBHOOK": {"siem": {"url": "https://h/", "secret": "whsec_short"}}}, "WEBHOOK.siem.secret"),
        ],
    )
    def test_a_mistake_names_its_key(self, table: Mapping[str, Any], field: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            parse_channels(table, Path())
        assert field in [v.field for v in caught.value.violations]

    def test_credentials_are_in_no_representation(self) -> None:
        found = settings(
            EMAIL={"url": f"mailto://u:{PASSWORD}@h?to={{address}}"},
            WECOM={"places": {"ops": "wecombot://secret-key"}},
            WEBHOOK={"siem": {"url": "https://h/secret-path", "secret": SECRET}},
        )
        job = job_for(found, a_message(a_notice()), render(a_notice(), a_message(a_notice())), "x")
        for text in (repr(found), repr(job), str(job)):
            assert not [s for s in (PASSWORD, "secret-key", "secret-path", SECRET) if s in text]
        assert found.places() == {Channel.EMAIL: (), Channel.WECOM: ("ops",), Channel.WEBHOOK: ("siem",)}

    def test_the_file_must_not_be_everybodys_to_read(self, tmp_path: Path) -> None:
        file = tmp_path / "notify.toml"
        file.write_text('[WECOM.places]\nops = "wecombot://key"\n')
        file.chmod(0o644)
        with pytest.raises(InvalidArgument, match="everybody can read it"):
            load_channels(file)
        file.chmod(0o640)
        assert load_channels(file).places() == {Channel.WECOM: ("ops",)}
        file.write_text("[")
        with pytest.raises(InvalidArgument, match="is not TOML"):
            load_channels(file)
        with pytest.raises(InvalidArgument, match="cannot be read"):
            load_channels(tmp_path / "none")

    def test_the_sample_can_be_read(self) -> None:
        import tomllib

        sample = Path(__file__).parents[2] / "packaging/samples/notify.toml"
        found = parse_channels(tomllib.loads(sample.read_text()), sample.parent)
        assert set(found.places()) == {c for c in Channel if c is not Channel.DEFAULT}


class TestFile:
    GOOD, BETTER = '[WECOM.places]\nops = "wecombot://key"\n', '[WECOM.places]\ndev = "wecombot://other-key"\n'

    def a_file(self, tmp_path: Path, text: str = GOOD) -> Path:
        file = tmp_path / "notify.toml"
        file.write_text(text)
        file.chmod(0o600)
        return file

    def test_it_is_read_again_when_it_changes_however_soon_and_however(self, tmp_path: Path) -> None:
        file = self.a_file(tmp_path)
        channels = ChannelsFile(file)
        assert channels.now().places() == {Channel.WECOM: ("ops",)}
        file.write_text(self.BETTER)
        assert (channels.now().places(), channels.problem) == ({Channel.WECOM: ("dev",)}, "")
        other = tmp_path / "new"
        other.write_text(self.GOOD)
        other.chmod(0o600)
        other.replace(file)
        assert channels.now().places() == {Channel.WECOM: ("ops",)}

    @pytest.mark.parametrize("spoil", ["[", "[FAX]\n", None, "everybody"])
    def test_a_wrong_one_leaves_those_of_before_and_is_said_once_until_it_is_mended(
        self, tmp_path: Path, spoil: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = self.a_file(tmp_path)
        channels = ChannelsFile(file)
        if spoil is None:
            file.unlink()
        elif spoil == "everybody":
            file.chmod(0o644)
        else:
            file.write_text(spoil)
        for _ in range(3):
            assert channels.now().places() == {Channel.WECOM: ("ops",)}
            assert str(file) in channels.problem or "FAX" in channels.problem
        said = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
        assert said == ["the channels are wrong, the old ones stay"]
        assert "wecombot" not in caplog.text
        self.a_file(tmp_path, self.BETTER)
        assert (channels.problem, channels.now().places()) == ("", {Channel.WECOM: ("dev",)})

    def test_without_a_file_there_are_none_and_nothing_is_wrong(self) -> None:
        assert (ChannelsFile(None).now().places(), ChannelsFile(None).problem) == ({}, "")

    def test_one_that_is_wrong_from_the_start_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument, match="is not TOML"):
            ChannelsFile(self.a_file(tmp_path, "["))


def test_what_apprise_says_loses_every_credential() -> None:
    url = "mailtos://ops:p%40ssw0rd@smtp.example.com:587?from=a@example.com&to=lin@example.com"
    said = (
        'Connection error while submitting email to "smtp.example.com"\nSocket Exception: (535, b"p@ssw0rd of ops")\n'
    )
    why = through_apprise.why(said, url, "lin@example.com")
    assert why == 'Connection error while submitting email to "smtp.example.com": (535, b"*** of ops")'
    key = "wecombot://0123456789"
    assert "0123456789" not in through_apprise.why("Failed to post to https://x/send?key=0123456789", key, "ops")


def test_a_message_has_one_key_and_another_message_another() -> None:
    message = a_message(a_notice())
    assert idempotency_key(message) == idempotency_key(replace(message, attempts=5, error="x"))
    assert idempotency_key(message) != idempotency_key(replace(message, at=message.at + timedelta(days=1)))
    assert idempotency_key(message) != idempotency_key(over(Channel.SMS, "1"))


def test_message_ids_end_with_a_name_of_the_controller() -> None:
    assert mail_domain(("127.0.0.1", "localhost", "pw.example.com")) == "pw.example.com"
    assert mail_domain(("10.0.0.1", "::1", "*.example.com")) == "patchwarden"
