"""patchwarden-controller: the program. Starts the controller and stops it when told to."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common import VERSION, log
from common.clock import SystemClock
from common.errors import InvalidArgument, PatchError
from common.ids import RandomIds
from common.printed import open_streams, printed
from common.settings import load
from controller import heap
from controller.settings import DEFAULT_LISTEN, Settings, parse_listen

_ABOUT: Final = """\
Serves agents and operators of Patchwarden on one port, over mutual TLS.

The first start needs nothing but a folder:

  patchwarden-controller run --data /var/lib/patchwarden --listen 0.0.0.0:8443 --host patchwarden.example.com

It makes a certificate authority, prints the first admin token once (and keeps it in DATA/admin-token), and writes
DATA/join.pem, which every agent and operator needs besides an address. Then, in the operator's shell:

  patchctl login --controller patchwarden.example.com:8443 --join join.pem --token-file admin-token
"""
_DATA_HOLDS: Final = """\
What DATA holds: patchwarden.db (everything that agents and operators said), ca/ (back it up: whoever has its key
can pretend to be this controller), server.pem, join.pem, admin-token, and address while it runs.
"""
REFUSED: Final = 1
MISUSED: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code: 0 done, 1 refused, 2 misused."""
    open_streams()
    options = _parser().parse_args(arguments)
    try:
        return _run(options) if options.command is _run else printed(lambda: int(options.command(options)))
    except InvalidArgument as error:
        for violation in error.violations:
            print(f"error: {violation.field}: {violation.description}", file=sys.stderr)
        return MISUSED
    except PatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="patchwarden-controller",
        description=_ABOUT,
        epilog=_DATA_HOLDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run", help="serve until SIGTERM or Ctrl-C", description="Serve until SIGTERM or Ctrl-C.", epilog=_DATA_HOLDS
    )
    where = run.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE", help="settings, in TOML; packaging/samples has one")
    where.add_argument(
        "--data", type=Path, metavar="DIR", help="where everything is kept, with every other setting at its default"
    )
    run.add_argument(
        "--listen", metavar="HOST:PORT", help=f"where to listen (default {DEFAULT_LISTEN}; port 0: any free one)"
    )
    run.add_argument(
        "--host",
        action="append",
        metavar="NAME",
        help="a name or address by which agents and operators reach this machine, for its certificate; may be repeated",
    )
    run.set_defaults(command=_run)
    token = commands.add_parser(
        "admin-token",
        help="make another admin token",
        description="Make another admin token, for a controller that runs or will be started, and print it once. The controller takes it "
        "when it starts or when the token is first used, and makes its user if there is none of that name.",
    )
    token.add_argument("--data", type=Path, metavar="DIR", required=True, help="the controller's data folder")
    token.add_argument(
        "--name",
        help="who will use it, as logs and tickets will say: a new user, or one that is an admin (default admin, or admin@ACCOUNT)",
    )
    token.add_argument(
        "--account",
        default="default",
        help="the account in which it is an admin's (default default, which manages the others)",
    )
    token.set_defaults(command=_admin_token)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)
    return parser


def _run(options: argparse.Namespace) -> int:
    settings = load(Settings, options.config) if options.config else Settings(options.data)
    try:
        if options.listen:
            settings = dataclasses.replace(settings, listen=options.listen)
        if options.host:
            settings = dataclasses.replace(settings, hosts=tuple(dict.fromkeys(options.host)))
    except ValueError as error:
        key, _, description = str(error).partition(": ")
        raise InvalidArgument.of("--host" if key == "hosts" else f"--{key}", description) from None
    log.setup(level=settings.log_level, as_json=settings.log == "json")
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    from controller.app import Controller  # late: `--help` and wrong arguments need none of it

    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    heap.collect_seldom()
    controller = Controller(settings)
    await controller.start()
    heap.keep_what_is_there()
    try:
        if controller.first_token is not None:
            _print_login(settings, controller.address, controller.first_token)
        await told_to_stop.wait()
    finally:
        await controller.stop()


def _print_login(settings: Settings, address: str, token: str) -> None:
    host, port = parse_listen(address)
    if host in ("0.0.0.0", "[::]"):  # noqa: S104 - compared, not bound
        host = next((h for h in settings.hosts if h not in ("127.0.0.1", "localhost")), settings.hosts[0])
    data = settings.data
    print(f"admin token: {token}")
    print(f"It is printed this once, and kept in {data / 'admin-token'}. To log in:")
    print(
        f"  patchctl login --controller {host}:{port} --join {data / 'join.pem'} --token-file {data / 'admin-token'}",
        flush=True,
    )


def _admin_token(options: argparse.Namespace) -> int:
    from controller.accounts.model import DEFAULT_ACCOUNT
    from controller.accounts.rules import why_no_account_name, why_no_user_name
    from controller.api.operators import FIRST_ADMIN, leave_token

    if not options.data.is_dir():
        raise InvalidArgument.of("--data", f"{options.data} is no folder; it is the one that the controller runs with")
    account = options.account
    name = options.name or (FIRST_ADMIN if account == DEFAULT_ACCOUNT else f"{FIRST_ADMIN}@{account}")
    for option, wrong in (("--account", why_no_account_name(account)), ("--name", why_no_user_name(name))):
        if wrong:
            raise InvalidArgument.of(option, wrong)
    print(f"admin token: {leave_token(options.data, name, RandomIds(), SystemClock().now(), account)}")
    return 0


def _version(_: argparse.Namespace) -> int:
    print(f"patchwarden-controller {VERSION}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
