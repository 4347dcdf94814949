"""Answers that dnf gave, on its own test suite's repositories and on real inventories, against ours: as sets."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from common import nevra
from common.manifest import Stream
from common.nevra import Nevra
from controller.compliance.advisory_rows import AdvisoryRow, RowState, advisory_rows
from controller.compliance.model import Advisory, Category, Severity
from controller.inventory.metadata import parse_primary, parse_updateinfo

DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
CASES: list[dict[str, Any]] = (
    json.loads((DATA / "dnf-oracle/cases.json").read_text()) if (DATA / "dnf-oracle").is_dir() else []
)
REAL = sorted((DATA / "dnf-real/expected").glob("*.txt")) if (DATA / "dnf-real").is_dir() else []
LISTS = re.compile(r"(?:updateinfo|list-sec|list-security|list-updateinfo)\b")
needs_data = pytest.mark.skipif(not CASES or not REAL, reason="the shared test data are not here")


@cache
def advisories_of(repository: str) -> tuple[Advisory, ...]:
    files = (DATA / "dnf-oracle/repos" / repository / "repodata").glob("*updateinfo.xml*")
    return tuple(advisory for file in files for advisory in parse_updateinfo(file.read_bytes()))


def label(row: AdvisoryRow) -> str:
    """Dnf's column of severity or type."""
    if row.category is not Category.SECURITY:
        return "unknown" if row.category is Category.UNSPECIFIED else row.category.value.lower()
    return f"{'Unknown' if row.severity is Severity.NONE else row.severity.value}/Sec."


def is_list(case: dict[str, Any]) -> bool:
    """Cases whose answer is rows. Rows by bug number are left out: nothing here reads bug numbers."""
    words = case["args"].split()
    return (
        LISTS.search(case["args"]) is not None
        and not any(word.lstrip("-") in ("info", "summary", "summary-updateinfo", "info-updateinfo") for word in words)
        and not any(word in ("--with-bz", "bugzillas", "bzs", "--bz") for word in words)
    )


def ours(case: dict[str, Any]) -> set[tuple[str, str, str]]:
    """What our rows make of dnf's options."""
    words = case["args"].split()
    advisories = [advisory for repository in case["repos"] for advisory in advisories_of(repository)]
    by_id = {advisory.id: advisory for advisory in advisories}
    running = nevra.parse(case["running_kernel"]) if case["running_kernel"] else None
    streams = [Stream(name, stream) for name, stream in case["modules"].items()]
    rows = advisory_rows([nevra.parse(text) for text in case["installed"]], advisories, running, streams)
    if "--all" not in words:
        wanted = RowState.INSTALLED if "--installed" in words else RowState.AVAILABLE
        rows = tuple(row for row in rows if row.state is wanted)
    kinds = {c for c in Category if f"--{c.value.lower()}" in words or c.value.lower() in words}
    names = {word for word in words if word in by_id} | {r.package.name for r in rows if r.package.name in words}
    cves = {word for before, word in pairwise(words) if before == "--cve"}
    chosen = [
        row
        for row in rows
        if (not kinds or row.category in kinds)
        and (not names or row.id in names or row.package.name in names)
        and (not cves or cves & set(by_id[row.id].cves))
    ]
    if "--with-cve" in words or "cves" in words:
        return {(cve, label(row), str(row.package)) for row in chosen for cve in by_id[row.id].cves}
    return {(row.id, label(row), str(row.package)) for row in chosen}


@needs_data
@pytest.mark.parametrize(
    "case", [case for case in CASES if is_list(case)], ids=lambda case: f"{case['id']} {case['args']}"
)
def test_our_rows_are_those_of_dnf_and_of_its_authors(case: dict[str, Any]) -> None:
    assert ours(case) == {tuple(row[:3]) for row in case["dnf414_rows"]}
    if case["peer_rows"]:
        assert {tuple(row[:3]) for row in case["peer_rows"]} <= ours(case)


@needs_data
def test_most_cases_of_the_oracle_are_lists_and_none_is_passed_over_by_mistake() -> None:
    counted = Counter("list" if is_list(case) else case["args"].split()[0] for case in CASES)
    assert counted["list"] >= 25


@needs_data
@pytest.mark.parametrize("repository", sorted({name for case in CASES for name in case["repos"]}))
def test_what_repositories_offer_is_what_dnf_lists(repository: str) -> None:
    folder = DATA / "dnf-oracle/repos" / repository
    header, *lines = (folder / "available.tsv").read_text().splitlines()
    assert header.split("\t")[:5] == ["name", "epoch", "version", "release", "arch"]
    listed = {Nevra(n, int(e), v, r, a) for n, e, v, r, a in (line.split("\t")[:5] for line in lines)}
    assert {build.nevra for build in parse_primary((folder / "repodata/primary.xml.gz").read_bytes())} == listed


@cache
def centos_advisories() -> tuple[Advisory, ...]:
    return parse_updateinfo((DATA / "dnf-real/updateinfo/cesa-el6-el7.updateinfo.xml").read_bytes())


@cache
def centos_rows(inventory: str) -> tuple[AdvisoryRow, ...]:
    _, *lines = (DATA / "dnf-real/inventories" / f"{inventory}.tsv").read_text().splitlines()
    installed = [Nevra(n, int(e), v, r, a) for n, e, v, r, a in (line.split("\t") for line in lines)]
    return advisory_rows(installed, centos_advisories())


@needs_data
@pytest.mark.parametrize("expected", [p for p in REAL if not p.stem.endswith("summary")], ids=lambda path: path.stem)
def test_real_inventories_and_real_advisories_give_the_rows_of_dnf(expected: Path) -> None:
    inventory, _, options = expected.stem.split("__")
    rows = centos_rows(inventory)
    if not options.startswith("all"):
        rows = tuple(row for row in rows if row.state.value == options.partition("--")[0])
    if "--security" in options:
        rows = tuple(row for row in rows if row.category is Category.SECURITY)
    if severity := re.search(r"sec-severity-(\w+)", options):
        rows = tuple(row for row in rows if row.severity.value == severity[1])
    found = set()
    for line in expected.read_text().splitlines():
        mark, fields = ("i" if line.startswith("i ") else ""), line.removeprefix("i ").split()
        if options.startswith("all"):
            found.add((mark, *fields))
        else:
            found.add(("", *fields))
    told = options.startswith("all")
    assert {
        ("i" if told and row.state is RowState.INSTALLED else "", row.id, label(row), str(row.package)) for row in rows
    } == found
