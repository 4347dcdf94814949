"""A whole fleet's answer: against librpm in a loop, against dnf on each host, after a changed baseline, one report, one advisory."""

from __future__ import annotations

import json
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pyroaring import FrozenBitMap

from common.nevra import Nevra
from controller.compliance.approvals import compile_approvals
from controller.compliance.evaluator import Answer, Evaluator, Host
from controller.compliance.judge import PackageTable, judge
from controller.compliance.model import Available, Baseline, CustomPackage, Level, Rule
from controller.compliance.newest import Newest
from controller.compliance.offers import RepositoryContent
from controller.inventory.advisories import Decoder, encode_advisories, encode_available
from controller.inventory.model import Snapshot
from realroots import DBPATH, AdvisorySpec, PackageSpec, RepositorySpec, build_repository, install_root
from tests.benchmarks.measuring import TIMES, Table, best
from tests.benchmarks.synthetic_fleet import DRIFT, NAMES, Fleet, a_fleet, an_advisory_for, changed
from tests.builders import NOW, a_baseline
from tests.conftest import CENTOS_OS_RELEASE

pytestmark = pytest.mark.bench

SAMPLE = 100
"""The loop and dnf cost the same for each host, so some hosts tell enough."""
DNF_PACKAGES = 200
EVERYTHING = a_baseline("everything", Rule())
"""Approves every advisory: then the plain ways and ours are asked the same."""
PYTHON = "/usr/bin/python3"
LOOP = """
import json, rpm, sys, time

asked = json.load(sys.stdin)
lines = [[((n, a), (str(e), v, r)) for n, e, v, r, a in host] for host in asked["hosts"]]
hosts = [dict(host) for host in lines]
advisories = [[((n, a), (str(e), v, r)) for n, e, v, r, a in packages] for packages in asked["advisories"]]
unmentioned = [((n, a), (str(e), v, r)) for n, e, v, r, a in asked["unmentioned"]]
required = {name for advisory in advisories for name, _ in advisory}
compare = rpm.labelCompare


def missing(host):
    found = set()
    for advisory in advisories:
        for name, build in advisory:
            installed = host.get(name)
            if installed is not None and compare(installed, build) < 0:
                found.add(name)
    return found


def newest(lines):
    found = {}
    for name, build in lines:
        if name not in found or compare(found[name], build) < 0:
            found[name] = build
    return found


def whole(newest):
    behind = missing(newest)
    known = sum(name in required for name in newest)
    without = 0
    for name, build in unmentioned:
        installed = newest.get(name)
        if installed is not None and compare(installed, build) < 0:
            without += 1
    status = "NON_COMPLIANT" if behind else "COMPLIANT"
    installed, other, not_applicable = known - len(behind), len(newest) - known, len(required) - known
    return status, installed, other, len(behind), not_applicable, without, behind


def least(answer, hosts):
    found = []
    for _ in range(asked["times"]):
        begun = time.process_time()
        answers = [answer(host) for host in hosts]
        found.append(time.process_time() - begun)
    return min(found), answers


def keys(found):
    return sorted(f"{n}.{a}" for n, a in found)


missing_seconds, sets = least(missing, hosts)
whole_seconds, _ = least(whole, hosts)
lines_seconds, answers = least(lambda host: whole(newest(host)), lines)
answers = [[*answer[:-1], keys(answer[-1])] for answer in answers]
print(json.dumps([[missing_seconds, whole_seconds, lines_seconds], list(map(keys, sets)), answers]))
"""
"""What one would write with librpm's binding: for each host and advisory.

Which packages are missing; whole answers; and these from an inventory's lines, which may have several builds of a name.
"""


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return a_fleet()


def whole(evaluator: Evaluator, hosts: list[Host], baseline: Baseline) -> list[Answer]:
    return [evaluator.assess(host, baseline, NOW) for host in hosts]


def as_the_loop_answers(answer: Answer) -> list[object]:
    counts = answer.assessment.counts
    return [
        answer.assessment.status.value,
        counts.installed,
        counts.installed_other,
        counts.missing,
        counts.not_applicable,
        counts.updates_without_advisory,
        list(answer.non_compliant_keys),
    ]


def newest_unmentioned(fleet: Fleet) -> list[Nevra]:
    """Of each name.arch the newest build that no advisory names, as the repository offers them."""
    named = {package.nevra for advisory in fleet.advisories for package in advisory.packages}
    newest = dict[tuple[str, str], Nevra]()
    for build in sorted((a.nevra for a in fleet.available if a.nevra not in named), key=lambda nevra: nevra.key):
        newest[build.name, build.arch] = build
    return list(newest.values())


def test_bench_a_whole_fleet_against_a_librpm_loop(fleet: Fleet, table: Table) -> None:
    asked = {
        "times": TIMES,
        "hosts": [[line.nevra for line in fleet.lines(host)] for host in fleet.hosts[:SAMPLE]],
        "advisories": [[package.nevra for package in advisory.packages] for advisory in fleet.advisories],
        "unmentioned": newest_unmentioned(fleet),
    }
    told = subprocess.run([PYTHON, "-c", LOOP], input=json.dumps(asked), capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip(f"{PYTHON} has no rpm module (python3-rpm)")
    seconds, missing, loop_answers = json.loads(told.stdout)
    answers = whole(fleet.evaluator(), list(fleet.hosts[:SAMPLE]), EVERYTHING)
    assert [list(answer.non_compliant_keys) for answer in answers] == missing
    assert [as_the_loop_answers(answer) for answer in answers] == loop_answers
    loop, whole_loop, lines_loop = (each / SAMPLE * len(fleet.hosts) for each in seconds)
    count = f"{len(fleet.hosts):,} hosts"
    known = PackageTable()
    known.add(fleet.packages)
    newest = Newest(known)
    installed = [newest.of(host.snapshot) for host in fleet.hosts if host.snapshot is not None]
    joined = best(lambda: joined_with_verdicts(fleet, known, installed))
    table.ratio(f"which packages are missing, {count}", joined, loop, "s", than="librpm loop", at_least=50)
    answers_of = f"whole answers, {count}"

    def from_nothing(evaluators: list[Evaluator]) -> object:
        evaluator = evaluators.pop()
        return evaluator, whole(evaluator, list(fleet.hosts), EVERYTHING)  # what it found out is kept

    known_hosts = [knows_the_hosts(fleet) for _ in range(TIMES)]
    table.ratio(
        f"{answers_of}, nothing compiled or judged yet",
        best(lambda: from_nothing(known_hosts)),
        whole_loop,
        "s",
        than="librpm loop",
        at_least=50,
    )
    unknown_hosts = [fleet.evaluator() for _ in range(TIMES)]
    table.ratio(
        f"{answers_of}, nor any inventory looked at",
        best(lambda: from_nothing(unknown_hosts)),
        lines_loop,
        "s",
        than="librpm loop",
    )
    evaluator = fleet.evaluator()
    whole(evaluator, list(fleet.hosts), EVERYTHING)
    again = best(lambda: whole(evaluator, list(fleet.hosts), EVERYTHING))
    table.ratio(f"{answers_of}, once more", again, whole_loop, "s", than="librpm loop", at_least=50)
    table.remark(
        "which packages are missing: metadata compiled, each distinct package judged, joined with each host's packages, as the loop finds"
        " it out; whole answers: status, counts and what is missing; ours have level, reasons and the digests of their inputs besides"
    )
    table.remark(
        "which of several builds of a name counts is found out when an inventory comes in, and known to the loop as well; where no"
        " inventory was looked at, both find it out"
    )
    table.remark(
        f"librpm loop: rpm.labelCompare for each host and advisory, {SAMPLE} hosts measured and multiplied; metadata and packages are"
        " in memory, and both ways must give the same answers"
    )


def knows_the_hosts(fleet: Fleet) -> Evaluator:
    """One that evaluated the hosts by a list of packages: no repository has a say in that, so nothing is compiled or judged yet."""
    evaluator = fleet.evaluator()
    row = CustomPackage("package-with-a-name-0001", "1", "1", Level.HIGH)
    whole(evaluator, list(fleet.hosts), replace(EVERYTHING, id="b-rows", rules=(), custom=(row,)))
    return evaluator


def joined_with_verdicts(fleet: Fleet, known: PackageTable, installed: list[FrozenBitMap]) -> list[FrozenBitMap]:
    content = RepositoryContent("updates", fleet.advisories, fleet.available)
    approved = compile_approvals([content], EVERYTHING, NOW.date(), (), "CentOS 7.9", {})
    behind = judge(approved, known).behind
    return [packages & behind for packages in installed]


def test_bench_b_whole_fleet_against_dnf_on_each_host(
    fleet: Fleet, table: Table, package_cache: Path, tmp_path: Path
) -> None:
    builds = [line.nevra for line in fleet.lines(fleet.hosts[0])[:DNF_PACKAGES]]
    specs = tuple(PackageSpec(b.name, b.version, b.release, b.epoch, b.arch) for b in builds)
    advisories = tuple(
        AdvisorySpec(
            a.id,
            a.category.value.lower(),
            a.severity.value,
            f"{a.issued} 00:00:00",
            "",
            a.title,
            a.cves,
            tuple(str(p.nevra) for p in a.packages),
        )
        for a in fleet.advisories
    )
    folder = build_repository(RepositorySpec("updates", specs, advisories), tmp_path / "updates", package_cache)
    install_root(tmp_path / "root", CENTOS_OS_RELEASE, {"updates": folder}, [str(b) for b in builds], "7")
    seconds = min(dnf_seconds(tmp_path / "root") for _ in range(1 + TIMES))
    evaluator = fleet.evaluator()
    whole(evaluator, list(fleet.hosts), EVERYTHING)
    bases = [replace(changed(fleet.baseline), version=n) for n in range(2, 2 + TIMES)]  # none was ever asked before
    ours = best(lambda: whole(evaluator, list(fleet.hosts), bases.pop()))
    table.ratio(
        "fleet what-if",
        ours,
        seconds * len(fleet.hosts),
        "s",
        than="dnf updateinfo list on each host",
        at_least=1000,
    )
    table.remark(
        f"dnf: processor time of one run on a real root with {DNF_PACKAGES} packages (a fifth of a host's, in dnf's favour) and"
        f" {len(advisories):,} advisories, metadata cached, multiplied by {len(fleet.hosts):,}"
    )


def dnf_seconds(root: Path) -> float:
    """Processor seconds of `dnf updateinfo list` in a real installation."""
    home = root.with_name("home")
    home.mkdir(exist_ok=True)
    (home / ".rpmmacros").write_text(f"%_dbpath {DBPATH}\n")  # some distributions' rpm prefers another place
    options = ("--quiet", "-C", f"--installroot={root}", "--releasever=7", "--disableplugin=*")
    settings = (f"--config={root}/etc/dnf/dnf.conf", f"--setopt=reposdir={root}/etc/yum.repos.d")
    before = os.times()
    done = subprocess.run(
        ["dnf", *options, *settings, "updateinfo", "list"],
        env=os.environ | {"HOME": str(home), "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
    )
    after = os.times()
    assert "FLEET-2026" in done.stdout
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_bench_c_what_if_of_a_changed_baseline_over_the_fleet(fleet: Fleet, table: Table) -> None:
    evaluator = fleet.evaluator()
    before = whole(evaluator, list(fleet.hosts), fleet.baseline)
    bases = [replace(changed(fleet.baseline), version=n) for n in range(2, 2 + TIMES)]  # none was ever asked before
    after = list[Answer]()
    seconds = best(lambda: after.extend(whole(evaluator, list(fleet.hosts), bases.pop())))
    assert any(a.assessment.level != b.assessment.level for a, b in zip(before, after, strict=False))
    table.absolute(f"what-if of a changed baseline, {len(fleet.hosts):,} hosts", seconds, "s", at_most=1)
    table.remark("whole answers: the names of what is missing are kept as numbers and spelled when somebody reads them")


def test_bench_d_one_instance_after_it_reported_something_new(fleet: Fleet, table: Table) -> None:
    evaluator = fleet.evaluator()
    whole(evaluator, list(fleet.hosts), fleet.baseline)
    dice = random.Random(7)
    fresh = [reported_anew(host, dice) for host in fleet.hosts[:SAMPLE] for _ in range(TIMES)]
    rounds = iter([fresh[n::TIMES] for n in range(TIMES)])
    seconds = best(lambda: whole(evaluator, next(rounds), fleet.baseline)) / SAMPLE
    table.absolute("one instance evaluated after it reported something new", seconds, "s", at_most=1e-3)


def reported_anew(host: Host, dice: random.Random) -> Host:
    """The host with some packages in other builds: an inventory nobody had before."""
    assert host.snapshot is not None
    packages = host.snapshot.packages
    gone = FrozenBitMap(dice.sample(list(packages), DRIFT))
    return replace(host, snapshot=Snapshot(dice.randbytes(32), packages - gone))


@pytest.mark.parametrize("and_build", [False, True], ids=["advisory", "advisory and build"])
def test_bench_e_one_new_advisory_to_the_fleets_new_numbers(fleet: Fleet, table: Table, and_build: bool) -> None:
    decoder = Decoder()
    fleet = replace(
        fleet,
        advisories=decoder.advisories(encode_advisories(fleet.advisories)),
        available=decoder.available(encode_available(fleet.available)),
    )
    evaluator = fleet.evaluator()
    whole(evaluator, list(fleet.hosts), fleet.baseline)
    dice = random.Random(8)
    numbers = iter(range(9000, 9000 + 3 * TIMES))

    def files() -> tuple[bytes, bytes]:
        """What the worker process made of the next edition of the repository's files: as they were, and one more record."""
        one = an_advisory_for(dice.randrange(NAMES), next(numbers), dice)
        nevra = one.packages[0].nevra
        build = Available(nevra._replace(release=f"{nevra.release}.1"), 1_790_000_000)
        return encode_advisories((*fleet.advisories, one)), encode_available(
            (*fleet.available[:999], build, *fleet.available[999:])
        )

    def reported(edition: tuple[bytes, bytes]) -> list[Host]:
        """Every host says that its repository has other files now, and they are read."""
        number = next(numbers)
        repository = replace(fleet.repository, updateinfo=f"{number:064x}")
        evaluator.add_updateinfo(repository.updateinfo, decoder.advisories(edition[0]), {})
        if and_build:
            repository = replace(repository, primary=f"{number + 1_000_000:064x}")
            evaluator.add_primary(repository.primary, decoder.available(edition[1]))
        return [
            replace(h, manifest=replace(h.manifest, repositories=(repository,)), manifest_digest=f"{number}")
            for h in fleet.hosts
            if h.manifest is not None
        ]

    rounds = [reported(files()) for _ in range(TIMES)]
    seconds = best(lambda: whole(evaluator, rounds.pop(0)[:1], fleet.baseline))
    scratch = fleet.evaluator()
    anew = best(lambda: whole(scratch, list(fleet.hosts[:1]), fleet.baseline), 1)
    what = "one new advisory and its build" if and_build else "one new advisory"
    table.ratio(
        f"{what}: required, every package judged, first host answered",
        seconds,
        anew,
        "s",
        than="all compiled and judged anew",
    )
    table.absolute("the same, in time", seconds, "s", at_most=10e-3)
    hosts = reported(files())
    whole(evaluator, hosts[:1], fleet.baseline)
    each = best(lambda: whole(evaluator, hosts, fleet.baseline), 1)
    table.absolute(f"each of {len(hosts):,} hosts that reports it next", each / len(hosts), "s", at_most=1e-3)
    if and_build:
        made = files()
        read = best(lambda: (decoder.advisories(made[0]), decoder.available(made[1])), 1)
        table.absolute("reading the two files from the worker that parsed them, beside the event loop", read, "s")
    table.remark(
        "one new advisory: editions of a file share what they repeat, only the names in the difference are compiled and judged again, and"
        " hosts without such a package keep their verdicts; the numbers follow each host as it reports the new file"
    )
