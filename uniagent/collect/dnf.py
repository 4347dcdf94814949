"""Asks dnf 4, through its own Python library, and dnf 5, through its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from common.manifest import Problem, ProblemCode
from uniagent.collect import asked
from uniagent.collect.asked import Question
from uniagent.collect.model import Asked, AskedRepository
from uniagent.collect.runner import Runner, stable

DNF5_SECONDS: Final = 60.0
_SETTING: Final = re.compile(r"([A-Za-z_]\w*) = (.*)")


def ask_dnf4(runner: Runner, interpreter: Sequence[str], question: Question) -> Asked:
    """Refresh and ask with dnf 4's library; `interpreter` is what the first line of its program names."""
    return asked.ask(runner, interpreter, "ask_dnf.py", question)


def ask_dnf5(runner: Runner, program: str, question: Question) -> Asked:
    """Refresh repository by repository with dnf 5 and read its settings as it dumps them."""
    # with an installroot, dnf 5 takes its settings, repositories and variables from inside it
    options = [f"--installroot={question.root}"] if question.root else []
    options += ["--setopt=zchunk=0"]  # nobody else on the data's way reads that form
    if not question.plugins:
        options += ["--no-plugins"]
    if question.cachedir:
        options += [f"--setopt=cachedir={question.cachedir}", f"--setopt=system_cachedir={question.cachedir}"]
    options += [f"--forcearch={question.arch}"] if question.arch else []
    dumped = runner.run((program, *options, "--dump-main-config"), DNF5_SECONDS)
    listed = runner.run((program, *options, "repo", "list", "--enabled", "--json"), DNF5_SECONDS)
    version = runner.run((program, "--version"), DNF5_SECONDS)
    name = parse_version(version.stdout)
    for ran in (dumped, listed):
        if not ran.ok:
            problem = Problem(ProblemCode.REPO_CONFIG, f"{ran.failure()}: the enabled repositories are not known")
            return Asked(name, problems=(problem,))
    try:
        names = parse_repositories(listed.stdout)
    except ValueError as error:
        return Asked(name, problems=(Problem(ProblemCode.REPO_CONFIG, f"dnf5 repo list: {stable(str(error))}"),))
    main = parse_settings(dumped.stdout)
    cachedir = question.cachedir or main.get("system_cachedir") or main.get("cachedir", "/var/cache/libdnf5")
    found = [_refresh(runner, (program, *options), each, question.refresh, Path(cachedir)) for each in names]
    return Asked(
        package_manager=name,
        repositories=tuple(found),
        excludes=_words(main.get("excludepkgs", "")),
        includes=_words(main.get("includepkgs", "")),
        disabled_excludes=frozenset("all" if w == "*" else w for w in _words(main.get("disable_excludes", ""))),
        install_only=_words(main.get("installonlypkgs", "")),
        plugins=main.get("plugins", "1").lower() not in ("0", "no", "false", "off"),
    )


def parse_version(said: str) -> str:
    """Read "dnf5 version 5.2.6.0" as "dnf 5.2.6.0"; "dnf 5" when it says something else."""
    match = re.search(r"version (\d[\w.]*)", said)
    return f"dnf {match.group(1)}" if match else "dnf 5"


def parse_settings(dumped: str) -> dict[str, str]:
    """Read a dump of dnf 5's settings: `name = value` lines."""
    return {m.group(1): m.group(2).strip() for line in dumped.split("\n") if (m := _SETTING.fullmatch(line.strip()))}


def parse_repositories(said: str) -> list[str]:
    """Read the ids of `dnf5 repo list --json`; raise ValueError when it is something else."""
    start = said.find("[")  # what is being refreshed is said before it
    infos: Any = json.loads(said[start:]) if start >= 0 else None
    if not isinstance(infos, list) or not all(isinstance(i, dict) and isinstance(i.get("id"), str) for i in infos):
        raise ValueError("the answer is no list of repositories")
    return sorted(i["id"] for i in infos if i.get("is_enabled", True))


def newest_cache(cachedir: Path, repository: str) -> Path | None:
    """Return the folder of a repository's cache that was written last: dnf 5 makes a new one when its address changes."""
    folders = [p for p in cachedir.glob("*") if re.fullmatch(re.escape(repository) + "-[0-9a-f]{16}", p.name)]
    dated = [(p.stat().st_mtime, p) for folder in folders if (p := folder / "repodata/repomd.xml").is_file()]
    return max(dated)[1].parent.parent if dated else None


def _refresh(runner: Runner, dnf5: Sequence[str], name: str, refresh: bool, cachedir: Path) -> AskedRepository:
    error = ""
    if refresh:
        wanted = ("--refresh", f"--repo={name}", f"--setopt={name}.skip_if_unavailable=0", "makecache")
        ran = runner.run((*dnf5, *wanted))
        if not ran.ok:
            causes = [line.strip().lstrip("> ").strip() for line in ran.stderr.split("\n")]
            error = asked.why_not(ran.failure(), [cause for cause in causes if cause.startswith("Curl error")])
    folder = newest_cache(cachedir, name)
    if not error and folder is None:
        error = "dnf 5 has not cached it"
    dumped = runner.run((*dnf5, f"--dump-repo-config={name}"), DNF5_SECONDS)
    if not error and not dumped.ok:
        error = f"{dumped.failure()}: its excludes are not known"
    settings = parse_settings(dumped.stdout)
    words = (_words(settings.get(key, "")) for key in ("excludepkgs", "includepkgs"))
    return AskedRepository(name, error, str(folder or ""), *words)


def _words(value: str) -> tuple[str, ...]:
    return tuple(value.replace(",", " ").split())
