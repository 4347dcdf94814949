"""Attack one parser: `python tests/fuzz/one.py TARGET [libFuzzer's arguments]`. Ends with an error when a promise was broken."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["common", "controller"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].attack)
    atheris.Fuzz()
