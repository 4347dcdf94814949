"""Directions of imports (DESIGN §3, STYLE §1), read from every file's syntax tree; invariant 8: the agent lives without the controller."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("common", "uniagent", "controller")

WORLD = {
    "asyncio",
    "concurrent",
    "grpc",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
    "controller.api",
    "controller.app",
    "controller.cli",
    "controller.client",
    "controller.dispatch",
    "controller.fleet.sessions",
    "controller.hub",
    "controller.main",
    "controller.settings",
    "controller.store",
    "common.clock.SystemClock",
    "common.ids.RandomIds",
    "common.ids.new_secret",
    "common.log",
    "common.settings",
    "common.tls",
}
"""What touches the world: what decides must not know it."""
MAY_NOT_IMPORT = {
    "common": {"controller", "uniagent"},
    "uniagent": {"controller"},
    "controller": {"uniagent"},
    "controller/tickets": WORLD,
    "controller/compliance": WORLD,
    "controller/report": WORLD,
    "controller/accounts": WORLD,
    "controller/audit": WORLD,
    "controller/notify": WORLD,
    "controller/schedules": WORLD,
    "controller/store": {
        "controller.api",
        "controller.dispatch",
        "controller.cli",
        "controller.client",
        "random",
        "secrets",
        "uuid",
    },
    "controller/hub": {"controller.api", "controller.dispatch", "controller.store"},
    "controller/fleet": {"controller.api", "controller.dispatch", "controller.store"},
    "controller/inventory": {"controller.api", "controller.dispatch"},
    "controller/dispatch": {"controller.api", "controller.cli", "controller.client"},
    "controller/client": {"controller.api", "controller.dispatch", "controller.store"},
    "controller/cli": {"controller.api", "controller.dispatch", "controller.store", "controller.app"},
}
PROTOBUF = ("google.protobuf", "google.rpc", "common.pb")
MAY_SPEAK_PROTOBUF = (
    "common/pb/",
    "uniagent/transport",
    "uniagent/enrol",
    "controller/api/",
    "controller/client/",
    "controller/cli/",
)


def sources(folder: str = "") -> list[Path]:
    names = (folder,) if folder else OURS
    return sorted(p for name in names for p in (ROOT / name).rglob("*.py") if "__pycache__" not in p.parts)


@cache
def imported(path: Path) -> tuple[tuple[str, int], ...]:
    """Every module that a file imports, at any depth, with each name taken from it: `from a import b` may mean the module a.b."""
    return tuple(read_imports(path.read_text(encoding="utf-8"), path.relative_to(ROOT).parts[:-1]))


def read_imports(text: str, package: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*parents, *([node.module] if node.module else [])))
            yield base, node.lineno
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def within(module: str, parents: set[str] | tuple[str, ...]) -> str | None:
    return next((p for p in sorted(parents) if module == p or module.startswith(f"{p}.")), None)


@pytest.mark.parametrize("folder", MAY_NOT_IMPORT)
def test_nothing_imports_against_the_direction(folder: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(folder)
        for module, line in imported(path)
        if within(module, MAY_NOT_IMPORT[folder])
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_protobuf_stops_at_the_edges() -> None:
    wrong = {
        f"{name}:{line} imports {module}"
        for path in sources()
        if not (name := str(path.relative_to(ROOT))).startswith(MAY_SPEAK_PROTOBUF)
        for module, line in imported(path)
        if within(module, PROTOBUF)
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_the_rules_look_at_every_folder_that_decides() -> None:
    for folder in (
        "common",
        "controller/tickets",
        "controller/compliance",
        "controller/notify",
        "controller/schedules",
        "controller/store",
        "controller/api",
    ):
        assert sources(folder), f"{folder} is empty: these tests would pass whatever it imports"


def test_the_reader_of_imports_sees_every_form() -> None:
    text = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n"
    found = {module for module, _ in read_imports(text, ("controller", "api"))}
    assert found == {"a.b", "c", "c.d", "controller.api", "controller.api.e", "controller.g", "controller.g.h"}


def test_files_are_named_for_what_is_in_them_not_for_their_kind() -> None:
    kinds = {"utils", "util", "helpers", "helper", "manager", "misc", "stuff"}
    assert not [p for p in sources() if p.stem in kinds]


def test_source_files_stay_under_500_lines() -> None:
    long = {
        str(p.relative_to(ROOT)): count
        for p in sources()
        if "pb" not in p.parts and (count := len(p.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long


def test_invariant_8_the_agent_imports_with_the_controller_absent() -> None:
    modules = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for p in sources("uniagent")
        if p.stem != "__main__"
    ]
    program = f"""
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "controller":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
for name in {modules!r}:
    importlib.import_module(name)
print(len({modules!r}), "controller" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(len(modules)), "False"]
