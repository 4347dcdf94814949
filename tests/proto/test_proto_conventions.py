"""What every proto keeps to (STYLE §8), read from the descriptors; and that the committed stubs are what proto/ says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from common.pb.v1 import (
    account_pb2,
    agent_pb2,
    audit_pb2,
    baseline_pb2,
    fleet_pb2,
    notification_pb2,
    report_pb2,
    schedule_pb2,
    ticket_pb2,
    types_pb2,
)
from controller.api.auth import ACCESS, Peer
from controller.api.recording import READS, VIEWERS_CHANGES
from controller.fleet.model import Role

ROOT = Path(__file__).resolve().parents[2]
PROTOS = sorted((ROOT / "proto").rglob("*.proto"))
FILES: list[FileDescriptor] = [
    m.DESCRIPTOR
    for m in (
        types_pb2,
        agent_pb2,
        fleet_pb2,
        baseline_pb2,
        ticket_pb2,
        report_pb2,
        schedule_pb2,
        account_pb2,
        notification_pb2,
        audit_pb2,
    )
]
METHODS = [
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
]
LIBRARY_METHODS = {method for method in ACCESS if method.startswith("/grpc.")}


def enums() -> Iterator[EnumDescriptor]:
    for file in FILES:
        yield from file.enum_types_by_name.values()
        for message in messages(file):
            yield from message.enum_types


def messages(file: FileDescriptor) -> Iterator[Descriptor]:
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        yield message
        waiting += [m for m in message.nested_types if not m.GetOptions().map_entry]


def test_every_proto_file_is_looked_at() -> None:
    assert {p.relative_to(ROOT / "proto").as_posix() for p in PROTOS} == {f.name for f in FILES}


@pytest.mark.parametrize("enum", list(enums()), ids=lambda e: e.name)
def test_the_zero_of_every_enum_is_unspecified_and_its_values_carry_its_name(enum: EnumDescriptor) -> None:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
    assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"
    assert all(v.name.startswith(f"{prefix}_") for v in enum.values)


@pytest.mark.parametrize("method", METHODS)
def test_every_rpc_says_who_may_call_it(method: str) -> None:
    assert isinstance(ACCESS[method], Role | Peer)


def test_nobody_may_call_what_does_not_exist() -> None:
    assert set(ACCESS) - LIBRARY_METHODS == set(METHODS)
    assert all(ACCESS[method] is Peer.ANY for method in LIBRARY_METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_rpc_has_a_request_and_a_response_of_its_own(method: str) -> None:
    service, _, name = method[1:].rpartition("/")
    found = next(s for f in FILES for s in f.services_by_name.values() if s.full_name == service).methods_by_name[name]
    assert (found.input_type.name, found.output_type.name) == (f"{name}Request", f"{name}Response")


def test_what_changes_something_needs_more_than_a_viewer() -> None:
    reading = re.compile(r"/(Get|List|Preview|Try|Watch|Why|Export|WhoAmI)[A-Za-z]*$")
    for method, need in ACCESS.items():
        if isinstance(need, Role) and method not in READS | VIEWERS_CHANGES:
            assert (need is Role.VIEWER) == bool(reading.search(method)), method


def test_times_are_timestamps_lengths_are_durations() -> None:
    for file in FILES:
        for message in messages(file):
            for field in message.fields:
                if field.name.endswith("_at") and field.name != "stops_at":
                    assert field.message_type.full_name == "google.protobuf.Timestamp", field.full_name
                if field.name.endswith(("_interval", "timeout", "_for", "lifetime")) and field.message_type is not None:
                    assert field.message_type.full_name == "google.protobuf.Duration", field.full_name


def test_lists_page_alike() -> None:
    for file in FILES:
        for message in messages(file):
            names = {f.name for f in message.fields}
            if "page_size" in names:
                assert "page_token" in names, message.full_name
                answer = file.message_types_by_name[message.name.removesuffix("Request") + "Response"]
                assert "next_page_token" in {f.name for f in answer.fields}, answer.full_name


def protoc(*arguments: str) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_message_field_value_and_rpc_is_commented(tmp_path: Path) -> None:
    out = tmp_path / "descriptors"
    protoc("--include_source_info", f"--descriptor_set_out={out}", *(str(p.relative_to(ROOT)) for p in PROTOS))
    silent = list[str]()
    for file in FileDescriptorSet.FromString(out.read_bytes()).file:
        said = {tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()}
        for m, message in enumerate(file.message_type):
            silent += [message.name] if (4, m) not in said else []
            silent += [f"{message.name}.{f.name}" for n, f in enumerate(message.field) if (4, m, 2, n) not in said]
        for e, enum in enumerate(file.enum_type):
            silent += [enum.name] if (5, e) not in said else []
            silent += [f"{enum.name}.{v.name}" for n, v in enumerate(enum.value) if (5, e, 2, n) not in said]
        for s, service in enumerate(file.service):
            silent += [service.name] if (6, s) not in said else []
            silent += [f"{service.name}.{r.name}" for n, r in enumerate(service.method) if (6, s, 2, n) not in said]
    assert not silent


def test_the_committed_stubs_are_what_the_protos_say(tmp_path: Path) -> None:
    protoc(
        f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", *(str(p.relative_to(ROOT)) for p in PROTOS)
    )  # fmt: skip
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.py"))
    assert made
    stale = [str(p) for p in made if (ROOT / p).read_text() != (tmp_path / p).read_text()]
    assert not stale, "run make proto and commit"
