"""What rpm, dnf, os-release and repomd.xml say, and what we make of it. What cannot be read is a problem, never a silence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from common.manifest import Hold, HoldKind, PackageLine, Problem, ProblemCode, Stream
from common.nevra import Nevra
from uniagent.collect import asked, dnf, holds, kernel, modules, os_release, repomd, repos, rpm
from uniagent.collect.model import Asked, AskedRepository
from uniagent.collect.rooted import Tree
from uniagent.collect.runner import End, Ran

# --- rpm ---------------------------------------------------------------------------------------------------------------


def test_a_listing_keeps_epoch_module_install_time_and_vendor() -> None:
    said = (
        "bash\t0\t4.2.46\t34.el7\tx86_64\t1600000000\t\tCentOS\n"
        "nodejs\t1\t18.0\t1.module+el8\tx86_64\t1600000001\tnodejs:18:1:c\tRocky Enterprise  Software\tFoundation\n"
        "gpg-pubkey\t0\tf4a80eb5\t53a7ff4b\t(none)\t1600000002\t\t\n"
    )
    packages, problems = rpm.parse_packages(said)
    assert problems == ()
    assert [p.line for p in packages] == [
        PackageLine(Nevra("bash", 0, "4.2.46", "34.el7", "x86_64")),
        PackageLine(Nevra("nodejs", 1, "18.0", "1.module+el8", "x86_64"), "nodejs:18:1:c"),
    ]
    assert [(p.installed_at, p.vendor) for p in packages] == [
        (1600000000, "CentOS"),
        (1600000001, "Rocky Enterprise  Software Foundation"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "bash",
        "bash\tx\t1\t1\tx86_64\t1\t\t",
        "bash\t0\t\t1\tx86_64\t1\t\t",
        "bash\t0\t1\t1\t(none)\t1\t\t",
        "a\t0\t1\t1\tn\t\t\t",
    ],
)
def test_a_line_that_is_no_package_is_a_problem_and_the_rest_is_kept(line: str) -> None:
    packages, problems = rpm.parse_packages(f"{line}\ngood\t0\t1\t1\tnoarch\t1\t\t\n")
    assert [p.line.nevra.name for p in packages] == ["good"]
    assert [p.code for p in problems] == [ProblemCode.RPMDB]


def test_a_thousand_unreadable_lines_are_a_handful_of_problems() -> None:
    packages, problems = rpm.parse_packages("".join(f"junk {n}\n" for n in range(1000)))
    assert packages == ()
    assert len(problems) == 6
    assert "1000 lines" in problems[-1].detail


def test_a_vendor_with_odd_characters_stays_on_its_line() -> None:
    packages, problems = rpm.parse_packages("a\t0\t1\t1\tnoarch\t1\t\tA\x0bB\u2028C\x1cD\n")
    assert (len(packages), problems) == (1, ())


def test_errors_that_rpm_prints_while_it_exits_0_are_problems() -> None:
    ran = Ran("rpm", End.EXITED, 0, "", "warning: fine\nerror: rpmdb: damaged header #12 retrieved -- skipping.\n" * 2)
    assert rpm.errors_of(ran) == (
        Problem(ProblemCode.RPMDB, "rpm said: error: rpmdb: damaged header #12 retrieved -- skipping."),
    )


def test_r7_install_only_is_what_the_settings_name_and_whatever_provides_installonlypkg() -> None:
    provides = rpm.parse_provides(
        "kernel\tkernel\nkernel-core\tinstallonlypkg(kernel)\nkmod-x\tinstallonlypkg(vm)\nbash\tbash\n"
    )
    assert rpm.install_only(provides, ("kernel",)) == ("kernel", "kernel-core", "kmod-x")
    assert rpm.install_only(provides, ("bash",)) == ("bash", "kernel-core", "kmod-x")
    assert rpm.install_only(provides, ()) == ("kernel", "kernel-core", "kmod-x"), "without settings: the usual ones"


# --- the running kernel ------------------------------------------------------------------------------------------------

KERNEL = Nevra("kernel", 0, "3.10.0", "1160.el7", "x86_64")
CORE = Nevra("kernel-core", 0, "5.14.0", "1.el9", "x86_64")
EXTRA = Nevra("kernel-modules", 0, "5.14.0", "1.el9", "x86_64")


def owners(**paths: tuple[Nevra, ...]):
    table = {"modules": "/lib/modules/R", "vmlinuz": "/lib/modules/R/vmlinuz", "boot": "/boot/vmlinuz-R"}
    known = {table[name]: found for name, found in paths.items()}
    return lambda path: known.get(path, ())


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ({"modules": (KERNEL,)}, "kernel-3.10.0-1160.el7.x86_64"),
        ({"modules": (CORE, EXTRA), "vmlinuz": (CORE,)}, "kernel-core-5.14.0-1.el9.x86_64"),
        ({"boot": (KERNEL,)}, "kernel-3.10.0-1160.el7.x86_64"),
    ],
)
def test_r7_the_running_kernels_package_is_the_owner_of_its_modules_or_image(paths, expected) -> None:
    assert kernel.running(owners(**paths), {"kernel"}, "R", container=False).package == expected


def test_r7_a_kernel_that_nobody_owns_is_a_problem_only_where_kernel_packages_are_installed() -> None:
    assert [p.code for p in kernel.running(owners(), {"kernel-core"}, "R", container=False).problems] == [
        ProblemCode.KERNEL
    ]
    assert kernel.running(owners(), {"bash"}, "R", container=False) == kernel.Running("R")


def test_r7_a_container_has_no_running_kernel() -> None:
    assert kernel.running(owners(modules=(KERNEL,)), {"kernel"}, "R", container=True) == kernel.Running()


@pytest.mark.parametrize("mark", ["run/.containerenv", ".dockerenv", "run/systemd/container", "proc/1/environ"])
def test_containers_are_known_by_the_marks_they_carry(tmp_path: Path, mark: str) -> None:
    assert not kernel.in_container(tmp_path)
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).write_bytes(b"HOME=/\0container=lxc\0")
    assert kernel.in_container(tmp_path)


# --- os-release --------------------------------------------------------------------------------------------------------

OS_RELEASES = [
    (
        'ID="centos"\nVERSION="7 (Core)"\nVERSION_ID="7"',
        ("centos", "CentOS Linux release 7.9.2009 (Core)"),
        "centos",
        "7.9",
    ),
    ('ID="centos"\nVERSION="8"\nVERSION_ID="8"', ("centos", "CentOS Linux release 8.5.2111"), "centos", "8.5"),
    ('ID="centos"\nVERSION="9"\nVERSION_ID="9"', ("centos", "CentOS Stream release 9"), "centos", "9"),
    (None, ("centos", "CentOS release 6.10 (Final)"), "centos", "6.10"),
    ('ID="hce"\nVERSION="2.0 (x86_64)"\nVERSION_ID="2.0"', None, "hce", "2.0"),
    (
        'ID="euleros"\nVERSION="2.0 (SP10)"\nVERSION_ID="2.0"',
        ("euleros", "EulerOS release 2.0 (SP10)"),
        "euleros",
        "2.10",
    ),
    ('ID="euleros"\nVERSION="2.0 (SP9x86_64)"\nVERSION_ID="2.0"', None, "euleros", "2.9"),
    ('ID="openEuler"\nVERSION="22.03 (LTS-SP3)"\nVERSION_ID="22.03"', None, "openEuler", "22.03-LTS-SP3"),
    (
        'ID="rhel"\nVERSION="8.6 (Ootpa)"\nVERSION_ID="8.6"',
        ("redhat", "Red Hat Enterprise Linux release 8.6 (Ootpa)"),
        "rhel",
        "8.6",
    ),
    ('ID="rocky"\nVERSION="9.3 (Blue Onyx)"\nVERSION_ID="9.3"', None, "rocky", "9.3"),
    ('ID="almalinux"\nVERSION="9.3 (x)"\nVERSION_ID="9.3"', None, "almalinux", "9.3"),
    ("ID=fedora\nVERSION_ID=39", ("fedora", "Fedora release 39 (Thirty Nine)"), "fedora", "39"),
    (
        'ID="ol"\nVERSION="8.9"\nVERSION_ID="8.9"',
        ("redhat", "Red Hat Enterprise Linux release 8.9 (Ootpa)"),
        "ol",
        "8.9",
    ),
    ('ID="amzn"\nVERSION="2023"\nVERSION_ID="2023"', None, "amzn", "2023"),
    ('ID="amzn"\nVERSION="2"\nVERSION_ID="2"', ("system", "Amazon Linux release 2 (Karoo)"), "amzn", "2"),
]


@pytest.mark.parametrize(("os_text", "release", "name", "version"), OS_RELEASES)
def test_each_os_says_its_version_as_exactly_as_it_can(tmp_path: Path, os_text, release, name, version) -> None:
    (tmp_path / "etc").mkdir()
    if os_text:
        (tmp_path / "etc/os-release").write_text(f'{os_text}\nPRETTY_NAME="Some OS"\nCPE_NAME="cpe:/o:x"\n')
    if release:
        (tmp_path / f"etc/{release[0]}-release").write_text(release[1] + "\n")
    found, problems = os_release.read(Tree(tmp_path), "x86_64")
    assert (found.id, found.version, problems) == (name, version, ())
    assert found.pretty_name == ("Some OS" if os_text else "CentOS 6.10")
    assert found.cpe == ("cpe:/o:x" if os_text else "")


def test_an_installation_that_does_not_say_what_it_is_has_a_problem(tmp_path: Path) -> None:
    found, problems = os_release.read(Tree(tmp_path), "x86_64")
    assert (found.id, found.arch) == ("", "x86_64")
    assert [p.code for p in problems] == [ProblemCode.OS_RELEASE]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("NAME=Nothing\n")
    assert {p.detail for p in os_release.read(Tree(tmp_path), "")[1]} == {
        "/etc/os-release says no ID",
        "/etc/os-release says no VERSION_ID",
    }


def test_links_of_an_image_stay_inside_it(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "etc/os-release").symlink_to("/usr/lib/os-release")
    (tmp_path / "usr/lib/os-release").write_text("ID=rocky\nVERSION_ID=9.3\n")
    assert os_release.read(Tree(tmp_path), "")[0].id == "rocky"
    (tmp_path / "etc/up").symlink_to("../../../../../etc/passwd")
    assert Tree(tmp_path).path("etc/up") == tmp_path / "etc/passwd"
    (tmp_path / "etc/loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"loop|symbolic"):
        Tree(tmp_path).read_text("etc/loop")


# --- holds and streams -------------------------------------------------------------------------------------------------


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_r3_version_locks_are_read_as_dnf_and_yum_spell_them(tmp_path: Path) -> None:
    put(
        tmp_path,
        "etc/dnf/plugins/versionlock.conf",
        "[main]\nenabled = 1\nlocklist = /etc/dnf/plugins/versionlock.list\n",
    )
    put(
        tmp_path, "etc/dnf/plugins/versionlock.list", "# by hand\n\nbash-0:4.4.20-1.el8_4.*\n!sudo-0:1.9-1.*  # never\n"
    )
    put(tmp_path, "etc/yum/pluginconf.d/versionlock.conf", "[main]\nenabled=1\n")
    put(tmp_path, "etc/yum/pluginconf.d/versionlock.list", "0:nginx-1.20.1-9.el7.*\n")
    found, problems = holds.read(Tree(tmp_path), Asked())
    assert problems == ()
    assert [h.pattern for h in found] == ["bash-0:4.4.20-1.el8_4.*", "!sudo-0:1.9-1.*", "0:nginx-1.20.1-9.el7.*"]
    assert {h.kind for h in found} == {HoldKind.VERSIONLOCK}


@pytest.mark.parametrize("config", ["[main]\nenabled = 0\n", None])
def test_a_list_of_a_plugin_that_is_off_or_not_installed_locks_nothing(tmp_path: Path, config: str | None) -> None:
    put(tmp_path, "etc/dnf/plugins/versionlock.list", "bash-0:4.4.20-1.el8_4.*\n")
    if config:
        put(tmp_path, "etc/dnf/plugins/versionlock.conf", config)
    assert holds.read(Tree(tmp_path), Asked()) == ((), ())


def test_with_plugins_off_version_locks_do_not_count(tmp_path: Path) -> None:
    put(tmp_path, "etc/dnf/plugins/versionlock.conf", "[main]\nenabled=1\n")
    put(tmp_path, "etc/dnf/plugins/versionlock.list", "bash-0:4.4.20-1.el8_4.*\n")
    assert holds.read(Tree(tmp_path), Asked(plugins=False)) == ((), ())


def test_dnf5_locks_are_read_from_its_table(tmp_path: Path) -> None:
    put(
        tmp_path,
        "etc/dnf/versionlock.toml",
        'version = "1.0"\n[[packages]]\nname = "acl"\n[[packages.conditions]]\nkey = "evr"\ncomparator = "="\n'
        'value = "0:2.3.1-1"\n[[packages]]\nname = "vim"\n[[packages.conditions]]\nkey = "evr"\ncomparator = "<"\nvalue = "9"\n',
    )
    assert [h.pattern for h in holds.read(Tree(tmp_path), Asked())[0]] == ["acl-0:2.3.1-1.*", "vim evr < 9"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("etc/dnf/plugins/versionlock.conf", "enabled without a section"),
        ("etc/dnf/versionlock.toml", "this is = not toml ="),
        ("etc/dnf/versionlock.toml", "packages = 7"),
        ("etc/dnf/versionlock.toml", "packages = [{nothing = 1}]"),
        ("etc/dnf/versionlock.toml", "packages = ['bash']"),
    ],
)
def test_locks_that_cannot_be_read_are_a_problem(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path, name, text)
    assert [p.code for p in holds.read(Tree(tmp_path), Asked())[1]] == [ProblemCode.HOLDS]


def test_r3_excludes_are_told_with_their_repository_and_includes_as_what_they_are() -> None:
    said = Asked(
        excludes=("kernel*",),
        includes=("*",),
        repositories=(AskedRepository("epel", excludes=("nginx",), includes=("htop", "jq")),),
    )
    assert list(holds.excludes(said)) == [
        Hold(HoldKind.EXCLUDE, "kernel*"),
        Hold(HoldKind.EXCLUDE, "includepkgs=*"),
        Hold(HoldKind.EXCLUDE, "nginx", "epel"),
        Hold(HoldKind.EXCLUDE, "includepkgs=htop", "epel"),
        Hold(HoldKind.EXCLUDE, "includepkgs=jq", "epel"),
    ]


@pytest.mark.parametrize(
    ("off", "left"), [("all", []), ("main", ["nginx"]), ("epel", ["kernel*"]), ("other", ["kernel*", "nginx"])]
)
def test_disable_excludes_is_honoured(off: str, left: list[str]) -> None:
    epel = AskedRepository("epel", excludes=("nginx",))
    said = Asked(excludes=("kernel*",), repositories=(epel,), disabled_excludes=frozenset({off}))
    assert [h.pattern for h in holds.excludes(said)] == left


def test_r8_enabled_streams_are_read_and_others_are_not(tmp_path: Path) -> None:
    put(tmp_path, "etc/dnf/modules.d/nodejs.module", "[nodejs]\nname=nodejs\nprofiles=\nstate=enabled\nstream=18\n")
    put(tmp_path, "etc/dnf/modules.d/php.module", "[php]\nname=php\nstate=disabled\nstream=\n")
    put(tmp_path, "etc/dnf/modules.d/notes.txt", "not a module")
    assert modules.read(Tree(tmp_path)) == ((Stream("nodejs", "18"),), ())


def test_streams_that_cannot_be_read_are_a_problem(tmp_path: Path) -> None:
    put(tmp_path, "etc/dnf/modules.d/php.module", "state=enabled\n")
    streams, problems = modules.read(Tree(tmp_path))
    assert streams == ()
    assert problems == (
        Problem(ProblemCode.MODULES, "/etc/dnf/modules.d/php.module cannot be read: its form is wrong"),
    )


# --- repomd.xml --------------------------------------------------------------------------------------------------------

REPOMD = b"""<?xml version="1.0"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1700000000</revision>
<data type="primary"><checksum type="%s">%s</checksum><location href="../../repodata/p.xml.gz"/><timestamp>1700000001.5</timestamp></data>
<data type="updateinfo"><checksum type="sha256">00</checksum><location href="repodata/u.xml.gz"/><timestamp>1700000007</timestamp></data>
</repomd>"""


def test_repomd_gives_revision_newest_time_and_files_without_folders() -> None:
    said = repomd.parse(REPOMD % (b"sha", b"AB"))
    assert (said.revision, said.timestamp) == ("1700000000", 1700000007)
    assert said.files["primary"] == repomd.File("p.xml.gz", "sha", "ab")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<html>captive portal", "is not XML"),
        (b"<html/>", "is no repomd"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><repomd/>', "entities"),
        (REPOMD.replace(b'<location href="repodata/u.xml.gz"/>', b""), "where 'updateinfo' is"),
        (REPOMD.replace(b"updateinfo", b"primary"), "names primary twice"),
        (b" " * (repomd.MAX_REPOMD_BYTES + 1), "larger than 4 MiB"),
    ],
)
def test_a_wrong_repomd_is_refused_in_one_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        repomd.parse(content)


@pytest.mark.parametrize("kind", ["sha", "sha1", "sha256", "sha512", "md5"])
def test_a_cached_file_is_believed_only_if_it_is_what_repomd_says(tmp_path: Path, kind: str) -> None:
    (tmp_path / "repodata").mkdir()
    (tmp_path / "repodata/p.xml.gz").write_bytes(b"content")
    promised = hashlib.new({"sha": "sha1"}.get(kind, kind), b"content").hexdigest().encode()
    plain = REPOMD.replace(b'<data type="updateinfo">', b'<data type="other">')
    (tmp_path / "repodata/repomd.xml").write_bytes(plain % (kind.encode(), promised))
    repository, _, blobs = repos.read(AskedRepository("r", cache=str(tmp_path)), refreshed=True)
    assert (repository.error, repository.primary) == ("", hashlib.sha256(b"content").hexdigest())
    assert blobs == {repository.primary: tmp_path / "repodata/p.xml.gz"}
    (tmp_path / "repodata/p.xml.gz").write_bytes(b"other")
    repository, _, blobs = repos.read(AskedRepository("r", cache=str(tmp_path)), refreshed=True)
    assert repository.error == "its primary in the package manager's cache is not what its repomd.xml says"
    assert (repository.primary, dict(blobs)) == ("", {})


def test_an_updateinfo_that_repomd_names_but_nobody_cached_is_an_error_not_an_absence(tmp_path: Path) -> None:
    (tmp_path / "p.xml.gz").write_bytes(b"content")
    (tmp_path / "repomd.xml").write_bytes(REPOMD % (b"sha256", hashlib.sha256(b"content").hexdigest().encode()))
    repository, _, _ = repos.read(
        AskedRepository("r", cache=str(tmp_path)), refreshed=True
    )  # yum's layout: no repodata/
    assert repository.error == "its updateinfo is not in the package manager's cache"


def test_what_was_not_refreshed_says_so_but_shows_what_was_cached(tmp_path: Path) -> None:
    (tmp_path / "p.xml.gz").write_bytes(b"content")
    plain = REPOMD.replace(b'<data type="updateinfo">', b'<data type="other">')
    (tmp_path / "repomd.xml").write_bytes(plain % (b"sha256", hashlib.sha256(b"content").hexdigest().encode()))
    repository, _, _ = repos.read(AskedRepository("r", cache=str(tmp_path)), refreshed=False)
    assert repository.error == repos.NOT_REFRESHED
    assert repository.primary


# --- what the package manager says -------------------------------------------------------------------------------------


def lines(*entries: dict) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


ENABLED = {"kind": "enabled", "ids": ["base", "updates"]}
TOOL = {"kind": "tool", "name": "yum", "version": "3.4.3"}


def test_what_was_said_before_the_time_ran_out_counts_and_the_rest_is_an_error() -> None:
    said = lines(TOOL, ENABLED, {"kind": "repository", "id": "base", "error": "", "cache": "/c"}) + '{"kind": "reposi'
    answer = asked.parse(Ran("python", End.TIMED_OUT, 15, said, "", "600 s"))
    assert answer.package_manager == "yum 3.4.3"
    assert answer.problems == ()
    assert answer.repositories == (
        AskedRepository("base", cache="/c"),
        AskedRepository("updates", "it was not refreshed: the package manager did not answer within 600 s"),
    )


@pytest.mark.parametrize(
    ("ran", "detail"),
    [
        (Ran("python", End.NOT_FOUND), "python is not installed: the enabled repositories are not known"),
        (Ran("python", End.EXITED, 1, "", "Traceback\n"), "python ended with exit code 1: Traceback: the enabled"),
        (
            Ran("python", End.EXITED, 0, lines({"kind": "problem", "code": "REPO_CONFIG", "detail": "dnf is ill"})),
            "dnf is ill",
        ),
        (Ran("python", End.EXITED, 0, "not json\n[1]\n"), "python ended with exit code 0: the enabled"),
    ],
)
def test_a_package_manager_that_cannot_say_what_is_enabled_is_a_problem(ran: Ran, detail: str) -> None:
    (problem,) = asked.parse(ran).problems
    assert problem.code is ProblemCode.REPO_CONFIG
    assert problem.detail.startswith(detail)


def test_the_cause_of_a_failed_refresh_is_what_the_transport_said_whatever_mirror_it_tried() -> None:
    cause = (
        "Curl error (7): Couldn't connect to server for http://{}/repodata/repomd.xml [Failed to connect after 1 ms]"
    )
    assert asked.why_not("All mirrors were tried", [cause.format("a")]) == (
        "Curl error (7): Couldn't connect to server (http://a/repodata/repomd.xml)"
    )
    several = asked.why_not("All mirrors were tried", [cause.format("a"), cause.format("b")])
    assert several == asked.why_not("All mirrors were tried", [cause.format("c"), cause.format("d")])
    assert asked.why_not("GPG check\nfailed", []) == "GPG check"


# The shapes that dnf 5's manual pages document (dnf5-repo.8, dnf5.8).
DNF5_LIST = '[\n  {"id": "updates", "name": "Updates", "is_enabled": true},\n  {"id": "fedora", "name": "F", "is_enabled": true}\n]\n'


def test_dnf5_says_what_is_enabled_in_json() -> None:
    assert dnf.parse_repositories("Updating and loading repositories:\n" + DNF5_LIST) == ["fedora", "updates"]
    assert dnf.parse_version("dnf5 version 5.2.6.0\n") == "dnf 5.2.6.0"
    assert dnf.parse_settings("======== Main configuration: ========\nexcludepkgs = a, b\nplugins = 1\n") == {
        "excludepkgs": "a, b",
        "plugins": "1",
    }


@pytest.mark.parametrize("said", ["", "No repositories", "{}", "[1]", '[{"name": "x"}]'])
def test_dnf5_saying_anything_else_is_refused(said: str) -> None:
    with pytest.raises(ValueError):
        dnf.parse_repositories(said)


def program(folder: Path, name: str, first_line: str) -> None:
    (folder / name).write_bytes(first_line.encode() + b"\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("programs", "family", "interpreter"),
    [
        ({"dnf": "#!/usr/bin/python3 -P", "yum": "#!/usr/bin/python3"}, "dnf4", ("/usr/bin/python3",)),
        ({"dnf": "#!/usr/libexec/platform-python"}, "dnf4", ("/usr/libexec/platform-python",)),
        ({"dnf5": "\x7fELF"}, "dnf5", ()),
        ({"yum": "#!/usr/bin/python -tt"}, "yum3", ("/usr/bin/python",)),
    ],
)
def test_the_package_manager_that_is_there_is_asked_with_its_own_interpreter(
    tmp_path, programs, family, interpreter
) -> None:
    for name, first in programs.items():
        program(tmp_path, name, first)
    tool = repos.find_tool(str(tmp_path))
    assert tool is not None
    assert (tool.family, tool.interpreter) == (family, interpreter)


def test_dnf_that_is_a_link_to_dnf5_is_dnf5(tmp_path: Path) -> None:
    program(tmp_path, "dnf5", "\x7fELF")
    (tmp_path / "dnf").symlink_to("dnf5")
    tool = repos.find_tool(str(tmp_path))
    assert tool is not None
    assert tool.family == "dnf5"


def test_where_there_is_no_package_manager_none_is_found(tmp_path: Path) -> None:
    assert repos.find_tool(str(tmp_path)) is None
