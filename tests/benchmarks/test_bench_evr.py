"""Keys of versions against librpm's own comparison through its Python binding."""

from __future__ import annotations

import json
import operator
import random
import subprocess

import pytest

from common import evr
from tests.benchmarks.measuring import TIMES, Table, best
from tests.benchmarks.synthetic_fleet import a_fleet

PYTHON = "/usr/bin/python3"
PAIRS = 500_000
SORTED = 100_000
ASK = """
import json, rpm, sys, time
from functools import cmp_to_key
asked = json.load(sys.stdin)
apart = [tuple(build) for build in asked["builds"]]
same = {}
builds = [same.setdefault(build, build) for build in apart]
pairs = [(builds[a], builds[b]) for a, b in asked["pairs"]]
pairs_apart = [(apart[a], apart[b]) for a, b in asked["pairs"]]
compare = rpm.labelCompare

def once(function):
    begun = time.process_time()
    found = function()
    return time.process_time() - begun, found

compared = min(once(lambda: [compare(a, b) for a, b in pairs])[0] for _ in range(asked["times"]))
compared_apart = min(once(lambda: [compare(a, b) for a, b in pairs_apart])[0] for _ in range(asked["times"]))
ordered = min((once(lambda: sorted(builds, key=cmp_to_key(compare))) for _ in range(asked["times"])), key=lambda f: f[0])
print(json.dumps([compared, compared_apart, ordered[0], [compare(a, b) for a, b in pairs], ordered[1]]))
"""


@pytest.mark.bench
def test_bench_f_keys_of_versions_against_librpm(table: Table) -> None:
    dice = random.Random(3)
    known = [package.nevra.evr for package in a_fleet(1).packages]
    builds = [known[dice.randrange(len(known))] for _ in range(SORTED)]
    chosen = [(dice.randrange(SORTED), dice.randrange(SORTED)) for _ in range(PAIRS)]
    asked = {"times": TIMES, "builds": [(str(b.epoch), b.version, b.release) for b in builds], "pairs": chosen}
    told = subprocess.run([PYTHON, "-c", ASK], input=json.dumps(asked), capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip(f"{PYTHON} has no rpm module (python3-rpm)")
    compared, compared_apart, ordered, answers, their_order = json.loads(told.stdout)
    keys = [evr.key(*build) for build in builds]
    left, right = [keys[a] for a, _ in chosen], [keys[b] for _, b in chosen]
    assert [(a > b) - (a < b) for a, b in zip(left, right, strict=True)] == answers
    assert [evr.key(int(e), v, r) for e, v, r in their_order] == sorted(keys)
    table.ratio(
        f"{PAIRS:,} comparisons of EVRs",
        best(lambda: list(map(operator.lt, left, right))),
        compared,
        "s",
        than="rpm.labelCompare",
        at_least=5,
    )
    apart = [bytes(bytearray(key)) for key in keys]
    left_apart, right_apart = [apart[a] for a, _ in chosen], [apart[b] for _, b in chosen]
    table.ratio(
        "the same, each EVR and each key an object of its own",
        best(lambda: list(map(operator.lt, left_apart, right_apart))),
        compared_apart,
        "s",
        than="rpm.labelCompare",
    )
    table.ratio(
        f"{SORTED:,} EVRs sorted", best(lambda: sorted(keys)), ordered, "s", than="rpm.labelCompare", at_least=5
    )
    never_seen = [
        (number % 3, f"{number % 97}.{number}.{number % 7}", f"{number % 89}.el7_{number % 11}")
        for number in range(SORTED)
    ]
    table.absolute(
        "one EVR key made, of a version never seen",
        best(lambda: [evr.key(*build) for build in never_seen]) / SORTED,
        "s",
    )
    table.remark(
        f"EVRs: {len(set(keys)):,} different ones are among them; equal ones are one object, on both sides, as evr.key makes them"
    )
