"""What the controller's program asks of the garbage collector, in a process of its own: it is a matter of the whole process."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc
from controller import heap

class Cycle:
    def __init__(self):
        self.me = self

before = gc.get_threshold()
heap.collect_seldom()
assert gc.isenabled()
assert all(now > then for now, then in zip(gc.get_threshold(), before))
fleet = [Cycle() for _ in range(1000)]
heap.keep_what_is_there()
kept = gc.get_freeze_count()
garbage = Cycle()
del garbage
looked_at = sum(isinstance(each, Cycle) for each in gc.get_objects())
print(kept >= len(fleet), looked_at == 1, gc.collect() > 0)
"""


def test_what_is_there_is_left_alone_and_cycles_that_come_later_are_still_found() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
