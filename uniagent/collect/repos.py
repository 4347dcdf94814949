"""The enabled repositories: which package manager to ask, and what its answers and its cache come to."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.manifest import Problem, ProblemCode, Repository
from uniagent.collect import dnf, repomd, yum
from uniagent.collect.asked import Question
from uniagent.collect.model import Asked, AskedRepository, CachedRepository, CollectRequest
from uniagent.collect.rooted import Tree
from uniagent.collect.runner import Runner

NOT_REFRESHED = "it was not refreshed, as was asked; this is what was cached"
_RESERVED_SECONDS = 5.0
_CONFIGS = ("etc/dnf/dnf.conf", "etc/yum.conf")
_CACHES = {"dnf4": Path("/var/cache/dnf"), "dnf5": Path("/var/cache/libdnf5"), "yum3": Path("/var/cache/yum")}
_KINDS = ("updateinfo", "primary", "modules")


@dataclass(frozen=True, slots=True)
class Tool:
    """A package manager that is here."""

    family: str
    """dnf4, dnf5 or yum3."""
    program: str
    interpreter: tuple[str, ...] = ()


def find_tool(path: str) -> Tool | None:
    """Find the package manager to ask: dnf 4, else dnf 5, else yum 3. `path` is spelled as PATH."""
    for name in ("dnf", "dnf-3", "dnf5", "yum"):
        if (program := shutil.which(name, path=path)) is None:
            continue
        try:
            with Path(program).open("rb") as file:
                first = file.readline(256)
        except OSError:
            continue
        interpreter = tuple(shlex.split(first[2:].decode("utf-8", "replace"))) if first.startswith(b"#!") else ()
        if not interpreter:
            if "dnf5" in (name, Path(program).resolve().name):
                return Tool("dnf5", program)
        elif "python" in interpreter[0] or "python" in " ".join(interpreter[:2]):
            # yum is a link to dnf where there is dnf
            real = Path(program).resolve().name
            return Tool("dnf4" if real.startswith("dnf") or name != "yum" else "yum3", program, _bare(interpreter))
        elif name == "dnf5":
            return Tool("dnf5", program)
    return None


def _bare(interpreter: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out the interpreter's own options, e.g. the -tt of yum's."""
    return tuple(word for word in interpreter if not word.startswith("-"))


def ask(runner: Runner, request: CollectRequest, tree: Tree, dbpath: Path | None, arch: str) -> Asked:
    """Refresh and ask the package manager for the installation."""
    tool = find_tool(runner.path)
    if tool is None:
        return Asked(problems=(Problem(ProblemCode.REPO_CONFIG, "there is no dnf and no yum to ask for repositories"),))
    question = Question(
        cachedir=_instead_of_zchunk(_CACHES[tool.family], request.fallback_cache) if tree.folder is None else "",
        dbpath=str(dbpath or ""),
        refresh=request.refresh,
        plugins=tree.folder is None,
        seconds=max(1.0, runner.remaining() - _RESERVED_SECONDS),
    )
    if tree.folder is not None:
        cachedir = _cache(
            tree.path("var/cache/yum" if tool.family == "yum3" else "var/cache/dnf"), request.fallback_cache
        )
        if cachedir is None:
            sentence = (
                "the installation's var/cache cannot be written to, and there is no other place to cache repositories"
            )
            return Asked(problems=(Problem(ProblemCode.REPO_CONFIG, sentence),))
        config = next((p for name in _CONFIGS if (p := tree.path(name)).is_file()), None)
        question = Question(
            root=str(tree.folder),
            config=str(config or ""),
            cachedir=str(cachedir),
            dbpath=str(dbpath or ""),
            arch=arch if arch != os.uname().machine else "",
            refresh=question.refresh,
            plugins=question.plugins,
            seconds=question.seconds,
        )
    match tool.family:
        case "dnf5":
            return dnf.ask_dnf5(runner, tool.program, question)
        case "dnf4":
            return dnf.ask_dnf4(runner, tool.interpreter, question)
    return yum.ask_yum3(runner, tool.interpreter, question)


def _instead_of_zchunk(own: Path, fallback: Path | None) -> str:
    """Return another cache than the host's own if that holds zchunk files: then the plain ones will never be fetched to it."""
    return str(fallback) if fallback is not None and any(own.glob("*/repodata/*.zck")) else ""


def _cache(own: Path, fallback: Path | None) -> Path | None:
    """Return the installation's own cache folder, or another when that cannot be written to."""
    there = next(p for p in (own, *own.parents) if p.exists())
    return own if os.access(there, os.W_OK) else fallback


def read(asked: AskedRepository, refreshed: bool) -> tuple[Repository, CachedRepository | None, Mapping[str, Path]]:
    """Return a repository as the manifest tells it, where its files lie by type, and its blobs by digest."""
    if asked.error or not asked.cache:
        return Repository(asked.id, error=asked.error or "the package manager did not say where it is cached"), None, {}
    place = repomd.locate(Path(asked.cache))
    try:
        content = place.read_bytes()
    except OSError:
        return Repository(asked.id, error="its repomd.xml is not in the package manager's cache"), None, {}
    try:
        said = repomd.parse(content)
        if "primary" not in said.files:
            raise ValueError("its repomd.xml names no primary file")
        found = {kind: repomd.verified(said.files[kind], place.parent, kind) for kind in _KINDS if kind in said.files}
    except ValueError as error:
        return Repository(asked.id, error=str(error)), None, {}
    repository = Repository(
        asked.id,
        error="" if refreshed else NOT_REFRESHED,
        revision=said.revision,
        timestamp=said.timestamp,
        **{kind: digest for kind, (_, digest) in found.items()},
    )
    files = {kind: path for kind, (path, _) in found.items()}
    return repository, CachedRepository(place, files), {digest: path for path, digest in found.values()}
