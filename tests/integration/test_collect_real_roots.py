"""Collections of real installations: real rpm databases, real dnf, real repositories."""

from __future__ import annotations

import functools
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from common import manifest
from common.manifest import Hold, HoldKind, Problem, ProblemCode, Stream
from realroots import PackageSpec, RepositorySpec, build_repository, install_root, point_repository, upgrade_root
from tests.conftest import CENTOS_BASE, ROOT, RealHost
from uniagent.collect import kernel, repos, rpm
from uniagent.collect.inventory import collect
from uniagent.collect.model import Collected, CollectRequest
from uniagent.collect.rooted import Tree
from uniagent.collect.runner import Runner


def collected(root: Path, *, environment: Mapping[str, str] | None = None, **request) -> Collected:
    timeout = request.pop("timeout_seconds", 60.0)
    asked = CollectRequest(root=root, timeout_seconds=timeout, **request)
    return collect(asked, Runner(timeout, environment=environment), pause=lambda seconds: None, jitter=lambda: 0.0)


def content(found: Collected, digest: str) -> bytes:
    blob = found.blobs[digest]
    return blob if isinstance(blob, bytes) else blob.read_bytes()


def codes(found: Collected) -> list[ProblemCode]:
    return [problem.code for problem in found.manifest.problems]


def test_an_installation_is_told_whole(centos_host: RealHost) -> None:
    found = collected(centos_host.root)
    told = found.manifest
    assert told.problems == ()
    assert (told.os.id, told.os.version, told.os.arch) == ("centos", "7.9", "x86_64")
    assert told.package_manager.startswith("dnf 4")
    packages = manifest.decode_packages(content(found, told.packages))
    assert {line.nevra for line in packages} == {package.nevra for package in CENTOS_BASE}
    assert told.package_count == len(CENTOS_BASE)
    details = manifest.decode_details(content(found, told.details))
    assert {vendor for _, vendor in details} == {"Patchwarden examples"}
    assert all(abs(installed - time.time()) < 3600 for installed, _ in details)
    assert told.install_only == ("kernel",)
    base, updates = told.repositories
    assert (base.id, base.error, base.updateinfo) == ("base", "", "")
    assert (updates.id, updates.error, bool(updates.revision), updates.timestamp > 0) == ("updates", "", True, True)
    assert b"CVE-2023-0286" in gzip.decompress(content(found, updates.updateinfo))
    assert b"openssl-libs" in gzip.decompress(content(found, updates.primary))
    assert manifest.decode(manifest.encode(told)).blobs() == told.blobs()
    assert set(told.blobs()) == set(found.blobs)


def test_r7_an_offline_root_has_no_kernel_no_boot_and_no_hardware(centos_host: RealHost) -> None:
    told = collected(centos_host.root).manifest
    assert (told.running_kernel, told.running_kernel_package, told.boot_id, told.boot_time) == ("", "", "", 0)
    assert told.facts == {}


def test_r7_rpm_itself_says_who_owns_the_running_kernel(centos_host: RealHost) -> None:
    with rpm.opened(Runner(60), Tree(centos_host.root), None) as database:
        assert isinstance(database, rpm.Database)
        owners = functools.partial(rpm.owners, Runner(60), database)
        ours = kernel.running(owners, {"kernel"}, "3.10.0-1160.el7.x86_64", container=False)
        other = kernel.running(owners, {"kernel"}, "6.1.0", container=False)
    assert (ours.package, ours.problems) == ("kernel-3.10.0-1160.el7.x86_64", ())
    assert [p.detail for p in other.problems] == ["no installed package owns /lib/modules/6.1.0, the running kernel"]


def test_r1_an_unchanged_installation_gives_the_same_bytes_and_an_upgrade_does_not(own_centos_host: RealHost) -> None:
    first, second = (manifest.encode(collected(own_centos_host.root).manifest) for _ in range(2))
    assert first == second
    upgrade_root(own_centos_host.root, ["sudo"])
    assert manifest.encode(collected(own_centos_host.root).manifest) != first


def test_the_machine_that_asks_stays_as_it_was(own_centos_host: RealHost, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    collected(own_centos_host.root, environment={"PATH": os.environ["PATH"], "HOME": str(home)})
    assert list(home.iterdir()) == [], "Debian's rpm keeps its own database in the home folder"


def test_r11_a_broken_repository_is_an_error_that_is_always_the_same_and_hides_no_other(
    own_centos_host: RealHost,
) -> None:
    file = own_centos_host.root / "etc/yum.repos.d/base.repo"
    file.write_text("[base]\nname=base\nbaseurl=http://127.0.0.1:1/\nskip_if_unavailable=1\n")
    first, second = (collected(own_centos_host.root).manifest for _ in range(2))
    base, updates = first.repositories
    assert base.error.startswith("Curl error (7)")
    assert "http://127.0.0.1:1/repodata/repomd.xml" in base.error
    assert (base.primary, updates.error, bool(updates.updateinfo)) == ("", "", True)
    assert manifest.encode(first) == manifest.encode(second)


def test_r11_a_repository_that_was_there_yesterday_is_an_error_today_although_it_is_cached(
    own_centos_host: RealHost,
) -> None:
    assert collected(own_centos_host.root).manifest.repositories[1].error == ""
    file = own_centos_host.root / "etc/yum.repos.d/updates.repo"
    gone = own_centos_host.updates.parent / "moved"
    own_centos_host.updates.rename(gone)
    try:
        (error,) = {r.error for r in collected(own_centos_host.root).manifest.repositories if r.id == "updates"}
    finally:
        gone.rename(own_centos_host.updates)
    assert "Curl error (37)" in error, file.read_text()


def test_r11_a_repository_that_dnf_silently_leaves_out_is_a_problem(own_centos_host: RealHost) -> None:
    folder = own_centos_host.root / "etc/yum.repos.d"
    (folder / "odd.repo").write_text(
        "[what is this]\nname=x\nbaseurl=file:///x\n[off!]\nbaseurl=file:///x\nenabled=0\n"
    )
    (folder / "junk.repo").write_text("no section here\n")
    found = collected(own_centos_host.root)
    assert {p.detail for p in found.manifest.problems} == {
        "dnf left repository what is this out: its settings in odd.repo are wrong",
        "dnf cannot read junk.repo",
    }
    assert set(codes(found)) == {ProblemCode.REPO_CONFIG}
    assert [r.error for r in found.manifest.repositories] == ["", ""]


def test_wrong_main_settings_are_a_problem(own_centos_host: RealHost) -> None:
    (own_centos_host.root / "etc/dnf/dnf.conf").write_text("gpgcheck=1 without a section\n")
    assert ProblemCode.REPO_CONFIG in codes(collected(own_centos_host.root))


def test_without_repositories_there_are_none_and_the_machines_own_are_not_taken(own_centos_host: RealHost) -> None:
    shutil.rmtree(own_centos_host.root / "etc/yum.repos.d")
    (own_centos_host.root / "etc/dnf/dnf.conf").unlink()
    told = collected(own_centos_host.root).manifest
    assert (told.repositories, told.problems) == ((), ())


def test_repositories_are_found_by_the_installations_own_release_and_architecture(
    own_centos_host: RealHost, tmp_path: Path
) -> None:
    (tmp_path / "mirror/7").mkdir(parents=True)
    (tmp_path / "mirror/7/x86_64-blue").symlink_to(own_centos_host.base)
    (own_centos_host.root / "etc/dnf/vars/colour").write_text("blue\n")
    point_repository(own_centos_host.root, "base", f"file://{tmp_path}/mirror/$releasever/$basearch-$colour")
    assert [r.error for r in collected(own_centos_host.root).manifest.repositories] == ["", ""]


def test_r3_excludes_locks_and_streams_of_the_installation_are_told(own_centos_host: RealHost) -> None:
    root = own_centos_host.root
    (root / "etc/dnf/dnf.conf").write_text("[main]\nexclude=kernel* bash\n")
    with (root / "etc/yum.repos.d/updates.repo").open("a") as file:
        file.write("excludepkgs=tzdata\nincludepkgs=openssl* sudo\n")
    (root / "etc/dnf/plugins").mkdir()
    (root / "etc/dnf/plugins/versionlock.conf").write_text(
        "[main]\nenabled=1\nlocklist=/etc/dnf/plugins/versionlock.list\n"
    )
    (root / "etc/dnf/plugins/versionlock.list").write_text("sudo-0:1.8.23-10.el7.*\n")
    (root / "etc/dnf/modules.d").mkdir(exist_ok=True)
    (root / "etc/dnf/modules.d/nodejs.module").write_text("[nodejs]\nname=nodejs\nstream=18\nstate=enabled\n")
    told = collected(root).manifest
    assert set(told.holds) == {
        Hold(HoldKind.EXCLUDE, "kernel*"),
        Hold(HoldKind.EXCLUDE, "bash"),
        Hold(HoldKind.EXCLUDE, "tzdata", "updates"),
        Hold(HoldKind.EXCLUDE, "includepkgs=openssl*", "updates"),
        Hold(HoldKind.EXCLUDE, "includepkgs=sudo", "updates"),
        Hold(HoldKind.VERSIONLOCK, "sudo-0:1.8.23-10.el7.*"),
    }
    assert told.streams == (Stream("nodejs", "18"),)


def test_without_refreshing_the_cache_is_told_and_each_repository_says_so(own_centos_host: RealHost) -> None:
    fresh = collected(own_centos_host.root).manifest.repositories
    cached = collected(own_centos_host.root, refresh=False).manifest.repositories
    assert {r.error for r in cached} == {repos.NOT_REFRESHED}
    assert [(r.id, r.primary, r.updateinfo) for r in cached] == [(r.id, r.primary, r.updateinfo) for r in fresh]
    shutil.rmtree(own_centos_host.root / "var/cache/dnf")
    assert all("cache" in r.error for r in collected(own_centos_host.root, refresh=False).manifest.repositories)


def test_a_cached_file_that_somebody_changed_is_not_believed(own_centos_host: RealHost) -> None:
    collected(own_centos_host.root)
    (updateinfo,) = own_centos_host.root.glob("var/cache/dnf/updates-*/repodata/*updateinfo*")
    updateinfo.write_bytes(gzip.compress(b"<updates/>"))
    updates = collected(own_centos_host.root, refresh=False).manifest.repositories[1]
    assert "no cache" in updates.error, "dnf itself checks what it cached"
    assert collected(own_centos_host.root).manifest.repositories[1].error == "", "a refresh mends it"


MODULES = """---
document: modulemd
version: 2
data:
  name: nodejs
  stream: "18"
  version: 8000
  context: abc
  arch: x86_64
  summary: JavaScript
  description: JavaScript
  license: {module: [MIT]}
  artifacts: {rpms: ["nodejs-0:18.1-1.module+el8.x86_64"]}
...
"""


def test_modular_and_install_only_packages_are_told_as_rpm_knows_them(tmp_path: Path, package_cache: Path) -> None:
    packages = (
        PackageSpec("nodejs", "18.1", "1.module+el8", modularity="nodejs:18:8000:abc"),
        PackageSpec("kernel-core", "4.18.0", "1.el8", provides=("installonlypkg(kernel)",)),
        PackageSpec("kernel-core", "4.18.0", "2.el8", provides=("installonlypkg(kernel)",)),
    )
    spec = RepositorySpec("app", packages, modules=MODULES)
    repository = build_repository(spec, tmp_path / "app", package_cache)
    names = [str(package.nevra) for package in packages]
    os_release = {"ID": "rocky", "VERSION_ID": "8.9", "PLATFORM_ID": "platform:el8"}
    install_root(tmp_path / "root", os_release, {"app": repository}, names, "8", streams=["nodejs:18"])
    found = collected(tmp_path / "root")
    assert found.manifest.streams == (Stream("nodejs", "18"),)
    assert [r.modules != "" for r in found.manifest.repositories] == [True]
    lines = manifest.decode_packages(content(found, found.manifest.packages))
    assert {line.nevra for line in lines} == {package.nevra for package in packages}
    assert {line.module for line in lines} == {"", "nodejs:18:8000:abc"}
    assert found.manifest.install_only == ("kernel-core",)
    assert [r.updateinfo != "" for r in found.manifest.repositories] == [True]


def module(name: str, stream: str, requires: str = "") -> str:
    """Describe a stream in one context; it needs another module's stream."""
    needs = f"  dependencies: [{{requires: {{{requires}}}}}]\n" if requires else ""
    return (
        f"---\ndocument: modulemd\nversion: 2\ndata:\n  name: {name}\n  stream: '{stream}'\n  version: 9\n  context: abc\n"
        f"  arch: x86_64\n  summary: s\n  description: d\n  license: {{module: [MIT]}}\n{needs}...\n"
    )


def default_stream(name: str, stream: str) -> str:
    """Say which stream counts where nobody said anything."""
    return f"---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: {name}\n  stream: '{stream}'\n  profiles: {{}}\n...\n"


def test_r8_default_streams_and_what_streams_require_are_told_as_dnf_counts_them(
    tmp_path: Path, package_cache: Path
) -> None:
    known = [("nodejs", "18"), ("nodejs", "20"), ("perl", "5.30"), ("php", "8.1"), ("ruby", "3.1"), ("old", "1")]
    described = "".join(module(name, stream) for name, stream in known) + module("dbd", "1", "perl: ['5.30']")
    described += "".join(default_stream(*each) for each in (("nodejs", "20"), ("php", "8.1"), ("ruby", "3.1")))
    packages = (PackageSpec("bash", "4.2", "1.el8"),)
    repository = build_repository(RepositorySpec("app", packages, modules=described), tmp_path / "app", package_cache)
    os_release = {"ID": "rocky", "VERSION_ID": "8.9", "PLATFORM_ID": "platform:el8"}
    root = tmp_path / "root"
    install_root(root, os_release, {"app": repository}, [str(packages[0].nevra)], "8", streams=["nodejs:18", "dbd:1"])
    (root / "etc/dnf/modules.d/gone.module").write_text("[gone]\nname=gone\nstream=7\nstate=enabled\n")
    (root / "etc/dnf/modules.d/ruby.module").write_text("[ruby]\nname=ruby\nstream=\nprofiles=\nstate=disabled\n")
    told = collected(root).manifest
    assert [f"{each.name}:{each.stream}" for each in told.streams] == [
        *("dbd:1", "gone:7", "nodejs:18"),  # enabled; that no repository describes one of them any more is no answer
        "perl:5.30",  # required by dbd:1
        "php:8.1",  # the default
    ]
    assert told.problems == ()
    assert collected(root, refresh=False).manifest.streams == told.streams


# --- rpm that is missing, hanging, old, or in the middle of a transaction ----------------------------------------------


@pytest.fixture
def other_rpm(tmp_path: Path):
    """Put a program called rpm before the real one, and return the environment that finds it."""

    def make(script: str) -> dict[str, str]:
        (tmp_path / "bin").mkdir(exist_ok=True)
        program = tmp_path / "bin/rpm"
        program.write_text(f"#!/bin/sh\nreal={shutil.which('rpm')}\n{script}\n")
        program.chmod(0o755)
        return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}

    return make


def test_a_missing_rpm_is_a_problem(centos_host: RealHost) -> None:
    found = collected(centos_host.root, environment={"PATH": "/nowhere"})
    assert Problem(ProblemCode.RPMDB, "rpm is not installed: what is installed is not known") in found.manifest.problems
    assert (found.manifest.packages, found.packages) == ("", ())


def test_a_hanging_rpm_is_a_problem_that_names_the_deadline_and_the_rest_is_still_told(
    centos_host: RealHost, other_rpm
) -> None:
    found = collected(centos_host.root, environment=other_rpm("sleep 60"), timeout_seconds=20.0)
    (problem,) = found.manifest.problems
    assert problem.code is ProblemCode.RPMDB
    assert problem.detail == "rpm did not answer within 10 s: what is installed is not known"
    assert found.manifest.os.version == "7.9"


def test_an_rpm_that_has_never_heard_of_modules_is_asked_again_without(centos_host: RealHost, other_rpm) -> None:
    old = """case "$*" in *MODULARITYLABEL*) echo 'error: incorrect format: unknown tag: "MODULARITYLABEL"' >&2; exit 1;; esac
             exec $real "$@" """
    found = collected(centos_host.root, environment=other_rpm(old))
    assert (found.manifest.problems, found.manifest.package_count) == ((), len(CENTOS_BASE))


def test_what_rpm_complains_of_while_it_exits_0_is_a_problem(centos_host: RealHost, other_rpm) -> None:
    damaged = """echo 'error: rpmdbNextIterator: skipping h# 7' >&2; exec $real "$@" """
    found = collected(centos_host.root, environment=other_rpm(damaged))
    assert [p.detail for p in found.manifest.problems] == ["rpm said: error: rpmdbNextIterator: skipping h# 7"]


def test_a_folder_without_database_is_a_problem_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    found = collected(tmp_path)
    assert Problem(ProblemCode.RPMDB, "there is no rpm database in the installation") in found.manifest.problems
    assert list((tmp_path / "var/lib/rpm").iterdir()) == []


def test_a_database_without_packages_is_a_problem_never_an_empty_inventory(tmp_path: Path) -> None:
    subprocess.run(["rpm", "--dbpath", str(tmp_path / "var/lib/rpm"), "--initdb"], check=True)
    found = collected(tmp_path)
    assert "the rpm database in /var/lib/rpm of the installation holds no packages" in {
        p.detail for p in found.manifest.problems
    }
    assert found.manifest.packages == ""


def test_a_damaged_database_is_a_problem(own_centos_host: RealHost) -> None:
    database = own_centos_host.root / "var/lib/rpm/rpmdb.sqlite"
    database.write_bytes(b"x" * database.stat().st_size)
    for log in database.parent.glob("rpmdb.sqlite-*"):
        log.unlink()
    found = collected(own_centos_host.root)
    assert ProblemCode.RPMDB in codes(found)
    assert found.manifest.packages == ""


HOLD_LOCK = (
    "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); input()"
)


@pytest.fixture
def transaction(own_centos_host: RealHost) -> Iterator[None]:
    """Hold rpm's lock as a transaction does."""
    lock = own_centos_host.root / "var/lib/rpm/.rpm.lock"
    command = [sys.executable, "-c", HOLD_LOCK, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield
        process.kill()


@pytest.mark.usefixtures("transaction")
def test_a_transaction_that_does_not_end_makes_the_report_busy(own_centos_host: RealHost) -> None:
    waited = list[float]()
    with rpm.opened(Runner(60), Tree(own_centos_host.root), None) as database:
        assert isinstance(database, rpm.Database)
        listing = rpm.list_packages(Runner(60), database, waited.append, lambda: 0.5)
    assert [p.code for p in listing.problems] == [ProblemCode.BUSY]
    assert waited == [1.0, 2.0, 4.0, 8.0]
    assert listing.packages


def test_a_database_that_changes_while_it_is_read_is_read_again(
    own_centos_host: RealHost, other_rpm, tmp_path: Path
) -> None:
    changing = f"""echo x >> {tmp_path}/runs
        [ $(wc -l < {tmp_path}/runs) -le 3 ] && touch {own_centos_host.root}/var/lib/rpm/rpmdb.sqlite; exec $real "$@" """
    waited = list[float]()
    runner = Runner(60, environment=other_rpm(changing))
    with rpm.opened(runner, Tree(own_centos_host.root), None) as database:
        assert isinstance(database, rpm.Database)
        listing = rpm.list_packages(runner, database, waited.append, lambda: 0.0)
    assert (len(listing.packages), listing.problems) == (len(CENTOS_BASE), ())
    assert len(waited) == 2


# --- who may ask, and what is never asked back ----------------------------------------------------------------------


AS_NOBODY = """
import os, sys
from pathlib import Path
from common import manifest
from uniagent.collect.inventory import collect
from uniagent.collect.model import CollectRequest
from uniagent.collect.runner import Runner
image, mine = map(Path, sys.argv[1:])
os.setgid(65534)  # after all is imported: nobody may not be able to read it
os.setuid(65534)
environment = {"PATH": os.environ["PATH"], "HOME": str(mine)}
asked = CollectRequest(root=image, fallback_cache=mine / "cache", timeout_seconds=60.0)
found = collect(asked, Runner(60.0, environment=environment))
sys.stdout.buffer.write(manifest.encode(found.manifest))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_who_may_not_write_there_scans_it_all_the_same(centos_host: RealHost) -> None:
    untouched = {p: p.stat().st_mtime_ns for p in centos_host.root.rglob("*")}
    with tempfile.TemporaryDirectory() as name:
        folder, image = Path(name), Path(name) / "root"
        folder.chmod(0o755)
        (folder / "mine").mkdir(mode=0o777)
        (folder / "mine").chmod(0o777)
        shutil.copytree(centos_host.root, image, symlinks=True)
        for place in ("base", "updates"):
            shutil.copytree(getattr(centos_host, place), folder / place)
            point_repository(image, place, folder / place)
        shutil.rmtree(image / "var/cache/dnf", ignore_errors=True)
        before = {p: p.stat().st_mtime_ns for p in image.rglob("*")}
        command = [sys.executable, "-c", AS_NOBODY, str(image), str(folder / "mine")]
        told = manifest.decode(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        assert {p: p.stat().st_mtime_ns for p in image.rglob("*")} == before
    assert (told.problems, told.package_count) == ((), len(CENTOS_BASE))
    assert [(r.id, r.error) for r in told.repositories] == [("base", ""), ("updates", "")]
    assert {p: p.stat().st_mtime_ns for p in centos_host.root.rglob("*")} == untouched


def test_a_signature_that_nobody_confirmed_is_an_error_and_no_question(own_centos_host: RealHost) -> None:
    with (own_centos_host.root / "etc/yum.repos.d/updates.repo").open("a") as file:
        file.write("repo_gpgcheck=1\ngpgkey=file:///no/such/key\n")
    errors = [
        {r.id: r.error for r in collected(own_centos_host.root).manifest.repositories}["updates"] for _ in range(2)
    ]
    assert errors[0]
    assert errors[0] == errors[1]
