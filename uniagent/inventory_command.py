"""`uniagent inventory`: what this host, an image or an rpm database holds, on the spot and without a controller."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common import manifest
from common.clock import parse_duration

if TYPE_CHECKING:
    from uniagent.collect.model import CachedRepository, Collected, InstalledPackage

_TSV: Final = ("name", "epoch", "version", "release", "arch")
_DONE, _UNREADABLE, _MISUSED = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `uniagent inventory`."""
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="ask the installation in this folder, e.g. a mounted image"
    )
    parser.add_argument(
        "--dbpath",
        type=Path,
        metavar="DIR",
        help="the folder of the rpm database; without --root only packages are listed",
    )
    parser.add_argument(
        "--output", choices=("json", "tsv"), default="json", help="json (all) or tsv (packages); default json"
    )
    parser.add_argument(
        "--with-metadata", type=Path, metavar="DIR", help="also write the repositories' metadata below this folder"
    )
    parser.add_argument(
        "--no-refresh", action="store_true", help="do not refresh the repositories, read what is cached"
    )
    parser.add_argument("--timeout", default="10m", metavar="TIME", help="for all of it, e.g. 90s or 10m; default 10m")


def run(args: argparse.Namespace) -> int:
    """Print the inventory; return 0 when done, 1 when it could not be read, 2 when the options are wrong."""
    try:
        timeout = parse_duration(args.timeout).total_seconds()
    except ValueError as error:
        return _complain(f"--timeout: {error}", _MISUSED)
    for option, folder in (("--root", args.root), ("--dbpath", args.dbpath)):
        if folder is not None and not folder.is_dir():
            return _complain(f"{option}: {folder} is no folder", _MISUSED)
    if args.with_metadata is not None and args.dbpath is not None and args.root is None:
        return _complain("--with-metadata: an rpm database alone has no repositories, give --root too", _MISUSED)

    # here, because the daemon is the same program and needs none of it
    from uniagent.collect.inventory import collect
    from uniagent.collect.model import CollectRequest
    from uniagent.collect.runner import Runner

    with tempfile.TemporaryDirectory(prefix="uniagent-cache-") as cache:
        request = CollectRequest(args.root, args.dbpath, not args.no_refresh, timeout, Path(cache))
        collected = collect(request, Runner(timeout))
        if args.with_metadata is not None:
            try:
                write_metadata(collected.cached, args.with_metadata)
            except OSError as error:
                return _complain(f"--with-metadata: {args.with_metadata}: {error.strerror}", _UNREADABLE)
    if args.output == "tsv":
        sys.stdout.write(tsv(collected.packages))
    else:
        json.dump(document(collected), sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
    return _remarks(collected, args)


def document(collected: Collected) -> dict[str, Any]:
    """Return what `--output json` prints: the manifest as it would be sent, and the packages it names by digest."""
    packages = [
        {
            "name": p.line.nevra.name,
            "epoch": p.line.nevra.epoch,
            "version": p.line.nevra.version,
            "release": p.line.nevra.release,
            "arch": p.line.nevra.arch,
            "module": p.line.module,
            "install_time": p.installed_at,
            "vendor": p.vendor,
        }
        for p in _sorted(collected.packages)
    ]
    return {"manifest": json.loads(manifest.encode(collected.manifest)), "packages": packages}


def tsv(packages: Iterable[InstalledPackage]) -> str:
    """Return what `--output tsv` prints: a header line, then a line a package."""
    lines = ["\t".join(_TSV), *("\t".join(map(str, p.line.nevra)) for p in _sorted(packages))]
    return "".join(f"{line}\n" for line in lines)


def write_metadata(cached: Mapping[str, CachedRepository], folder: Path) -> None:
    """Write each repository's metadata so that FOLDER/<id> can be used as a repository."""
    for name, repository in cached.items():
        repodata = folder / (name if name.strip(".") else f"repository{name}") / "repodata"  # ".." is a lawful id
        repodata.mkdir(parents=True, exist_ok=True)
        for file in (repository.repomd, *repository.files.values()):
            shutil.copyfile(file, repodata / file.name)


def _sorted(packages: Iterable[InstalledPackage]) -> list[InstalledPackage]:
    return sorted(packages, key=lambda p: (p.line.nevra, p.line.module, p.installed_at))


def _remarks(collected: Collected, args: argparse.Namespace) -> int:
    """Say on standard error what could not be read, and return the exit code."""
    told = collected.manifest
    for problem in told.problems:
        print(f"{problem.code}: {problem.detail}", file=sys.stderr)
    for repository in told.repositories:
        if repository.error:
            print(f"repository {repository.id}: {repository.error}", file=sys.stderr)
    if not any(p.code is manifest.ProblemCode.RPMDB for p in told.problems):
        return _DONE
    where = "" if args.root is None and args.dbpath is None else " of that folder"
    advice = f"is rpm installed, and is the database{where} whole? rpm --verifydb says; --dbpath names another place"
    return _complain(f"the inventory could not be read: {advice}", _UNREADABLE)


def _complain(sentence: str, code: int) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return code
