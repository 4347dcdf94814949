"""What every command has in common: the global options, the connection, and how errors become sentences and exit codes."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperOption

from common.errors import InvalidArgument, PatchError, Unauthenticated, Unavailable
from controller.cli.config import Login, config_path, from_environment, from_file
from controller.cli.printer import Format, Printer

if TYPE_CHECKING:
    from controller.client import Client

REFUSED: Final = 1
MISUSED: Final = 2
UNREACHABLE: Final = 3
_PANEL: Final = "Global options"


class Misuse(Exception):
    """The command cannot mean anything as it was given; `str()` says what is wrong."""


@dataclass(frozen=True, slots=True)
class Globals:
    """Options that every command takes, before or after its own name."""

    output: Annotated[
        Format | None,
        typer.Option("--output", "-o", help="How data is written; table if not said.", rich_help_panel=_PANEL),
    ] = None
    controller: Annotated[
        str | None,
        typer.Option(
            help="The controller's HOST:PORT. Else PATCHCTL_CONTROLLER, else as logged in.", rich_help_panel=_PANEL
        ),
    ] = None
    join: Annotated[
        Path | None,
        typer.Option(help="The controller's join.pem. Else PATCHCTL_JOIN, else as logged in.", rich_help_panel=_PANEL),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            help="Your token; other users of this machine may see it. Else PATCHCTL_TOKEN, else as logged in.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def over(self, other: Globals) -> Globals:
        """Return these options, with those not given taken from `other`."""
        return Globals(
            *(mine if mine is not None else theirs for mine, theirs in zip(_values(self), _values(other), strict=True))
        )


class Session:
    """One command's run: where it prints, whom it calls, what was asked of every command."""

    def __init__(self, options: Globals) -> None:
        """Prepare it; nothing is connected yet."""
        self.options = options
        self.printer = Printer(options.output or Format.TABLE)
        self._client: Client | None = None

    def client(self) -> Client:
        """Return the client, connected as the options, the environment or the settings file say, in this order."""
        if self._client is None:
            from controller.client import connect

            given = self.given()
            try:
                login = given.over(from_environment()).over(from_file(config_path()))
                if not login.controller or login.join is None or not login.token:
                    raise Misuse("not logged in: run patchctl login --controller HOST:PORT --join FILE")
                self._client = connect(login.controller, login.join, login.token)
            except InvalidArgument as error:
                raise Misuse(str(error)) from None
        return self._client

    def given(self) -> Login:
        """Return what the command line says about the login."""
        return Login(self.options.controller or "", self.options.join, self.options.token or "")

    @property
    def asks(self) -> bool:
        """Whether somebody is there who can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, *, agreed: bool, must_ask: bool = True) -> None:
        """Ask before going on, unless `agreed`. Where nobody can answer, refuse if `must_ask`. Raises typer.Exit on a no."""
        if agreed:
            return
        if self.asks:
            if not typer.confirm(question, err=True):
                self.printer.remark("Nothing was done.")
                raise typer.Exit(REFUSED)
        elif must_ask:
            raise Misuse(f"{question} Nobody can be asked here: add --yes")

    def close(self) -> None:
        """End the connection if there is one."""
        if self._client is not None:
            self._client.close()


class _Command(TyperCommand):
    """Refuses an option that is given twice where it can hold one value: the last would win, and nothing would be said."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        of_all = {field.name for field in dataclasses.fields(Globals)}
        single = {
            spelled: option
            for option in self.params
            if isinstance(option, TyperOption)
            and option.name not in of_all
            and not option.multiple
            and not option.is_flag
            for spelled in option.opts
        }
        seen, words = set[str](), iter(args)
        for word in words:
            if word == "--":
                break
            spelled, given, _ = word.partition("=")
            option = single.get(spelled)
            if option is None:
                continue
            if spelled in seen:
                _leave(
                    Printer(Format.TABLE),
                    [f"{spelled} is given twice: say it once, or which one counts is a guess"],
                    MISUSED,
                )
            seen.add(spelled)
            if not given:
                next(words, None)  # its value
        return super().parse_args(ctx, args)


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command of `app`. Its first parameter is the Session; the global options are added to its own.

    A parameter whose type is a dataclass becomes one option for each of its fields.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        groups: dict[str, Any] = {p.name: p.annotation for p in own if dataclasses.is_dataclass(p.annotation)}
        groups["options"] = Globals
        mine = {p.name for p in own}

        @functools.wraps(function)
        def run(ctx: typer.Context, **values: Any) -> None:
            made = {
                group: kind(**{f.name: values.pop(f.name) for f in dataclasses.fields(kind) if f.name not in mine})
                for group, kind in groups.items()
            }
            session = Session(made.pop("options").over(ctx.find_object(Globals) or Globals()))
            try:
                guarded(session.printer, lambda: function(session, **made, **values))
            finally:
                session.close()

        parameters = [_keyword("ctx", typer.Context)]
        for parameter in own:
            if parameter.name in groups:
                parameters += _fields(groups[parameter.name])
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        parameters += [p for p in _fields(Globals) if p.name not in mine]  # a command's own option of that name wins
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__  # typer would look at its annotations
        return app.command(name, cls=_Command)(run)

    return register


def root(app: typer.Typer) -> None:
    """Let `app` take the global options before the name of a command."""

    def callback(ctx: typer.Context, version: bool, **values: Any) -> None:
        ctx.obj = Globals(**values)

    shown = Annotated[
        bool, typer.Option("--version", help="Show patchctl's version.", callback=_version, is_eager=True)
    ]
    parameters = [_keyword("ctx", typer.Context), *_fields(Globals), _keyword("version", shown, False)]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined,unused-ignore]
    callback.__annotations__ = {p.name: p.annotation for p in parameters}
    app.callback()(callback)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"patchctl {version('patchwarden')}")
        raise typer.Exit


def guarded(printer: Printer, work: Callable[[], None]) -> None:
    """Do the work; what goes wrong becomes lines on stderr and an exit code, never a traceback."""
    try:
        work()
    except Misuse as error:
        _leave(printer, [str(error)], MISUSED)
    except Unavailable as error:
        _leave(printer, [str(error)], UNREACHABLE)
    except InvalidArgument as error:
        _leave(printer, [f"{v.field}: {v.description}" for v in error.violations], REFUSED)
    except Unauthenticated as error:
        _leave(printer, [f"{error}; patchctl login sets another token"], REFUSED)
    except PatchError as error:
        _leave(printer, [str(error)], REFUSED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains while it ends
        raise typer.Exit(REFUSED) from None
    except UnicodeEncodeError as error:  # bytes that are no text came in as something that no message can carry
        _leave(printer, [f"{str(os.fsencode(str(error.object)))[1:]} is not UTF-8; write it as UTF-8"], MISUSED)
    except OSError as error:
        _leave(printer, [f"{error.filename or 'input or output'}: {error.strerror}"], REFUSED)


def _leave(printer: Printer, sentences: list[str], code: int) -> typing.NoReturn:
    for sentence in sentences:
        printer.remark(f"error: {sentence}")
    raise typer.Exit(code) from None


def _fields(kind: Any) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return [_keyword(f.name, hints[f.name], f.default) for f in dataclasses.fields(kind)]


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _values(options: Globals) -> tuple[Any, ...]:
    return tuple(getattr(options, f.name) for f in dataclasses.fields(options))
