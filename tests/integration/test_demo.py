"""The demo's fleet is what it says, as dnf itself sees it; and the whole story comes out as it must."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

import hosts
import run
from common import nevra, settings
from controller.settings import Settings as ControllerSettings
from hosts import INSTANCES, SYSTEMS
from processes import Daemons, DemoError
from realroots import build_repository, install_root, installed
from tests.scripted_patchctl import patchctl
from uniagent.settings import Settings as AgentSettings

REPOSITORY = Path(__file__).resolve().parents[2]
TODAY = date(2026, 11, 22)
SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


def test_the_fleet_is_twelve_instances_of_three_systems_in_two_regions_and_three_groups() -> None:
    assert len({i.name for i in INSTANCES}) == len(INSTANCES) == 12
    assert {i.system for i in INSTANCES} == set(SYSTEMS) == {"hce", "centos", "euleros"}
    assert len({i.region for i in INSTANCES}) == 2
    assert len({i.application_group for i in INSTANCES}) == 3
    assert {i.resource_type for i in INSTANCES} == {"ECS", "BMS"}
    assert {i.expected for i in INSTANCES} == {"COMPLIANT", "NON_COMPLIANT", "UNDETERMINED"}


def test_the_story_needs_three_different_instances() -> None:
    assert len({hosts.BROKEN, hosts.KILLED, hosts.SHOWN} & {i.name for i in INSTANCES}) == 3


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=lambda s: s.key)
def test_every_update_is_newer_than_what_the_image_holds_and_every_number_is_known(system: hosts.System) -> None:
    base = {n.name: n for n in map(nevra.parse, system.base)}
    for update in system.updates:
        for package in map(nevra.parse, update.packages):
            assert base[package.name].arch == package.arch
            assert base[package.name].key < package.key
    numbers = {update.number for update in system.updates}
    for instance in INSTANCES:
        if instance.system == system.key:
            assert set(instance.lacks) <= numbers
            assert set(instance.has) <= set(system.optional) <= set(base)


def test_the_advisories_have_every_shape_that_the_story_needs() -> None:
    updates = [update for system in SYSTEMS.values() for update in system.updates]
    assert {u.type for u in updates} == {"security", "bugfix", "enhancement", ""}
    assert {"Critical", "Important", "Moderate", "Low", ""} <= {u.severity for u in updates}
    assert any(len(u.cves) > 1 for u in updates)
    assert any(nevra.parse(p).epoch for u in updates for p in u.packages)
    assert all(any(not u.number for u in system.updates) for system in SYSTEMS.values())
    assert any(len([p for p in hosts.packages_of(i) if p.startswith("kernel-")]) == 2 for i in INSTANCES)


def test_advisories_are_dated_from_the_day_of_the_story() -> None:
    _, updates = hosts.repositories(hosts.CENTOS, TODAY)
    first = updates.advisories[0]
    assert (first.id, first.issued, first.cves) == ("CESA-2026:1335", "2026-10-05 00:00:00", ("CVE-2026-10286",))
    assert first.packages == ("openssl-1:1.0.2k-26.el7_9.x86_64", "openssl-libs-1:1.0.2k-26.el7_9.x86_64")


def test_dnf_sees_on_each_instance_just_the_advisories_that_it_lacks(package_cache: Path, tmp_path: Path) -> None:
    places = {
        key: {
            spec.id: build_repository(spec, tmp_path / key / spec.id, package_cache)
            for spec in hosts.repositories(system, TODAY)
        }
        for key, system in SYSTEMS.items()
    }

    def look(instance: hosts.Instance) -> None:
        system, root = SYSTEMS[instance.system], tmp_path / "roots" / instance.name
        packages = hosts.packages_of(instance)
        install_root(root, system.os_release, places[instance.system], packages, system.releasever)
        assert {str(n) for n in installed(root)} == set(packages)
        lacked = {
            (system.advisory_id(update, TODAY), package)
            for update in system.updates
            if update.number and update.number in instance.lacks
            for package in update.packages
            if nevra.parse(package).name in {nevra.parse(p).name for p in packages}
        }
        assert updateinfo(root, system.releasever) == lacked, instance.name

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(look, INSTANCES))


def updateinfo(root: Path, releasever: str) -> set[tuple[str, str]]:
    """Ask dnf which advisories are available: {(id, NEVRA)}."""
    home = root.parent / f"{root.name}-home"
    home.mkdir()
    (home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
    command = [
        *("dnf", "--quiet", f"--installroot={root}", f"--releasever={releasever}", "--disableplugin=*"),
        *(f"--config={root}/etc/dnf/dnf.conf", f"--setopt=reposdir={root}/etc/yum.repos.d", "updateinfo", "list"),
    ]
    environment = os.environ | {"HOME": str(home), "LC_ALL": "C.UTF-8"}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return {(line.split()[0], str(nevra.parse(line.split()[-1]))) for line in said.splitlines()}


@pytest.mark.parametrize(("kind", "name"), [(ControllerSettings, "controller.toml"), (AgentSettings, "uniagent.toml")])
def test_the_sample_settings_are_accepted_and_so_are_their_commented_lines(kind, name: str, tmp_path: Path) -> None:
    sample = REPOSITORY / "packaging/samples" / name
    settings.load(kind, sample)
    lines = [line.removeprefix("# ") if " = " in line else line for line in sample.read_text().splitlines()]
    (tmp_path / name).write_text("\n".join(lines))
    loaded = settings.load(kind, tmp_path / name)
    known = {field.name for field in dataclasses.fields(loaded)}
    assert {line.split(" = ")[0] for line in lines if " = " in line and not line.startswith(("[", "#"))} - known <= {
        "owner"
    }


def commands_in(page: Path) -> set[tuple[tuple[str, ...], frozenset[str]]]:
    """Return the commands of ours that a page shows: program and subcommand words, and the options they are given."""
    found = set[tuple[tuple[str, ...], frozenset[str]]]()
    for line in page.read_text().splitlines():
        words = line.split("#")[0].split()
        if words and words[0] in ("patchctl", "uniagent", "patchwarden-controller"):
            depth = 3 if words[0] == "patchctl" and words[1] not in ("login", "evaluate") else 2
            found.add((tuple(words[:depth]), frozenset(w for w in words[depth:] if w.startswith("--"))))
    return found


@pytest.mark.parametrize(("command", "options"), sorted(commands_in(REPOSITORY / "README.md"), key=str))
def test_every_command_that_the_readme_shows_exists_with_its_options(
    command: tuple[str, ...], options: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    program, *words = command
    if program == "patchctl":  # three dozens of them: one process is enough
        result = patchctl(*words, "--help")
        code, shown = result.exit_code, result.output
    else:
        asked = [Path(sys.executable).parent / program, *words, "--help"]
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        code, shown = done.returncode, done.stdout
    assert code == 0, shown
    assert options <= set(re.findall(r"--[a-z-]+", shown))


def test_make_alone_lists_the_targets_that_people_use() -> None:
    own = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }  # make may run this test
    listed = subprocess.run(["make"], cwd=REPOSITORY, check=True, capture_output=True, text=True, env=own).stdout
    targets = [line.split()[1] for line in listed.splitlines()]
    assert targets == ["help", "setup", "proto", "check", "test", "test-slow", "fuzz", "bench", "demo", "clean"]


def test_daemons_end_with_their_context_and_a_killed_one_ends_at_once(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        daemons.start("one", SLEEP)
        daemons.start("two", SLEEP)
        pids = [process.pid for process in daemons._running.values()]
        daemons.kill("one")
        daemons.check()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_daemon_that_ends_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Daemons(tmp_path) as daemons:
        daemons.start("agent", (sys.executable, "-c", "raise SystemExit('no controller')"))
        with pytest.raises(DemoError, match=r"(?s)agent ended with 1.*no controller"):
            daemons.wait("never", 20, lambda: False)


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with run.only_one(tmp_path), pytest.raises(DemoError, match="another demo is running"), run.only_one(tmp_path):
        pass


def test_a_report_that_contradicts_the_fleet_is_an_error() -> None:
    good = {
        i.name: {
            "status": "COMPLIANT" if i.name == hosts.SHOWN else i.expected,
            "operating_system": {"product": SYSTEMS[i.system].product},
            "reasons": [{"reason": "REPO_ERROR"}],
        }
        for i in INSTANCES
    }
    assert run.differences(good) == []
    first, broken = good["ecs-web-01"], good[hosts.BROKEN]
    assert run.differences(good | {"ecs-web-01": first | {"status": "NON_COMPLIANT"}}) == [
        "ecs-web-01 should be COMPLIANT and is NON_COMPLIANT"
    ]
    assert run.differences(good | {"ecs-web-01": first | {"operating_system": {"product": ""}}}) == [
        "ecs-web-01 should be Huawei Cloud EulerOS 2.0 and is "
    ]
    assert run.differences(good | {hosts.BROKEN: broken | {"reasons": []}}) == [
        f"{hosts.BROKEN} should say REPO_ERROR and says nothing"
    ]


def demo(folder: Path, packages: Path, *options: str) -> subprocess.Popen[str]:
    """Start the story in a folder, with the packages that other tests have built of the same specs."""
    folder.mkdir()
    packages.mkdir(exist_ok=True)
    (folder / "cache").symlink_to(packages)
    command = [sys.executable, str(REPOSITORY / "packaging/demo/run.py"), "--folder", str(folder), *options]
    return subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of all processes that were started with a file of this folder."""
    found = list[str]()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if f"{folder}/" in command:
            found.append(command)
    return found


def test_the_whole_story_is_told_in_time_and_comes_out_as_it_must(package_cache: Path, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said, errors = demo(tmp_path / "demo", package_cache).communicate(timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert errors == ""
    # 90 s is promised. Processor time, because other tests may run beside this one.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 90
    assert "12 agents are ONLINE" in said
    assert f"{hosts.KILLED} UNREACHABLE" in said or f"{hosts.KILLED} TIMEOUT" in said
    missing = f"{hosts.SHOWN} is missing {hosts.ASKED} 1:1.0.2k-26.el7_9 because advisory CESA-"
    assert missing in " ".join(said.split())
    assert said.index(f"{hosts.SHOWN}  NON_COMPLIANT") < said.index(f"{hosts.SHOWN}  COMPLIANT")
    report = json.loads((tmp_path / "demo/report.json").read_text())
    assert run.differences({each["instance_name"]: each for each in report["reports"]}) == []
    assert {path.stem for path in (tmp_path / "demo/logs").iterdir()} == {"controller", *(i.name for i in INSTANCES)}
    assert processes_in(tmp_path / "demo") == []


def test_an_interruption_that_python_dropped_ends_the_story_at_its_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does with one that comes in a `__del__`."""
    monkeypatch.setattr(run, "_told_to_end", threading.Event())
    with pytest.raises(KeyboardInterrupt):
        run._interrupt(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        run.Story(tmp_path, keep=False)._say("the next step")


@pytest.mark.slow
def test_kept_running_it_can_be_asked_until_ctrl_c_ends_it(package_cache: Path, tmp_path: Path) -> None:
    story = demo(tmp_path / "demo", package_cache, "--keep")
    assert story.stdout is not None
    said = ""
    while "Ctrl-C ends it" not in said:
        line = story.stdout.readline()
        assert line, "it ended by itself"
        said += line
    config = next(line.split("=", 1)[1].strip() for line in said.splitlines() if "PATCHCTL_CONFIG" in line)
    patchctl = [str(Path(sys.executable).parent / "patchctl"), "instances", "list", "--output", "json"]
    listed = subprocess.run(patchctl, check=True, capture_output=True, env=os.environ | {"PATCHCTL_CONFIG": config})
    assert len(json.loads(listed.stdout)) == len(INSTANCES)
    story.send_signal(signal.SIGINT)
    assert story.wait(30) == 0
    assert processes_in(tmp_path / "demo") == []


@pytest.mark.slow
def test_ended_early_it_leaves_nothing_running(package_cache: Path, tmp_path: Path) -> None:
    story = demo(tmp_path / "demo", package_cache)
    assert story.stdout is not None
    while "ONLINE" not in story.stdout.readline():
        assert story.poll() is None
    story.send_signal(signal.SIGTERM)
    _, errors = story.communicate(timeout=60)
    assert story.returncode == 130
    assert "Ended early" in errors
    assert processes_in(tmp_path / "demo") == []
