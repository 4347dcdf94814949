"""patchctl: the operator's shell. A pure client of the API: arguments, one call, one printout; no rule lives here."""

from __future__ import annotations

import io
import os
import sys

import typer

from common.printed import open_streams, printed
from controller.cli import (
    account,
    accounts,
    advisories,
    agency,
    audit,
    baseline,
    cmdb,
    contacts,
    enrolment,
    evaluate,
    exceptions,
    instances,
    notifications,
    report,
    scan,
    schedule,
    shifts,
    ticket,
    tokens,
    users,
)
from controller.cli.command import root

app = typer.Typer(
    help="Patch compliance of your fleet: who complies, why not, and since when.",
    epilog="Exit codes: 0 done, 1 refused or abnormal, 2 misused, 3 unreachable. Data goes to stdout, remarks to stderr.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


root(app)
for module in (
    account,
    scan,
    schedule,
    ticket,
    report,
    advisories,
    instances,
    cmdb,
    enrolment,
    baseline,
    exceptions,
    contacts,
    shifts,
    notifications,
    users,
    tokens,
    accounts,
    agency,
    audit,
    evaluate,
):
    module.add_to(app)


def main() -> None:
    """Run patchctl; ends the process with its exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what gRPC's core says about a connection is in our own errors
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # programs read UTF-8 whatever the locale; a terminal shows what it can
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    sys.exit(printed(_run))


def _run() -> int:
    try:
        app(prog_name="patchctl")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0
