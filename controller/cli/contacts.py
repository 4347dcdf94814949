"""patchctl contact: who can be told, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.table import Column, Table
from controller.cli.telling import By, channel
from controller.cli.words import plural, word

if TYPE_CHECKING:
    from common.pb.v1 import notification_pb2 as pb

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The contact's name.")]


@dataclass(frozen=True, slots=True)
class Ways:
    """Where a contact is reached."""

    email: Annotated[str | None, typer.Option(metavar="ADDRESS", help="E-mail address.")] = None
    sms: Annotated[str | None, typer.Option(metavar="NUMBER", help="Telephone number, +8613800000000.")] = None
    wecom: Annotated[str | None, typer.Option(metavar="PLACE", help="WeCom: a place in the controller's settings.")] = (
        None
    )
    dingtalk: Annotated[
        str | None, typer.Option(metavar="PLACE", help="DingTalk: a place in the controller's settings, or a number.")
    ] = None
    lark: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Lark or Feishu: a place in the controller's settings.")
    ] = None
    webhook: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Webhook: a place in the controller's settings.")
    ] = None
    prefer: Annotated[
        By | None,
        typer.Option(case_sensitive=False, help="What DEFAULT means for them; the first way, if not said."),
    ] = None
    note: Annotated[str | None, typer.Option(help="For people.")] = None

    def given(self) -> dict[By, str]:
        """Return the ways that were given; an empty one takes the way away."""
        ways = (
            (By.EMAIL, self.email),
            (By.SMS, self.sms),
            (By.WECOM, self.wecom),
            (By.DINGTALK, self.dingtalk),
            (By.LARK, self.lark),
            (By.WEBHOOK, self.webhook),
        )
        return {by: value for by, value in ways if value is not None}


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Contacts: who can be told of tickets, and how.", no_args_is_help=True)
    command(group, "create")(create)
    command(group, "edit")(edit)
    command(group, "list")(list_contacts)
    command(group, "show")(show)
    command(group, "delete")(delete)
    app.add_typer(group, name="contact")


def create(session: Session, name: NameArgument, ways: Ways) -> None:
    """Make a contact: a person, or a system that listens.

    Give an operator's own name to whoever approves exceptions: that is how they are told before one ends.
    """
    from common.pb.v1 import notification_pb2 as pb

    made = pb.Contact(name=name, note=ways.note or "")
    _change(made, ways)
    stored = session.client().create_contact(made)
    session.printer.one(stored, lambda: [_table([stored])])
    session.printer.remark(f"Try it with: patchctl notifications test {name}")


def edit(session: Session, name: NameArgument, ways: Ways) -> None:
    """Change a contact. What is not given stays; --sms '' takes a way away."""
    client = session.client()
    contact = client.get_contact(name)
    _change(contact, ways)
    if ways.note is not None:
        contact.note = ways.note
    stored = client.update_contact(contact)
    session.printer.one(stored, lambda: [_table([stored])])


def list_contacts(session: Session) -> None:
    """List contacts, by name. A viewer sees no addresses."""
    from common.pb.v1 import notification_pb2 as pb

    found = list(session.client().list_contacts(page_size=1000))
    session.printer.many(pb.Contact.DESCRIPTOR, found, lambda: [_table(found)])
    session.printer.remark(plural(len(found), "contact"))


def show(session: Session, name: NameArgument) -> None:
    """Show one contact."""
    found = session.client().get_contact(name)
    session.printer.one(found, lambda: [_table([found])])


def delete(
    session: Session,
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a contact that takes turns in no shift."""
    session.confirm(f"Delete the contact {name}?", agreed=yes)
    session.client().delete_contact(name)
    session.printer.remark(f"{name} is deleted")


def _change(contact: pb.Contact, ways: Ways) -> None:
    from common.pb.v1 import notification_pb2 as pb

    given = ways.given()
    kept = {address.channel: address.value for address in contact.addresses}
    first = list(given)[:1]
    for by, value in given.items():
        if value:
            kept[channel(by)] = value
        else:
            kept.pop(channel(by), None)
    if not kept:
        raise Misuse("say how: at least one of --email, --sms, --wecom, --dingtalk, --lark and --webhook")
    del contact.addresses[:]
    contact.addresses.extend(pb.ContactAddress(channel=by, value=value) for by, value in kept.items())
    if ways.prefer is not None:
        contact.default_channel = channel(ways.prefer)
    elif not contact.default_channel and first:
        contact.default_channel = channel(first[0])
    elif contact.default_channel not in kept:
        contact.default_channel = pb.CHANNEL_UNSPECIFIED


def _table(found: Sequence[pb.Contact]) -> Table:
    from common.pb.v1 import notification_pb2 as pb

    titles = (Column("name", least=8), Column("default"), Column("ways", least=24), Column("note", rank=1))
    rows = [
        (
            c.name,
            word(pb.Channel, c.default_channel),
            ", ".join(f"{word(pb.Channel, a.channel)} {a.value}".strip() for a in c.addresses),
            c.note,
        )
        for c in found
    ]
    return Table(titles, rows)
