"""patchctl users: who may work in your account, and what each may do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.command import Misuse, Session, command
from controller.cli.options import length
from controller.cli.roles import Role, handed_over, projects_text, role_number
from controller.cli.table import Column, Table
from controller.cli.words import ago, plural, word

if TYPE_CHECKING:
    from common.pb.v1 import account_pb2

UserArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
ProjectOption = Annotated[
    list[str] | None,
    typer.Option("--project", metavar="NAME", help="Bind to this enterprise project; repeat it. All without one."),
]


def add_to(app: typer.Typer) -> None:
    """Add the group to the root."""
    group = typer.Typer(help="Users of your account: who may do what. For admins.", no_args_is_help=True)
    command(group, "create")(create)
    command(group, "list")(list_users)
    command(group, "update")(update)
    command(group, "disable")(disable)
    command(group, "enable")(enable)
    app.add_typer(group, name="users")


def create(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Unique in the organization, e.g. lin or lin@example.com.")
    ],
    role: Annotated[Role, typer.Option(case_sensitive=False, help="What the user may do.")],
    project: ProjectOption = None,
    lifetime: Annotated[str, typer.Option(help="How long the first token is valid, e.g. 8h or 30d.")] = "90d",
) -> None:
    """Make a user with a first token, which is shown once.

    A VIEWER reads, an OPERATOR also runs tickets and schedules, an ADMIN also decides about baselines, hosts and users.

    Example: patchctl users create lin --role OPERATOR --project bank
    """
    client = session.client()
    number = role_number(role)
    assert number is not None
    made = client.create_user(name, number, enterprise_projects=project or (), lifetime=length("--lifetime", lifetime))
    session.printer.one(made, lambda: [made.secret])
    session.printer.remark(handed_over(client.address, made.token))


def list_users(session: Session) -> None:
    """List users, by name. Admins who are bound to enterprise projects see the users of these."""
    from common.pb.v1 import account_pb2

    found = list(session.client().list_users(page_size=1000))
    session.printer.many(account_pb2.User.DESCRIPTOR, found, lambda: [_table(found)])
    disabled = sum(u.HasField("disabled_at") for u in found)
    session.printer.remark(plural(len(found), "user") + (f", {disabled} disabled" if disabled else ""))


def update(
    session: Session,
    name: UserArgument,
    role: Annotated[Role | None, typer.Option(case_sensitive=False, help="The role from now on.")] = None,
    project: ProjectOption = None,
    all_projects: Annotated[bool, typer.Option("--all-projects", help="Bind to no enterprise project.")] = False,
) -> None:
    """Change what a user may do; it holds at once, for all of the user's tokens.

    Example: patchctl users update lin --role VIEWER
    """
    if project and all_projects:
        raise Misuse("--project and --all-projects: give one of the two")
    if role is None and not project and not all_projects:
        raise Misuse("say what changes: --role, --project or --all-projects")
    _show(
        session,
        session.client().update_user(
            name, role=role_number(role), enterprise_projects=[] if all_projects else project or None
        ),
    )


def disable(session: Session, name: UserArgument) -> None:
    """Refuse all tokens of a user from now on; what the user began goes on."""
    _show(session, session.client().update_user(name, disabled=True))
    session.printer.remark(f"{name} is disabled: all tokens are refused. Undo it: patchctl users enable {name}")


def enable(session: Session, name: UserArgument) -> None:
    """Let a disabled user in again, with the tokens that have neither ended nor been revoked."""
    _show(session, session.client().update_user(name, disabled=False))
    session.printer.remark(f"{name} is enabled")


def _show(session: Session, user: account_pb2.User) -> None:
    session.printer.one(user, lambda: [_table([user])])


def _table(found: Sequence[account_pb2.User]) -> Table:
    from common.pb.v1 import account_pb2

    now = datetime.now(UTC)
    titles = (
        Column("name", least=12),
        Column("role", least=8),
        Column("projects", rank=1),
        Column("state", least=10),
        Column("made", rank=2),
        Column("by", rank=3),
    )
    rows = [
        (
            u.name,
            word(account_pb2.Role, u.role),
            projects_text(u.enterprise_projects),
            f"disabled {ago(u.disabled_at, now)} by {u.disabled_by}" if u.HasField("disabled_at") else "enabled",
            ago(u.created_at, now),
            u.created_by or "the controller",
        )
        for u in found
    ]
    return Table(titles, rows)
