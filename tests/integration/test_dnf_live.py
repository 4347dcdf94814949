"""Random hosts and repositories, made with real rpm and createrepo_c, answered by the real dnf and by `patchctl evaluate`: no difference.

The seed is printed; PATCHWARDEN_LIVE_SEED repeats a run and PATCHWARDEN_LIVE_PAIRS changes its length. Dnf finds the running kernel
by the machine's own `uname`, and no kernel of ours runs here: so dnf runs as it is, but for the one method that names the package of
the running kernel.

Streams count because somebody enabled them, or as the default of their module; `--module-streams` names both, the agent finds both.
Dnf leaves out an advisory for a context that no repository describes while one describes the stream, and so does our list of advisories.
The verdict is another matter: there the name and the stream decide. A stream that no repository describes counts for dnf by the copy of its
description that enabling it has left on the host (`modulefailsafe`), and for us because it is enabled.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import createrepo_c
import pytest
from typer.testing import CliRunner

from common import nevra
from common.nevra import Nevra
from controller.cli.main import app
from realroots import (
    AdvisorySpec,
    BuildError,
    PackageSpec,
    RepositorySpec,
    as_root,
    build_packages,
    build_repository,
    missing_tools,
    updateinfo_xml,
)

PAIRS: Final = int(os.environ.get("PATCHWARDEN_LIVE_PAIRS", "40"))
ORACLE: Final = Path(__file__).resolve().parents[2].parent / "shared/data/dnf-oracle/repos"
DBPATH: Final = "/var/lib/rpm"
HUGE: Final = "123456789012345678901234567890"
VERSIONS: Final = (
    "1",
    "1.0",
    "1.0~rc1",
    "1.0^git2",
    "1.0~~",
    "1.0.1",
    "1.10",
    "1.00.",
    "2a",
    "2A",
    "10",
    HUGE,
    f"0{HUGE}",
    f"{HUGE}0",
)
RELEASES: Final = ("1", "2.el9", "10.el9_2", "10.el9_2.1", "10.el9_2~b", "0.1.20240101git^a")
NAMES: Final = (
    "bash",
    "openssl-libs",
    "lib-x",
    "n0-ame",
    "a",
    "python3.11",
    "kernelshark",
    "Foo_Bar",
    "lib+c++",
    "n-1-2.3",
)
TYPES: Final = ("security", "security", "bugfix", "enhancement", "newpackage", "house_type")
SEVERITIES: Final = ("Critical", "Important", "Moderate", "Low", "", "house_severity")
STREAMS: Final = ("nodejs:18", "nodejs:20", "php:8.1")
KERNEL_EVRS: Final = (("5.14.0", "70.el9"), ("5.14.0", "162.el9"), ("6.1~rc2", "1.el9"))
KERNEL_PARTS: Final = ("kernel", "kernel-core", "kernel-modules", "kernel-devel", "kernel-debug-core", "kernel-rt-core")
DRIVER: Final = """
import sys
import dnf.cli.main
import dnf.sack

def running(sack):
    found = sack.query().installed().filter(nevra_strict=sys.argv[1]).run() if sys.argv[1] else []
    return found[0] if found else None

dnf.sack.Sack.get_running_kernel = running
sys.exit(dnf.cli.main.main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Pool:
    """Everything that may be installed or advised, built once."""

    plain: dict[PackageSpec, Path]
    kernels: dict[Nevra, Path]
    home: Path


def builds(rng: random.Random) -> Iterator[PackageSpec]:
    for name in NAMES:
        evrs = rng.sample([(v, r, e) for v in VERSIONS for r in RELEASES for e in (0, 0, 1, 2)], 5)
        for version, release, epoch in dict.fromkeys(evrs):
            yield PackageSpec(name, version, release, epoch, rng.choice(("x86_64", "x86_64", "noarch", "i686")))
    for module in STREAMS:
        name, stream = module.split(":")
        for version in (f"{stream}.1", f"{stream}.2"):
            yield PackageSpec(name, version, "1.module+el9+7", modularity=f"{module}:9:c0ffee")
        yield PackageSpec(name, f"{stream}.1", "3.el9")  # the same name, outside any module


def build_kernels(folder: Path) -> dict[Nevra, Path]:
    """Build the parts of each kernel from one source package: that is how dnf knows that they belong together."""
    found = dict[Nevra, Path]()
    for version, release in KERNEL_EVRS:
        top = folder / f"{version}-{release}"
        top.mkdir(parents=True)
        parts = "".join(
            f"%package -n {p}\nSummary: k\n%description -n {p}\nk\n%files -n {p}\n" for p in KERNEL_PARTS[1:]
        )
        (top / "kernel.spec").write_text(
            f"Name: kernel\nVersion: {version}\nRelease: {release}\nSummary: k\nLicense: none\nAutoReqProv: no\n"
            f"%description\nk\n%files\n{parts}"
        )
        defines = {"_topdir": str(top), "_dbpath": str(top / "db"), "debug_package": "%{nil}"}
        run(
            ["rpmbuild", "--quiet", "-bb", "--target=x86_64"]
            + [flag for key, value in defines.items() for flag in ("--define", f"{key} {value}")]
            + [str(top / "kernel.spec")],
            home=folder,
        )
        for part in KERNEL_PARTS:
            build = Nevra(part, 0, version, release, "x86_64")
            found[build] = top / f"RPMS/x86_64/{build}.rpm"
    return found


def run(command: Sequence[str], home: Path) -> str:
    environment = os.environ | {"HOME": str(home), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def modules_yaml(
    defaults: Sequence[str], modules: Sequence[str] = STREAMS, contexts: Sequence[str] = ("c0ffee",)
) -> str:
    """Describe streams, and which ones are the default of their module."""
    described = "".join(
        f"---\ndocument: modulemd\nversion: 2\ndata:\n  name: {name}\n  stream: '{stream}'\n  version: 9\n  context: {context}\n"
        "  arch: x86_64\n  summary: s\n  description: d\n  license:\n    module: [MIT]\n...\n"
        for name, stream in (module.split(":") for module in modules)
        for context in contexts
    )
    return described + "".join(
        f"---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: {name}\n  stream: '{stream}'\n  profiles: {{}}\n...\n"
        for name, stream in (module.split(":") for module in defaults)
    )


def set_streams(rng: random.Random, root: Path, described: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Enable and disable modules, and return the default streams and those that count: enabled ones, and defaults nobody touched.

    A stream is enabled as dnf does it: with a copy of its description, for the day when no repository describes it any more.
    """
    (root / "var/lib/dnf/modulefailsafe").mkdir(parents=True)
    touched, counting = set[str](), list[str]()
    for module in rng.sample(STREAMS, len(STREAMS)):
        name, stream = module.split(":")
        state = rng.choice(("", "", "enabled", "enabled", "disabled"))
        if not state or name in touched:
            continue
        touched.add(name)
        if state == "enabled":
            counting.append(module)
            copy = modules_yaml((), (module,), ("c0ffee", "decaf"))
            (root / f"var/lib/dnf/modulefailsafe/{module}:x86_64.yaml").write_text(copy)
        (root / f"etc/dnf/modules.d/{name}.module").write_text(
            f"[{name}]\nname={name}\nstream={stream if state == 'enabled' else ''}\nprofiles=\nstate={state}\n"
        )
    drawn = [module for module in rng.sample(described, len(described)) if rng.random() < 0.6]
    defaults = {module.split(":")[0]: module for module in drawn}  # one stream of a module
    counting += [module for name, module in defaults.items() if name not in touched]
    return tuple(defaults.values()), tuple(sorted(counting))


def vary(rng: random.Random, build: Nevra) -> Nevra:
    """Return the build, or one of its name with another version, epoch or architecture."""
    arch = rng.choice((build.arch, build.arch, build.arch, "i686", "noarch"))
    if rng.random() < 0.4:
        return build._replace(arch=arch)
    return build._replace(arch=arch, epoch=rng.choice((0, 1, 2)), version=rng.choice(VERSIONS))


def advisories(rng: random.Random, pool: Pool, prefix: str) -> Iterator[AdvisorySpec]:
    known = [package.nevra for package in pool.plain] + 2 * list(pool.kernels)
    for number in range(rng.randint(5, 40)):
        module = rng.choice(STREAMS) if rng.random() < 0.2 else None
        if module is not None:
            name, stream = module.split(":")
            versions = [f"{stream}.{minor}" for minor in range(1, 5)]
            named = [Nevra(name, 0, rng.choice(versions), "1.module+el9+7", "x86_64")]
        else:
            named = [vary(rng, build) for build in rng.choices(known, k=rng.randint(1, 4))]
        others = (other_collection(rng, known),) if rng.random() < 0.1 else ()
        yield AdvisorySpec(
            f"{prefix}-{number}",
            rng.choice(TYPES),
            rng.choice(SEVERITIES),
            "2023-03-20 00:00:00",
            "2023-03-21 00:00:00",
            "an advisory",
            ("CVE-2023-0001",),
            tuple(str(build) for build in dict.fromkeys(named)) if rng.random() < 0.95 else (),
            module=a_build_of(rng, module) if module else None,
            others=others,
        )


def a_build_of(rng: random.Random, module: str) -> str:
    context = rng.choice(("c0ffee", "c0ffee", "decaf"))
    return f"{module}:{rng.choice('79')}:{context}:{rng.choice(('x86_64', 'i686'))}"


def other_collection(rng: random.Random, known: Sequence[Nevra]) -> tuple[str | None, tuple[str, ...]]:
    """Choose what else an advisory is about, of a module or not."""
    module = a_build_of(rng, rng.choice(STREAMS)) if rng.random() < 0.5 else None
    return module, tuple(str(vary(rng, build)) for build in rng.sample(known, 2))


def repeated(rng: random.Random, told: Sequence[AdvisorySpec]) -> Iterator[AdvisorySpec]:
    """Tell some advisories again, as another repository or a later edition would: with other packages, dates or type."""
    for advisory in rng.sample(told, min(4, len(told))):
        if rng.random() < 0.5:
            yield advisory
        else:
            later = f"2023-03-{rng.randint(22, 29)} 00:00:00"
            kind, severity = rng.choice(((advisory.type, advisory.severity), ("security", "Low"), ("bugfix", "")))
            kept = tuple(name for name in advisory.packages if rng.random() < 0.7)
            yield replace(advisory, updated=later, type=kind, severity=severity, packages=kept)


def installed_packages(rng: random.Random, pool: Pool) -> list[Path]:
    """Choose what is installed: mostly one build of a name.arch, now and then two, and several kernels."""
    chosen = list[Path]()
    by_name = dict[tuple[str, str], list[PackageSpec]]()
    for package in pool.plain:
        by_name.setdefault((package.name, package.arch), []).append(package)
    for packages in by_name.values():
        if rng.random() < 0.8:
            count = 2 if rng.random() < 0.1 else 1
            chosen += [pool.plain[package] for package in rng.sample(packages, min(count, len(packages)))]
    for version, release in rng.sample(KERNEL_EVRS, rng.randint(0, len(KERNEL_EVRS))):
        chosen += [
            pool.kernels[Nevra(part, 0, version, release, "x86_64")] for part in KERNEL_PARTS if rng.random() < 0.85
        ]
    return chosen


@dataclass(frozen=True)
class World:
    """One host and its repositories."""

    root: Path
    repositories: tuple[Path, ...]
    installed: tuple[Nevra, ...]
    running: Nevra | None
    streams: tuple[str, ...]
    """Enabled ones, and default ones of modules that nobody enabled or disabled."""
    untold: bool = False
    """Nobody enabled or disabled anything, so that the defaults that the repositories name need not be told."""


def make_root(root: Path, packages: Sequence[Path], home: Path) -> tuple[Nevra, ...]:
    """Make an installation that holds exactly these packages, and return what rpm says of it."""
    for part in ("etc/yum.repos.d", "etc/dnf/modules.d", "etc/dnf/vars", DBPATH.lstrip("/"), "var/cache", "var/log"):
        (root / part).mkdir(parents=True)
    (root / "etc/dnf/dnf.conf").write_text("[main]\ngpgcheck=0\n")
    (root / "etc/os-release").write_text('ID="centos"\nVERSION_ID="9"\nPLATFORM_ID="platform:el9"\n')
    if packages:
        install = ["rpm", f"--root={root}", "--dbpath", DBPATH, "-i", "--justdb", "--nodeps", "--force", "--ignorearch"]
        run([*as_root(), *install, *map(str, packages)], home)
    query = [*as_root(), "rpm", f"--root={root}", "--dbpath", DBPATH, "-qa", "--qf"]
    listing = run([*query, r"%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\n"], home)
    return tuple(nevra.parse(line) for line in listing.splitlines())


def enable_repository(root: Path, identifier: str, repository: Path) -> Path:
    (root / f"etc/yum.repos.d/{identifier}.repo").write_text(
        f"[{identifier}]\nname={identifier}\nbaseurl={repository.as_uri()}\nenabled=1\ngpgcheck=0\n"
    )
    return repository


def make_world(rng: random.Random, pool: Pool, folder: Path) -> World:
    root = folder / "root"
    installed = make_root(root, installed_packages(rng, pool), pool.home)
    described = STREAMS if rng.random() < 0.7 else tuple(m for m in STREAMS if rng.random() < 0.5)
    defaults, streams = set_streams(rng, root, described)
    untold = not any((root / "etc/dnf/modules.d").iterdir()) and rng.random() < 0.5
    repositories, told = list[Path](), list[AdvisorySpec]()
    for number, identifier in enumerate(("base", "updates", "extras")[: rng.randint(1, 3)]):
        offered = tuple(rng.sample(list(pool.plain), 4))
        own = [*advisories(rng, pool, identifier), *repeated(rng, told)] if number or rng.random() < 0.9 else []
        own += repeated(rng, own) if rng.random() < 0.3 else ()
        told += own
        modules = modules_yaml(defaults, described) if described and (not number or rng.random() < 0.5) else ""
        spec = RepositorySpec(identifier, offered, with_updateinfo=False, modules=modules)
        repository = build_repository(spec, folder / identifier, pool.home / "packages")
        if rng.random() < 0.9:
            add_updateinfo(rng, repository, as_some_vendor_writes(rng, updateinfo_xml(identifier, own).decode()))
        repositories.append(enable_repository(root, identifier, repository))
    kernels = [build for build in installed if build.name in ("kernel", "kernel-core", "kernel-rt-core")]
    running = rng.choice([*kernels, *kernels, None]) if kernels else None
    if rng.random() < 0.1:  # it was removed while it runs, or is of another flavour than all that is installed
        running = rng.choice([build for build in pool.kernels if build.name in ("kernel-core", "kernel-rt-core")])
    return World(root, tuple(repositories), installed, running, streams, untold)


def as_some_vendor_writes(rng: random.Random, text: str) -> str:
    """Return an updateinfo file that says the same in other words: without epochs, with CDATA, comments and unknown elements."""
    for word, other in (
        (' epoch="0"', rng.choice(("", ' epoch=""', ' epoch="0"'))),
        (
            "<title>an advisory</title>",
            rng.choice(("<title><![CDATA[<b>an & advisory</b>]]></title>", "<title>&#97;n &amp;</title>", "")),
        ),
        ("<pkglist>", rng.choice(("<!-- <package/> --><pkglist>", "<issue>1</issue><pkglist>", "<pkglist>"))),
        (' status="final"', rng.choice((' status="testing"', ' status="final"', ""))),
        ("</pkglist>", rng.choice(("</pkglist><rights>r</rights>", "</pkglist>", "<collection/></pkglist>"))),
    ):
        text = text.replace(word, other)
    return text


def add_updateinfo(rng: random.Random, repository: Path, text: str) -> None:
    """Add an updateinfo file to a repository, compressed in one of the usual ways."""
    file = repository / "updateinfo.xml"
    file.write_text(text)
    packing = f"--compress-type={rng.choice(('gz', 'bz2', 'xz'))}" if rng.random() < 0.9 else "--no-compress"
    run(["modifyrepo_c", "--mdtype=updateinfo", packing, str(file), str(repository / "repodata")], repository)
    file.unlink()


def dnf(world: World, pool: Pool, *words: str) -> str:
    """Return what dnf prints for the world's host."""
    where = world.root
    arguments = [
        *("--quiet", f"--installroot={where}", "--disableplugin=*", f"--config={where}/etc/dnf/dnf.conf"),
        *(f"--setopt=reposdir={where}/etc/yum.repos.d", f"--setopt=varsdir={where}/etc/dnf/vars", "--setopt=zchunk=0"),
        *("--releasever=9", "--forcearch=x86_64", *words),
    ]
    strict = str(world.running) if world.running is not None else ""
    return run([*as_root(), "/usr/bin/python3", "-c", DRIVER, strict, *arguments], pool.home)


def ask_dnf(world: World, pool: Pool, availability: str) -> set[tuple[str, str, str]]:
    """Return (id, label, package) of `dnf updateinfo list`."""
    rows = set[tuple[str, str, str]]()
    for line in dnf(world, pool, "updateinfo", "list", f"--{availability}").splitlines():
        identifier, label, package = (line[2:] if availability == "all" else line).split()
        rows.add((identifier, label, package))
    return rows


def agent_command(world: World) -> list[str]:
    return [*as_root(), sys.executable, "-m", "uniagent", "inventory", "--root", str(world.root)]


def tsv(rng: random.Random, installed: Sequence[Nevra]) -> str:
    header = ("name", "epoch", "version", "release", "arch")
    no_epoch = rng.choice(("0", "", "(none)"))
    rows = [(b.name, str(b.epoch or no_epoch), b.version, b.release, b.arch) for b in installed]
    end = rng.choice(("\n", "\r\n"))
    return rng.choice(("", "\ufeff", f"# made by hand{end}")) + "".join("\t".join(row) + end for row in (header, *rows))


def one_a_line(rng: random.Random, installed: Sequence[Nevra]) -> str:
    return "".join(f"{build}\n" for build in rng.sample(installed, len(installed)))


def as_rpm_spells_them(rng: random.Random, installed: Sequence[Nevra]) -> str:
    """Epochs inside or in front, told or not; blank lines, keys, lines twice."""
    lines = ["gpg-pubkey-fd431d51-4ae0493b", "gpg-pubkey-(none):fd431d51-4ae0493b.(none)", "", "# a comment"]
    for name, epoch, version, release, arch in installed:
        rest = f"{version}-{release}.{arch}"
        told = rng.choice((str(epoch), "(none)")) if not epoch else str(epoch)
        lines += rng.choices((f"{name}-{told}:{rest}", f"{told}:{name}-{rest}"), k=rng.randint(1, 2))
    end = rng.choice(("\n", "\r\n"))
    return end.join(rng.sample(lines, len(lines)))


def ask_patchctl(world: World, folder: Path, rng: random.Random, agent_share: float = 0.3) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = answer_of(world, folder, rng, agent_share)["advisories"]
    return rows


def answer_of(
    world: World, folder: Path, rng: random.Random, agent_share: float = 0.3, more: Sequence[str] = ()
) -> dict[str, Any]:
    inventory = folder / "inventory"
    options = [word for repository in world.repositories for word in ("--repo", str(repository))]
    options += ["--running-kernel", str(world.running)] if world.running is not None else []
    if rng.random() < agent_share and world.installed:  # the agent knows the streams by itself
        inventory.write_text(run(agent_command(world), folder))
    else:
        inventory.write_bytes(rng.choice((tsv, one_a_line, as_rpm_spells_them))(rng, world.installed).encode())
        if not world.untold:
            options += ["--module-streams", ",".join(world.streams)]
    result = CliRunner().invoke(app, ["evaluate", "--inventory", str(inventory), *options, *more, "--output", "json"])
    assert result.exit_code in (0, 1, 4), result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def label(row: dict[str, str]) -> str:
    if row["type"] != "security":
        return row["type"]
    return f"{'Unknown' if row['severity'] == 'None' else row['severity']}/Sec."


def skip_without_tools() -> None:
    if absent := missing_tools():
        pytest.skip(f"{', '.join(absent)} not installed: make setup says what to install")
    try:
        as_root()
    except BuildError as error:
        pytest.skip(str(error))
    if subprocess.run(["/usr/bin/python3", "-c", "import dnf"], check=False, capture_output=True).returncode:
        pytest.skip("dnf is not there as a Python module")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    skip_without_tools()
    home = tmp_path_factory.mktemp("live")
    (home / ".rpmmacros").write_text(f"%_dbpath {DBPATH}\n%_db_backend sqlite\n")
    plain = build_packages(dict.fromkeys(builds(random.Random(7))), home / "packages")
    return Pool(plain, build_kernels(home / "kernels"), home)


def compare(world: World, pool: Pool, rows: Sequence[dict[str, str]], told_as: str) -> Counter[str]:
    """Assert that dnf's three lists are ours, and count their rows.

    Of advisories that share id and date of update and name one build, dnf prints the one that it reads last: the same id may hide that a
    build mends a hole behind "bugfix". We list each of them; nothing else may be ours alone, and nothing dnf's alone.
    """
    seen = Counter[str]()
    for availability in ("available", "installed", "all"):
        told = ask_dnf(world, pool, availability)
        ours = {(row["id"], label(row), row["package"]) for row in rows if availability in (row["state"], "all")}
        labels = Counter((identifier, package) for identifier, _, package in ours)
        printed = {(identifier, package) for identifier, _, package in told}
        hidden = {row for row in ours - told if labels[row[0], row[2]] > 1 and (row[0], row[2]) in printed}
        assert ours - hidden == told, f"{told_as}, --{availability}, running {world.running}, streams {world.streams}"
        seen[availability] += len(told)
    return seen


def drawn_seed() -> int:
    seed = int(os.environ.get("PATCHWARDEN_LIVE_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed}")
    return seed


@pytest.mark.slow
def test_random_hosts_and_repositories_get_the_rows_of_the_real_dnf(pool: Pool, tmp_path: Path) -> None:
    seed, seen = drawn_seed(), Counter[str]()
    for pair in range(PAIRS):
        rng = random.Random(f"{seed}-{pair}")
        folder = tmp_path / str(pair)
        folder.mkdir()
        world = make_world(rng, pool, folder)
        rows = ask_patchctl(world, folder, rng)
        seen += compare(world, pool, rows, f"seed {seed}, pair {pair}")
        available, present = ({r["package"] for r in rows if r["state"] == s} for s in ("available", "installed"))
        seen["installed, not running"] += len(available & present)
        seen["of modules"] += sum(".module+" in row["package"] for row in rows)
        seen["with epoch"] += sum(":" in row["package"] for row in rows)
        shutil.rmtree(folder)
    print(f"{PAIRS} of {PAIRS} pairs agree; rows: {dict(seen)}")
    assert PAIRS < 30 or len(seen) == 6, f"what was to be compared did not occur, only {dict(seen)}"


def plain_world(rng: random.Random, pool: Pool, folder: Path) -> World:
    """Make a host of plain packages, mostly each name noarch or not, now and then both at once, and repositories that offer others."""
    known = [package for package in pool.plain if not package.modularity]
    noarch = {name for name in NAMES if rng.random() < 0.4}
    mixed = {name for name in NAMES if rng.random() < 0.3}
    chosen = {
        (p.name, p.arch): pool.plain[p]
        for p in rng.sample(known, rng.randint(1, 24))
        if p.name in mixed or (p.arch == "noarch") == (p.name in noarch)
    }
    root = folder / "root"
    installed = make_root(root, list(chosen.values()), pool.home)
    repositories = list[Path]()
    for identifier in ("base", "updates")[: rng.randint(1, 2)]:
        offered = tuple(rng.sample(known, rng.randint(1, len(known))))
        names = [str(package.nevra) for package in rng.sample(offered, min(3, len(offered)))]
        own = AdvisorySpec(f"{identifier}-1", "security", "Low", "2023-03-20", "2023-03-21", "a", packages=tuple(names))
        spec = RepositorySpec(identifier, offered, (own,), with_updateinfo=rng.random() < 0.7)
        built = build_repository(spec, folder / identifier, pool.home / "packages")
        repositories.append(enable_repository(root, identifier, built))
    return World(root, tuple(repositories), installed, None, ())


@pytest.mark.slow
def test_no_update_that_the_real_dnf_offers_is_passed_over_when_everything_is_required(
    pool: Pool, tmp_path: Path
) -> None:
    """The verdict, not the rows: with and without advisories, from one architecture to noarch and back, in several architectures.

    Dnf offers nothing for a build beside which a newer one of another architecture is installed; we ask each name.arch by itself.
    """
    seed, seen = drawn_seed(), Counter[str]()
    for pair in range(PAIRS // 2):
        rng = random.Random(f"{seed}-updates-{pair}")
        folder = tmp_path / str(pair)
        folder.mkdir()
        world = plain_world(rng, pool, folder)
        baseline = folder / "everything.yaml"
        baseline.write_text(
            "name: all\noperating_system: CentOS\nrules:\n  - {approve_until: 2999-12-31, include_without_advisory: true}\n"
        )
        shape = "%{name}-%{epoch}:%{version}-%{release}.%{arch}"
        offered = {nevra.parse(text) for text in dnf(world, pool, "repoquery", "--upgrades", "--qf", shape).split()}
        found = answer_of(world, folder, rng, 0, ("--baseline", str(baseline))) if world.installed else {"items": []}
        missing = [item for item in found["items"] if item["status"] == "MISSING"]
        told = f"seed {seed}, pair {pair}"
        for build in offered:
            targets = [
                nevra.parse(f"{i['name']}-{i['target']}.{i['arch']}") for i in missing if i["name"] == build.name
            ]
            assert any(target.key >= build.key for target in targets), f"{told}: {build} is passed over"
        for item in missing:
            newer_beside = [b for b in world.installed if b.name == item["name"] and b.arch != item["arch"]]
            arch = item["reason"].removesuffix(")").rpartition(".")[2] if item["reason"] else item["arch"]
            target = nevra.parse(f"{item['name']}-{item['target']}.{arch}")
            assert target in offered or any(b.key >= target.key for b in newer_beside), f"{told}: {target} is no update"
            seen["of another architecture"] += arch != item["arch"]
        seen["updates"] += len(offered)
        shutil.rmtree(folder)
    print(f"{PAIRS // 2} of {PAIRS // 2} pairs agree; {dict(seen)}")
    assert PAIRS < 30 or len(seen) == 2


@pytest.fixture
def home(tmp_path: Path) -> Path:
    skip_without_tools()
    (tmp_path / ".rpmmacros").write_text(f"%_dbpath {DBPATH}\n%_db_backend sqlite\n")
    return tmp_path


def test_R8_a_stream_counts_as_for_the_real_dnf_when_it_is_enabled_or_the_untouched_default(home: Path) -> None:
    """nodejs:18 is enabled though 20 is the default, php:8.1 is the default, and nobody said anything of ruby, which has none.

    One more advisory for nodejs:18 is for a context that no repository describes.
    """
    modules = ("nodejs:18", "nodejs:20", "php:8.1", "ruby:3.1")
    builds = [
        PackageSpec(name, f"{stream}.1", "1.module+el9+7", modularity=f"{name}:{stream}:9:c0ffee")
        for name, stream in (module.split(":") for module in modules if module != "nodejs:20")
    ]
    root = home / "root"
    installed = make_root(root, list(build_packages(builds, home / "packages").values()), home)
    (root / "etc/dnf/modules.d/nodejs.module").write_text(
        "[nodejs]\nname=nodejs\nstream=18\nprofiles=\nstate=enabled\n"
    )
    told = tuple(
        AdvisorySpec(
            *(f"FIX-{module}", "security", "Important", "2023-03-20 00:00:00", "2023-03-21 00:00:00", "an advisory"),
            ("CVE-2023-0001",),
            (f"{module.split(':')[0]}-{module.split(':')[1]}.2-1.module+el9+7.x86_64",),
            module=f"{module}:9:c0ffee:x86_64",
        )
        for module in modules
    )
    undescribed = replace(told[0], id="FIX-other", module="nodejs:18:9:decaf:x86_64")
    described = modules_yaml(("nodejs:20", "php:8.1"), modules)
    spec = RepositorySpec("base", tuple(builds), (*told, undescribed), modules=described)
    repository = enable_repository(root, "base", build_repository(spec, home / "base", home / "packages"))
    world = World(root, (repository,), installed, None, ("nodejs:18", "php:8.1"))
    for agent_share in (0.0, 1.0):
        rows = ask_patchctl(world, home, random.Random(1), agent_share)
        assert [row["id"] for row in rows] == ["FIX-nodejs:18", "FIX-php:8.1"]
        compare(world, Pool({}, {}, home), rows, "the agent" if agent_share else "--module-streams")


@pytest.mark.parametrize(
    ("of_base", "of_updates", "described", "counting"),
    [
        ((), (), ("nodejs:18", "nodejs:20"), []),
        (("nodejs:18",), (), ("nodejs:18", "nodejs:20"), ["FIX-18"]),
        (("nodejs:20",), ("nodejs:20",), ("nodejs:18", "nodejs:20"), ["FIX-20"]),
        (("nodejs:20",), ("nodejs:18",), ("nodejs:18", "nodejs:20"), []),
        (("nodejs:20",), (), ("nodejs:18",), []),
    ],
    ids=["none", "one", "the same twice", "contradicting", "of a stream that nobody describes"],
)
def test_R8_where_nobody_says_which_streams_are_enabled_the_defaults_count_as_for_the_real_dnf(
    home: Path, of_base: tuple[str, ...], of_updates: tuple[str, ...], described: tuple[str, ...], counting: list[str]
) -> None:
    plain = PackageSpec("nodejs", "16.1", "3.el9")
    told = tuple(
        AdvisorySpec(
            *(f"FIX-{stream}", "security", "Important", "2023-03-20 00:00:00", "2023-03-21 00:00:00", "an advisory"),
            packages=(f"nodejs-{stream}.2-1.module+el9+7.x86_64",),
            module=f"nodejs:{stream}:9:c0ffee:x86_64",
        )
        for stream in ("18", "20")
    )
    root = home / "root"
    installed = make_root(root, list(build_packages([plain], home / "packages").values()), home)
    repositories = tuple(
        enable_repository(root, name, build_repository(spec, home / name, home / "packages"))
        for name, spec in (
            ("base", RepositorySpec("base", (plain,), told, modules=modules_yaml(of_base, described))),
            ("updates", RepositorySpec("updates", (plain,), modules=modules_yaml(of_updates, described))),
        )
    )
    world = World(root, repositories, installed, None, (), untold=True)
    rows = ask_patchctl(world, home, random.Random(1), agent_share=0)
    assert [row["id"] for row in rows] == counting
    compare(world, Pool({}, {}, home), rows, "nobody")


@pytest.mark.parametrize(
    ("needs", "enabled", "listed"),
    [
        (("[5.26]", "[5.30]"), "perl:5.30", ["FIX-decaf"]),
        (("[5.26]", "[5.30]"), "perl:5.26", ["FIX-c0ffee"]),
        (("[5.26, 5.30]", "[-5.26]"), "perl:5.26", ["FIX-c0ffee"]),
        (("[]", "[5.26]"), "perl:5.30", ["FIX-c0ffee"]),
    ],
)
def test_R8_of_the_contexts_of_a_stream_that_one_counts_which_the_enabled_streams_allow_as_for_the_real_dnf(
    home: Path, needs: tuple[str, str], enabled: str, listed: list[str]
) -> None:
    contexts = ("c0ffee", "decaf")
    build = PackageSpec("nodejs", "18.1", "1.module+el9+7", modularity="nodejs:18:9:c0ffee")
    told = tuple(
        AdvisorySpec(
            *(f"FIX-{context}", "security", "Important", "2023-03-20 00:00:00", "2023-03-21 00:00:00", "an advisory"),
            packages=(f"nodejs-18.{number}-1.module+el9+7.x86_64",),
            module=f"nodejs:18:9:{context}:x86_64",
        )
        for number, context in enumerate(contexts, 2)
    )
    described = modules_yaml((), ("perl:5.26", "perl:5.30"))
    for need, context in zip(needs, contexts, strict=True):
        document = modules_yaml((), ("nodejs:18",), (context,))
        described += document.replace("...\n", f"  dependencies:\n  - requires:\n      perl: {need}\n...\n")
    root = home / "root"
    installed = make_root(root, list(build_packages([build], home / "packages").values()), home)
    streams = ("nodejs:18", enabled)
    for name, stream in (module.split(":") for module in streams):
        (root / f"etc/dnf/modules.d/{name}.module").write_text(
            f"[{name}]\nname={name}\nstream={stream}\nprofiles=\nstate=enabled\n"
        )
    spec = RepositorySpec("base", (build,), told, modules=described)
    repository = enable_repository(root, "base", build_repository(spec, home / "base", home / "packages"))
    world = World(root, (repository,), installed, None, streams)
    for agent_share in (0.0, 1.0):
        rows = ask_patchctl(world, home, random.Random(1), agent_share)
        assert [row["id"] for row in rows] == listed
        compare(world, Pool({}, {}, home), rows, "the agent" if agent_share else "--module-streams")


def offered_and_advised(repository: Path) -> tuple[list[Nevra], list[Nevra]]:
    """What a repository offers, and what its advisories name; of the architectures that can be built here."""
    _, *lines = (repository / "available.tsv").read_text().splitlines()
    offered = {Nevra(n, int(e), v, r, a) for n, e, v, r, a in (line.split("\t")[:5] for line in lines)}
    advised = {
        Nevra(p.name, int(p.epoch or 0), p.version, p.release, p.arch)
        for file in (repository / "repodata").glob("*updateinfo.xml*")
        for update in createrepo_c.UpdateInfo(str(file)).updates
        for collection in update.collections
        for p in collection.packages
    }
    offered, advised = (
        {build for build in found if build.arch in ("x86_64", "noarch")} for found in (offered, advised)
    )
    return sorted(offered), sorted(advised)


def other_inventory(rng: random.Random, repositories: Sequence[Path]) -> list[PackageSpec]:
    """Choose builds near those that repositories offer and advise: the same, a little older, a little newer."""
    chosen = dict[tuple[str, str], Nevra]()
    for repository in repositories:
        offered, advised = offered_and_advised(repository)
        for build in (*rng.sample(offered, min(8, len(offered))), *advised):
            release = rng.choice((build.release, "0", f"{build.release}.1"))
            arch = rng.choice((build.arch, build.arch, build.arch, "noarch"))
            if rng.random() < 0.8:
                chosen[build.name, arch] = build._replace(release=release, arch=arch)
    return [PackageSpec(b.name, b.version, b.release, b.epoch, b.arch) for b in chosen.values()]


@pytest.mark.slow
@pytest.mark.skipif(not ORACLE.is_dir(), reason="the shared test data are not here")
def test_other_hosts_on_the_repositories_of_dnfs_own_suite_get_the_rows_of_the_real_dnf(
    pool: Pool, tmp_path: Path
) -> None:
    seed, seen = drawn_seed(), Counter[str]()
    known = sorted(folder.name for folder in ORACLE.iterdir())
    advised = sorted(name for name in known if any((ORACLE / name / "repodata").glob("*updateinfo*")))
    for pair in range(PAIRS // 2):
        rng = random.Random(f"{seed}-oracle-{pair}")
        folder = tmp_path / str(pair)
        folder.mkdir()
        names = dict.fromkeys([rng.choice(advised), *rng.sample(known, rng.randint(0, 2))])
        specs = other_inventory(rng, [ORACLE / name for name in names])
        built = build_packages(specs, pool.home / "packages")
        installed = make_root(folder / "root", list(built.values()), pool.home)
        repositories = tuple(enable_repository(folder / "root", name, ORACLE / name) for name in names)
        world = World(folder / "root", repositories, installed, None, ())
        seen += compare(world, pool, ask_patchctl(world, folder, rng), f"seed {seed}, pair {pair}, {list(names)}")
        shutil.rmtree(folder)
    print(f"{PAIRS // 2} of {PAIRS // 2} pairs agree; rows: {dict(seen)}")
    assert seen["available"]
    assert seen["installed"]
