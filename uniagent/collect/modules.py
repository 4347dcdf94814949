"""Enabled module streams (SEMANTICS R8): as dnf keeps them in /etc/dnf/modules.d, and those that it treats as enabled."""

from __future__ import annotations

import configparser
from collections.abc import Iterable
from typing import Final

from common.manifest import Problem, ProblemCode, Stream
from uniagent.collect.rooted import Tree

_FOLDER: Final = "etc/dnf/modules.d"


def read(tree: Tree) -> tuple[tuple[Stream, ...], tuple[Problem, ...]]:
    """Return the enabled streams of an installation."""
    streams, problems = list[Stream](), list[Problem]()
    try:
        names = tree.names(_FOLDER, ".module")
    except OSError as error:
        return (), (Problem(ProblemCode.MODULES, f"/{_FOLDER} cannot be read: {error.strerror}"),)
    for name in names:
        try:
            streams += parse(tree.read_text(f"{_FOLDER}/{name}"))
        except OSError as error:
            problems.append(Problem(ProblemCode.MODULES, f"/{_FOLDER}/{name} cannot be read: {error.strerror}"))
        except configparser.Error:
            problems.append(Problem(ProblemCode.MODULES, f"/{_FOLDER}/{name} cannot be read: its form is wrong"))
    return tuple(streams), tuple(problems)


def parse(text: str) -> tuple[Stream, ...]:
    """Read one file: a section for each module, with its stream and state. Raise configparser.Error when it is something else."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    found = list[Stream]()
    for section in parser.sections():
        state = parser.get(section, "state", fallback="").strip().lower()
        stream = parser.get(section, "stream", fallback="").strip()
        if state in ("enabled", "1") and stream:
            found.append(Stream(section, stream))
    return tuple(found)


def effective(enabled: Iterable[Stream], active: Iterable[Stream]) -> tuple[Stream, ...]:
    """Return the streams whose updates count: what somebody enabled, and what the package manager says is active.

    The second are default streams, and what enabled ones require. Without such an answer (a host whose dnf has no library to ask, an
    installation without repositories) the first are all there is; one of them stays although no repository describes it any more.
    """
    return tuple(
        sorted({(s.name, s.stream): s for s in (*enabled, *active)}.values(), key=lambda s: (s.name, s.stream))
    )
