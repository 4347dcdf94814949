"""Asks yum 3 (CentOS 7, EulerOS 2, Amazon Linux 2), through its own Python library."""

from __future__ import annotations

from collections.abc import Sequence

from uniagent.collect import asked
from uniagent.collect.asked import Question
from uniagent.collect.model import Asked
from uniagent.collect.runner import Runner


def ask_yum3(runner: Runner, interpreter: Sequence[str], question: Question) -> Asked:
    """Refresh and ask with yum's library; `interpreter` is what the first line of its program names."""
    return asked.ask(runner, interpreter, "ask_yum.py", question)
