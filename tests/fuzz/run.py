"""Attack every parser in turn: `python tests/fuzz/run.py SECONDS_EACH [TARGET ...]`. What broke one is kept in findings/."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz.targets import TARGETS

HERE: Final = Path(__file__).resolve().parent
FINDINGS: Final = HERE / "findings"
MEMORY_MIB: Final = 1024
"""More than a parser may need for these inputs: what takes more is a finding."""
SECONDS_AN_INPUT: Final = 20
MAX_INPUT: Final = 1 << 16


def attack(name: str, seconds: int, findings: Path) -> subprocess.CompletedProcess[str]:
    """Attack one parser for so long; a return code other than 0 means that a file in `findings` broke it."""
    target = TARGETS[name]
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus, words = Path(folder, "corpus"), Path(folder, "words")
        corpus.mkdir()
        for number, seed in enumerate(target.seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words), encoding="ascii")
        limits = (f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", f"-rss_limit_mb={MEMORY_MIB}")
        options = (f"-timeout={SECONDS_AN_INPUT}", f"-dict={words}", f"-artifact_prefix={findings}/{name}-")
        return subprocess.run(
            [sys.executable, str(HERE / "one.py"), name, str(corpus), *limits, *options, "-print_final_stats=1"],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
        )


def _quoted(word: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\x{ord(c):02x}" for c in word)


def main(seconds: int, names: list[str]) -> int:
    """Return how many parsers broke a promise."""
    broken = 0
    for name in names or TARGETS:
        done = attack(name, seconds, FINDINGS)
        runs = next((line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line), "0")
        print(f"{name:12} {int(runs):>10,} inputs  {'holds' if not done.returncode else 'BROKEN'}", flush=True)
        if done.returncode:
            broken += 1
            print("\n".join([*done.stdout.splitlines()[-40:], *done.stderr.splitlines()[-12:]]))
    return broken


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), sys.argv[2:]) else 0)
