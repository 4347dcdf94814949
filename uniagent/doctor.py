"""`uniagent doctor`: one line a check: what, result, what to do. The words are those of the UNDETERMINED reasons."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509

from common import manifest, tls
from common.clock import format_duration
from common.errors import PatchError
from common.manifest import Manifest, ProblemCode
from uniagent import collection, identity, settings
from uniagent.settings import Settings
from uniagent.transport import OPTIONS

_CONNECT_SECONDS: Final = 5.0
_COLLECT_SECONDS: Final = 300.0
_METADATA_AGE: Final = timedelta(hours=48)
_HARMLESS: Final = frozenset({ProblemCode.FACTS, ProblemCode.CLOCK})
_REMEDIES: Final = {
    ProblemCode.RPMDB: "run rpm -qa; if it fails, rpm --rebuilddb, or install rpm",
    ProblemCode.BUSY: "a package transaction is running: wait for it, then run this again",
    ProblemCode.REPO_CONFIG: "run dnf repolist (or yum repolist) and mend what it complains about",
    ProblemCode.HOLDS: "mend the versionlock and exclude settings named here",
    ProblemCode.MODULES: "run dnf module list --enabled and mend what it complains about",
    ProblemCode.KERNEL: "run rpm -qf /lib/modules/$(uname -r): the running kernel belongs to no package",
    ProblemCode.OS_RELEASE: "/etc/os-release must name the operating system",
    ProblemCode.FACTS: "",
    ProblemCode.CLOCK: "let chronyd or systemd-timesyncd set the clock",
}


class Result(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One line."""

    what: str
    result: Result
    detail: str
    remedy: str = ""


def run(config: Path, *, as_json: bool = False) -> int:
    """Check everything, print each line when it is known; return 0 when all is well, 1 when something is wrong."""
    checks = list[Check]()
    for check in examine(config):
        checks.append(check)
        if not as_json:
            print(render(check), flush=True)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    return 1 if any(check.result is Result.FAIL for check in checks) else 0


def render(check: Check) -> str:
    """Return a check's line."""
    line = f"{check.result:4}  {check.what:<22}  {check.detail}"
    return f"{line}; {check.remedy}" if check.remedy and check.result is not Result.OK else line


def examine(config: Path) -> Iterator[Check]:
    """Make all the checks, one after the other."""
    try:
        current = settings.load(config)
    except PatchError as error:
        yield Check("settings", Result.FAIL, str(error), f"mend {config}")
        return
    yield Check("settings", Result.OK, str(config))
    yield _state(current.state)
    now = datetime.now(UTC)
    folder = current.state / "identity"
    yield _certificate(folder, now)
    join = _join(current)
    yield join
    yield from _controller(current, folder)
    yield from _host(current, now)


def _state(state: Path) -> Check:
    if not state.is_dir():
        return Check("state", Result.FAIL, f"{state} is not there", f"mkdir -p {state} (uniagent run makes it, too)")
    try:
        with tempfile.NamedTemporaryFile(dir=state, prefix=".doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
    except OSError as error:
        return Check("state", Result.FAIL, f"{state} is not writable: {error.strerror}", "run this as root; make room")
    mode = stat.S_IMODE(state.stat().st_mode)
    key = state / "identity" / identity.KEY
    if mode & 0o077 or (key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077):
        return Check("state", Result.FAIL, f"others may read {state}", f"chmod -R go= {state}")
    return Check("state", Result.OK, f"{state} is writable and private")


def _certificate(folder: Path, now: datetime) -> Check:
    try:
        instance = (folder / identity.INSTANCE_ID).read_text(encoding="utf-8").strip()
        chain = (folder / identity.CERTIFICATE).read_bytes()
        key = x509.load_pem_x509_csr(tls.new_request((folder / identity.KEY).read_bytes())).public_key()
        certificate = x509.load_pem_x509_certificate(chain)
    except FileNotFoundError:
        return Check("identity", Result.WARN, "not enrolled yet", "uniagent run enrols, with the token of the settings")
    except (OSError, ValueError) as error:
        return Check("identity", Result.FAIL, f"cannot be read: {error}", f"remove {folder} and enrol with a new token")
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if certificate.public_key() != key:
        return Check(
            "identity", Result.FAIL, "certificate and key do not belong together", f"remove {folder}, enrol anew"
        )
    if now < begin:
        return Check(
            "identity", Result.FAIL, f"the certificate is valid from {begin}, and it is {now}", "set the clock"
        )
    if now >= end:
        return Check(
            "identity", Result.FAIL, f"the certificate ended {end}", "enrol again with a new token, or set the clock"
        )
    return Check("identity", Result.OK, f"{instance}, certificate ends in {format_duration(end - now)}")


def _join(current: Settings) -> Check:
    enrolled = (current.state / "identity" / identity.INSTANCE_ID).exists()
    try:
        tls.parse_join(current.join.read_bytes())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        result = Result.WARN if enrolled else Result.FAIL
        return Check("join file", result, f"{current.join}: {why}", "copy join.pem from the controller")
    return Check("join file", Result.OK, str(current.join))


def _controller(current: Settings, folder: Path) -> Iterator[Check]:
    host, port = settings.split_address(current.controller)
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        yield Check("controller", Result.FAIL, f"{current.controller}: {why}", "check address, firewall, controller")
        return
    yield Check("controller", Result.OK, f"{current.controller} accepts connections")
    credential = _credential(current, folder)
    if credential is None:
        yield Check("controller TLS", Result.FAIL, "nothing to show: neither identity nor join file", "see above")
        return
    with grpc.secure_channel(current.controller, credential, options=OPTIONS) as channel:
        health = channel.unary_unary(
            "/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes
        )  # the agent ships without grpc_health; an empty request asks for the whole server, the answer's field 1 is 1
        try:
            answer = health(b"", timeout=_CONNECT_SECONDS)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAVAILABLE:
                remedy = "does join.pem belong to this controller, is this name in its certificate, is the clock right?"
                yield Check("controller TLS", Result.FAIL, error.details() or code.name, remedy)
                return
            yield Check("controller TLS", Result.OK, "both sides know each other")
            yield Check(
                "controller health", Result.FAIL, f"{code.name}: {error.details()}", "look at the controller's log"
            )
            return
    yield Check("controller TLS", Result.OK, "both sides know each other")
    if answer == b"\x08\x01":
        yield Check("controller health", Result.OK, "serving")
    else:
        yield Check("controller health", Result.FAIL, "not serving", "look at the controller's log")


def _credential(current: Settings, folder: Path) -> grpc.ChannelCredentials | None:
    me = identity.load(folder)
    if me is not None:
        mine = me.credential
        return grpc.ssl_channel_credentials(mine.ca_pem, mine.key_pem, mine.chain_pem)
    try:
        join = tls.parse_join(current.join.read_bytes())
    except (OSError, ValueError):  # said by the check of the join file
        return None
    return grpc.ssl_channel_credentials(join.ca_pem, join.credential.key_pem, join.credential.chain_pem)


def _host(current: Settings, now: datetime) -> Iterator[Check]:
    """Ask the host as a scan would, with the same collector."""
    with tempfile.TemporaryDirectory(prefix="uniagent-doctor-") as name:
        spool = Path(name)
        words = collection.command(current, spool, timedelta(seconds=_COLLECT_SECONDS))
        try:
            ran = subprocess.run(words, check=False, capture_output=True, text=True, timeout=_COLLECT_SECONDS + 10)
            offer = collection.read_result(spool) if ran.returncode == 0 else None
            told = manifest.decode((spool / offer.manifest).read_bytes()) if offer else None
        except (OSError, ValueError, PatchError, subprocess.TimeoutExpired) as error:
            yield Check("collection", Result.FAIL, str(error), "run uniagent inventory and see what it says")
            return
    if told is None:
        said = (ran.stderr.strip().splitlines() or [f"ended with {ran.returncode}"])[-1]
        yield Check("collection", Result.FAIL, said, "run uniagent inventory and see what it says")
        return
    yield from judge(told, now)


def judge(told: Manifest, now: datetime) -> Iterator[Check]:
    """Return what a manifest says about rpm, the package manager and the repositories, in the words of UNDETERMINED."""
    problems = {problem.code for problem in told.problems}
    if ProblemCode.RPMDB not in problems:
        yield Check("RPMDB", Result.OK, f"{told.package_count} packages on {told.os.pretty_name or 'an unnamed OS'}")
    for problem in told.problems:
        result = Result.WARN if problem.code in _HARMLESS else Result.FAIL
        yield Check(problem.code, result, problem.detail, _REMEDIES[problem.code])
    if told.package_manager:
        yield Check("package manager", Result.OK, told.package_manager)
    else:
        yield Check("package manager", Result.FAIL, "neither dnf nor yum answers", "install dnf or yum")
    if not told.repositories and ProblemCode.REPO_CONFIG not in problems:
        yield Check(
            "NO_REPOS", Result.FAIL, "no repository is enabled", "enable one: dnf config-manager --set-enabled ID"
        )
    for each in told.repositories:
        age = now - datetime.fromtimestamp(each.timestamp, UTC)
        if each.error:
            remedy = f"check baseurl and network of {each.id}, then dnf makecache"
            yield Check("REPO_ERROR", Result.FAIL, f"{each.id}: {each.error}", remedy)
        elif each.timestamp and age > _METADATA_AGE:
            old = f"{each.id}: made {format_duration(age)} ago"
            yield Check(
                "METADATA_STALE",
                Result.WARN,
                old,
                "fine if the vendor has published nothing since; else a stale mirror",
            )
        else:
            offers = "with advisories" if each.updateinfo else "without advisories"
            yield Check(f"repository {each.id}"[:40], Result.OK, f"refreshed, {offers}")
    if told.repositories and not any(r.updateinfo for r in told.repositories):
        yield Check(
            "NO_ADVISORIES",
            Result.WARN,
            "no repository has advisories",
            "rules by category or severity cannot judge here",
        )
