"""The `uniagent` command. Each subcommand imports only what it needs: the daemon stays small."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.printed import open_streams, printed

DEFAULT_CONFIG: Final = Path("/etc/uniagent/uniagent.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 1 something is wrong, 2 misused."""
    open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(words).parse_args(words)
    match options.command:
        case "run":
            return _run(options.config)
        case "doctor":
            from uniagent import doctor

            return printed(lambda: doctor.run(options.config, as_json=options.output == "json"))
        case "leave":
            from uniagent import leave

            return leave.run(options.config)
        case "inventory":
            from uniagent import inventory_command

            return printed(lambda: inventory_command.run(options))
        case _:
            from common import VERSION

            print(VERSION)
            return 0


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    # A width and names that are given, or argparse loads shutil and with it three compressors into the daemon.
    columns = os.environ.get("COLUMNS", "")
    shape = functools.partial(argparse.HelpFormatter, width=int(columns) if columns.isdecimal() else 100)
    parser = argparse.ArgumentParser(
        prog="uniagent", description="Answers for this host what is installed and offered.", formatter_class=shape
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="uniagent")
    add = functools.partial(commands.add_parser, formatter_class=shape)
    run = add("run", help="be the agent, in the foreground")
    doctor = add("doctor", help="check settings, certificates, controller, rpm and repositories")
    leave = add("leave", help="tell the controller that this agent is being uninstalled (stop the service first)")
    for each in (run, doctor, leave):
        each.add_argument(
            "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="settings (default: %(default)s)"
        )
    doctor.add_argument(
        "--output", choices=("text", "json"), default="text", help="how to print (default: %(default)s)"
    )
    inventory = add("inventory", help="print what is installed; needs no controller")
    if "inventory" in words:
        from uniagent import inventory_command

        inventory_command.add_arguments(inventory)
    add("version", help="print the version")
    return parser


def _run(config: Path) -> int:
    # gRPC brings its own TLS. asyncio would load OpenSSL as well, a seventh of the idle agent's memory, and works without.
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    from uniagent import daemon
    from uniagent.message_ids import MessageIds

    return daemon.run(config, MessageIds())


if __name__ == "__main__":
    sys.exit(main())
