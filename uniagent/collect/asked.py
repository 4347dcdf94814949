"""Runs one of the programs in `host/` with the package manager's own interpreter and reads what it prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.manifest import Problem, ProblemCode, Stream
from uniagent.collect.model import Asked, AskedRepository
from uniagent.collect.runner import Ran, Runner, stable

HOST_PROGRAMS: Final = Path(__file__).parent / "host"
_CURL: Final = "Curl error "
_SAFE_PYTHON: Final = {"PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True, slots=True)
class Question:
    """What a program in `host/` is told. Empty texts mean what the package manager does by itself."""

    root: str = ""
    config: str = ""
    cachedir: str = ""
    dbpath: str = ""
    arch: str = ""
    refresh: bool = True
    plugins: bool = True
    seconds: float = 600.0

    def encode(self) -> str:
        """Return it as the program reads it."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def ask(runner: Runner, interpreter: Sequence[str], program: str, question: Question) -> Asked:
    """Run a program of `host/` and return what it said, also when it was cut off in the middle."""
    # -E -s: neither our environment's nor the user's own modules
    command = (*interpreter, "-E", "-s", str(HOST_PROGRAMS / program), question.encode())
    return parse(runner.run(command, environment=_SAFE_PYTHON))


def parse(ran: Ran) -> Asked:
    """Read what a program in `host/` printed. Whatever it did not come to say is a problem or a repository's error."""
    said, problems = list[Mapping[str, Any]](), list[Problem]()
    for line in ran.stdout.split("\n"):
        try:
            entry = json.loads(line) if line else {}
        except ValueError:
            entry = {}  # cut off in the middle of a line: it counts as not said
        if isinstance(entry, dict):
            said.append(entry)
    by_kind = {str(entry.get("kind")): entry for entry in said}
    tool, main, enabled, streams = (by_kind.get(kind, {}) for kind in ("tool", "main", "enabled", "streams"))
    problems += [
        Problem(ProblemCode(entry["code"]), stable(str(entry["detail"])))
        for entry in said
        if entry.get("kind") == "problem"
    ]
    if "enabled" not in by_kind and not problems:
        problems.append(Problem(ProblemCode.REPO_CONFIG, f"{ran.failure()}: the enabled repositories are not known"))
    reported = {entry["id"]: _repository(entry) for entry in said if entry.get("kind") == "repository"}
    why = "it was not refreshed: the package manager " + (
        "ended too early" if ran.ok else ran.failure().removeprefix(f"{ran.program} ")
    )
    repositories = tuple(reported.get(name) or AskedRepository(name, why) for name in enabled.get("ids", ()))
    return Asked(
        package_manager=f"{tool['name']} {tool['version']}" if tool else "",
        repositories=repositories,
        excludes=tuple(main.get("excludes", ())),
        includes=tuple(main.get("includes", ())),
        disabled_excludes=frozenset(main.get("disable_excludes", ())),
        install_only=tuple(main.get("install_only", ())),
        plugins=bool(main.get("plugins", True)),
        streams=tuple(Stream(str(name), str(stream)) for name, stream in streams.get("active", ())),
        problems=tuple(problems),
    )


def why_not(error: str, causes: Sequence[str]) -> str:
    """Return one sentence that is the same for the same failure: what the transport said if it said something, else the tool."""
    curl = sorted({stable(cause.split(" for ")[0]) for cause in causes if cause.startswith(_CURL)})
    places = sorted({cause.split(" for ")[1].split(" ")[0] for cause in causes if " for " in cause})
    if curl:
        return "; ".join(curl)[:300] + (f" ({places[0][:200]})" if len(places) == 1 else "")
    return stable(error.strip().split("\n")[0] or "the package manager did not say why")


def _repository(entry: Mapping[str, Any]) -> AskedRepository:
    error = str(entry.get("error", ""))
    return AskedRepository(
        id=str(entry["id"]),
        error=why_not(error, [str(cause) for cause in entry.get("causes", ())]) if error else "",
        cache=str(entry.get("cache", "")),
        excludes=tuple(map(str, entry.get("excludes", ()))),
        includes=tuple(map(str, entry.get("includes", ()))),
    )
