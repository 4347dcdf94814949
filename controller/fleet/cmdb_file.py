"""Reads a CMDB file, CSV or JSON: every row that can be read, and for every other one what is wrong with it. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final

from controller.fleet.model import AgentState, Placement
from controller.fleet.placement import violations

MAX_BYTES: Final = 32 << 20
"""Of a file, unpacked."""
MAX_ROWS: Final = 100_000
MAX_PROBLEMS: Final = 1000
"""So many are told; a file with more is the wrong file."""
MAX_KEY: Final = 128
KEYS: Final = ("id", "machine_id", "name", "ip")
"""What a machine is recognised by, the strongest first. A row needs one of them."""
COLUMNS: Final = (
    *KEYS,
    "region",
    "zone",
    "enterprise_project",
    "resource_type",
    "application_group",
    "cluster",
    "tags",
    "power",
    "os",
    "agent",
)
_AGENT: Final = (AgentState.NONE, AgentState.INSTALLING, AgentState.FAILED, AgentState.UNINSTALLED)
_POWER: Final[Mapping[str, bool]] = {"RUNNING": False, "STOPPED": True}


class CmdbFormat(StrEnum):
    """How a CMDB file is written."""

    CSV = "CSV"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Row:
    """What the CMDB says of one machine. An empty field is not said."""

    number: int
    """Where it stands in the file: the line in CSV (the header is line 1), the place in JSON's list (from 1)."""
    id: str = ""
    machine_id: str = ""
    ip: str = ""
    placement: Placement = field(default_factory=Placement)
    stopped: bool | None = None
    agent: AgentState | None = None
    """NONE, INSTALLING, FAILED or UNINSTALLED; it counts only for machines of which no agent ever enrolled."""
    os: str = ""

    @property
    def called(self) -> str:
        """How to name it to people."""
        return self.placement.name or self.id or self.machine_id or self.ip


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one row."""

    row: int
    """As Row.number; 0 when it is the file as a whole."""
    column: str
    sentence: str


@dataclass(frozen=True, slots=True)
class CmdbFile:
    """A file that was read. With any problem it is not to be imported: rows that are missing would look like machines that are gone."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


def read(content: bytes, form: CmdbFormat) -> CmdbFile:
    """Read a file. Nothing is raised: whatever is wrong becomes a problem."""
    if len(content) > MAX_BYTES:
        return _nothing(f"has {len(content)} bytes, allowed are {MAX_BYTES}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _nothing(f"is not UTF-8 text: byte {error.start} cannot be read")
    rows, problems = list[Row](), list[Problem]()
    seen: dict[tuple[str, str], int] = {}
    for number, values in _csv(text) if form is CmdbFormat.CSV else _json(text):
        if isinstance(values, Problem):
            problems.append(values)
        elif len(rows) + len(problems) >= MAX_ROWS:
            problems.append(Problem(number, "", f"is one too many: a file has at most {MAX_ROWS} rows"))
            break
        else:
            wrong = list[Problem]()
            row = _row(number, values, wrong)
            wrong += _repeated(row, seen)
            problems += wrong
            if not wrong:
                rows.append(row)
        if len(problems) >= MAX_PROBLEMS:
            break
    if not rows and not problems:
        return _nothing("has no rows; an empty file would make every machine look gone")
    return CmdbFile(tuple(rows), tuple(problems))


def _nothing(sentence: str) -> CmdbFile:
    return CmdbFile((), (Problem(0, "", sentence),))


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if (wrong := _header(header)) is not None:
            yield 1, Problem(1, "", wrong)
            return
        for cells in reader:
            number = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                yield number, Problem(number, "", f"has {len(cells)} cells, the header has {len(header)}")
                continue
            yield number, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        yield reader.line_num, Problem(reader.line_num, "", f"is not CSV: {error}")


def _header(header: list[str]) -> str | None:
    unknown = [name for name in header if name not in COLUMNS]
    if not header:
        return "the first line names the columns, and there is none"
    if unknown:
        return f"{unknown[0][:64]!r} is no column, allowed are {', '.join(COLUMNS)}"
    if len(set(header)) < len(header):
        return f"the column {next(n for n in header if header.count(n) > 1)} stands there twice"
    if not set(header) & set(KEYS):
        return f"needs at least one of the columns {', '.join(KEYS)}"
    return None


def _json(text: str) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield 0, Problem(0, "", f"is not JSON: {str(error)[:200]}")
        return
    if isinstance(document, dict) and set(document) == {"instances"}:
        document = document["instances"]
    if not isinstance(document, list):
        yield 0, Problem(0, "", 'must be a list of objects, or {"instances": [...]}')
        return
    for number, entry in enumerate(document, 1):
        if not isinstance(entry, dict):
            yield number, Problem(number, "", "is no object")
        elif unknown := sorted(set(entry) - set(COLUMNS)):
            yield number, Problem(number, unknown[0][:64], f"is no field, allowed are {', '.join(COLUMNS)}")
        else:
            yield number, {name: value for name, value in entry.items() if value is not None}


def _row(number: int, values: Mapping[str, Any], wrong: list[Problem]) -> Row:
    texts = dict.fromkeys(COLUMNS, "")
    for name, value in values.items():
        if name == "tags" and not isinstance(value, str):
            continue
        if isinstance(value, str):
            texts[name] = value
        else:
            wrong.append(Problem(number, name, f"must be text, is {json.dumps(value)[:80]}"))
    wrong += [
        Problem(number, name, f"must be at most {MAX_KEY} characters that can be printed")
        for name in ("id", "machine_id", "os")
        if len(texts[name]) > MAX_KEY or not texts[name].isprintable()
    ]
    if not any(texts[name] for name in KEYS) and not wrong:
        wrong.append(Problem(number, "", f"names no machine: it needs one of {', '.join(KEYS)}"))
    placement = Placement(
        name=texts["name"],
        region=texts["region"],
        zone=texts["zone"],
        enterprise_project=texts["enterprise_project"],
        resource_type=texts["resource_type"].upper(),
        application_group=texts["application_group"],
        tags=_tags(number, values.get("tags", ""), wrong),
        cluster=texts["cluster"],
    )
    wrong += [Problem(number, v.field, v.description) for v in violations(placement, "")]
    return Row(
        number=number,
        id=texts["id"],
        machine_id=texts["machine_id"],
        ip=_address(number, texts["ip"], wrong),
        placement=placement,
        stopped=_stopped(number, texts["power"], wrong),
        agent=_agent(number, texts["agent"], wrong),
        os=texts["os"],
    )


def _tags(number: int, value: Any, wrong: list[Problem]) -> Mapping[str, str]:
    if isinstance(value, dict):
        if all(isinstance(key, str) and isinstance(inner, str) for key, inner in value.items()):
            return value
        wrong.append(Problem(number, "tags", "must be an object of texts"))
        return {}
    if not isinstance(value, str):
        wrong.append(Problem(number, "tags", "must be an object of texts, or key=value;key=value"))
        return {}
    found = dict[str, str]()
    for part in filter(None, (part.strip() for part in value.split(";"))):
        key, _, inner = part.partition("=")
        if key.strip() in found:
            wrong.append(Problem(number, "tags", f"the key {key.strip()[:36]!r} stands there twice"))
        found[key.strip()] = inner.strip()
    return found


def _address(number: int, text: str, wrong: list[Problem]) -> str:
    if not text:
        return ""
    try:
        return str(ip_address(text))
    except ValueError:
        wrong.append(Problem(number, "ip", f"{text[:64]!r} is no IP address, write 10.0.3.7 or fd00::7"))
        return ""


def _stopped(number: int, text: str, wrong: list[Problem]) -> bool | None:
    if text and text.upper() not in _POWER:
        wrong.append(Problem(number, "power", f"{text[:32]!r} is not one of {', '.join(_POWER)}"))
    return _POWER.get(text.upper())


def _agent(number: int, text: str, wrong: list[Problem]) -> AgentState | None:
    if not text:
        return None
    if text.upper() not in _AGENT:
        wrong.append(Problem(number, "agent", f"{text[:32]!r} is not one of {', '.join(_AGENT)}"))
        return None
    return AgentState(text.upper())


def _repeated(row: Row, seen: dict[tuple[str, str], int]) -> Iterator[Problem]:
    """Name rows that cannot be told from an earlier one."""
    for column, value in (("id", row.id), ("machine_id", row.machine_id)):
        if value and (before := seen.setdefault((column, value), row.number)) != row.number:
            yield Problem(row.number, column, f"is the same as in row {before}")
