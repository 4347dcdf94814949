"""A short-lived child of the daemon that makes the key and asks for certificates, so that the daemon needs no cryptography.

Reads one JSON object on standard input: {"do": "enrol" | "renew" | "leave", "folder", "controller", and to enrol: "join", "token",
"machine_id", "placement": {...}, "only_new_token"}. Writes the identity's files and then {"why": "", "sentence": ""}, or why it did not.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509

from common import tls
from common.pb.v1 import agent_pb2 as pb
from common.pb.v1 import agent_pb2_grpc
from uniagent import durable, identity
from uniagent.messages import Placement
from uniagent.transport import OPTIONS, placement_to_wire

_RPC_SECONDS: Final = 30.0
_ADVICE: Final = {
    "UNAVAILABLE": "is it running, is the address right, and does the join file belong to it?",
    "DEADLINE_EXCEEDED": "it is busy, or something between drops what is sent",
}


class SameToken(Exception):
    """The agent enrolled with this token already: whoever removed it since means it."""


def main() -> int:
    """Do what standard input asks for; say how it went on standard output."""
    request = json.load(sys.stdin)
    controller = request["controller"]
    why = sentence = ""
    try:
        {"enrol": enrol, "renew": renew, "leave": leave}[request["do"]](request)
    except grpc.RpcError as error:
        why = error.code().name
        advice = _ADVICE.get(why, "")
        sentence = f"the controller at {controller} said {why}: {error.details()}" + (f"; {advice}" if advice else "")
    except SameToken:
        why, sentence = identity.SAME_TOKEN, "this host has enrolled with this token before"
    except ValueError as error:
        why, sentence = "SETTINGS", str(error)
    except OSError as error:
        why, sentence = "DISK", f"{error.filename or request['folder']}: {error.strerror}"
    json.dump({"why": why, "sentence": sentence}, sys.stdout)
    return 0


def enrol(request: dict[str, Any]) -> None:
    """Turn a token into an identity. The key is on disk before it is asked for: when the answer is lost, ask again."""
    folder = durable.private_folder(Path(request["folder"]))
    used = hashlib.sha256(request["token"].encode()).hexdigest().encode()
    if request["only_new_token"] and _used_token(folder) == used:
        raise SameToken(identity.SAME_TOKEN)
    join = _read_join(Path(request["join"]))
    key = _key(folder)
    with _channel(request["controller"], join.ca_pem, join.credential) as channel:
        response = agent_pb2_grpc.AgentServiceStub(channel).Enroll(
            pb.EnrollRequest(
                token=request["token"],
                certificate_request_pem=tls.new_request(key),
                placement=placement_to_wire(Placement(**request["placement"])),
                machine_id=request["machine_id"],
            ),
            timeout=_RPC_SECONDS,
        )
    _check(key, response.certificate_chain_pem)
    _keep(folder, response.ca_pem, response.certificate_chain_pem)
    durable.write(folder / identity.USED_TOKEN, used)
    durable.write(folder / identity.INSTANCE_ID, response.instance_id.encode())  # last: now it is whole


def renew(request: dict[str, Any]) -> None:
    """Replace the certificate, asking with the present one."""
    folder = Path(request["folder"])
    key = (folder / identity.KEY).read_bytes()
    present = tls.Credential((folder / identity.CERTIFICATE).read_bytes(), key)
    with _channel(request["controller"], (folder / identity.CA).read_bytes(), present) as channel:
        response = agent_pb2_grpc.AgentServiceStub(channel).Renew(
            pb.RenewRequest(certificate_request_pem=tls.new_request(key)), timeout=_RPC_SECONDS
        )
    _check(key, response.certificate_chain_pem)
    _keep(folder, response.ca_pem, response.certificate_chain_pem)


def leave(request: dict[str, Any]) -> None:
    """Tell the controller that this agent is being uninstalled."""
    folder = Path(request["folder"])
    present = tls.Credential((folder / identity.CERTIFICATE).read_bytes(), (folder / identity.KEY).read_bytes())
    with _channel(request["controller"], (folder / identity.CA).read_bytes(), present) as channel:
        agent_pb2_grpc.AgentServiceStub(channel).Leave(pb.LeaveRequest(), timeout=_RPC_SECONDS)


def _used_token(folder: Path) -> bytes:
    path = folder / identity.USED_TOKEN
    return path.read_bytes() if path.exists() else b""


def _channel(controller: str, ca_pem: bytes, credential: tls.Credential) -> grpc.Channel:
    secret = grpc.ssl_channel_credentials(ca_pem, credential.key_pem, credential.chain_pem)
    return grpc.secure_channel(controller, secret, options=OPTIONS)


def _read_join(path: Path) -> tls.Join:
    try:
        return tls.parse_join(path.read_bytes())
    except OSError as error:
        raise ValueError(
            f"the join file {path} cannot be read: {error.strerror}; copy it from the controller"
        ) from None
    except ValueError as error:
        raise ValueError(f"the join file {path} is damaged: {error}; copy it from the controller") from None


def _key(folder: Path) -> bytes:
    path = folder / identity.KEY
    if path.exists():
        key = path.read_bytes()
        try:
            tls.new_request(key)
        except ValueError:
            raise ValueError(f"{path} holds no key: remove it, and enrol with a new token") from None
        return key
    key = tls.new_key()
    durable.write(path, key)
    return key


def _check(key: bytes, chain: bytes) -> None:
    """Refuse a certificate that is not for our key: with it the agent would be locked out."""
    certified = x509.load_pem_x509_certificate(chain).public_key()
    if certified != x509.load_pem_x509_csr(tls.new_request(key)).public_key():
        raise ValueError("the controller answered with a certificate for another key")


def _keep(folder: Path, ca: bytes, chain: bytes) -> None:
    certificate = x509.load_pem_x509_certificate(chain)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if datetime.now(UTC) < begin or datetime.now(UTC) > end:
        print(f"the clock of this host is wrong: the new certificate is valid from {begin} to {end}", file=sys.stderr)
    durable.write(folder / identity.CA, ca)
    durable.write(folder / identity.CERTIFICATE, chain)
    validity = {"not_before": begin.isoformat(), "not_after": end.isoformat()}
    durable.write(folder / identity.VALIDITY, json.dumps(validity).encode())


if __name__ == "__main__":
    sys.exit(main())
