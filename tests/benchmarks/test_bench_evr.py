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
builds = [tuple(build) for build in asked["builds"]]
pairs = [(builds[a], builds[b]) for a, b in asked["pairs"]]
compare = rpm.labelCompare

def once(function):
    begun = time.process_time()
    found = function()
    return time.process_time() - begun, found

compared = min(once(lambda: [compare(a, b) for a, b in pairs])[0] for _ in range(asked["times"]))
ordered = min((once(lambda: sorted(builds, key=cmp_to_key(compare))) for _ in range(asked["times"])), key=lambda f: f[0])
print(json.dumps([compared, ordered[0], [compare(a, b) for a, b in pairs], ordered[1]]))
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
    compared, ordered, answers, their_order = json.loads(told.stdout)
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
    table.ratio(
        f"{SORTED:,} EVRs sorted", best(lambda: sorted(keys)), ordered, "s", than="rpm.labelCompare", at_least=5
    )
    table.absolute("one EVR key made", best(lambda: [evr.key(*build) for build in builds]) / SORTED, "s")
