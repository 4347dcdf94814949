"""Who is let in: the controller's own CA on disk, and the desk at which hosts enrol and renew their certificates.

DATA/ca/ca.pem, ca.key    the CA; put your own there before the first start to use it instead
DATA/server.pem           the server's certificate and key, made anew when it ages or its names change
DATA/join.pem             what hosts and operators need to speak to the controller at all (common/tls.py)
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common import digest, tls
from common.clock import Clock
from common.errors import Conflict, InvalidArgument, NotFound, PermissionDenied, Rejected
from common.tls import Authority, Credential
from controller.api.files import make_folder, read, write
from controller.fleet.cmdb import adopted
from controller.fleet.lifecycle import merged
from controller.fleet.model import EnrolmentToken, Instance, InstanceId, Placement
from controller.fleet.placement import placed
from controller.store.api import FleetStore

log = logging.getLogger(__name__)

CA_LIFETIME: Final = timedelta(days=3650)
SERVER_LIFETIME: Final = timedelta(days=730)
_MAX_SECRET: Final = 200


@dataclass(frozen=True, slots=True)
class Keyring:
    """What the controller needs to speak TLS and to let hosts in."""

    authority: Authority
    server: Credential
    join: tls.Join


def open_keyring(data: Path, hosts: tuple[str, ...], now: datetime) -> Keyring:
    """Read what `data` holds and make what is missing or aged. Raises Rejected when what is there cannot be used."""
    authority = _authority(data / "ca", now)
    return Keyring(
        authority, _server(data / "server.pem", authority, hosts, now), _join(data / "join.pem", authority, now)
    )


def _authority(folder: Path, now: datetime) -> Authority:
    if not folder.exists():
        made = Authority.create("Patchwarden CA", now, CA_LIFETIME)
        unfinished = folder.with_name("ca.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        make_folder(unfinished)
        write(unfinished / "ca.key", made.key_pem, mode=0o600)
        write(unfinished / "ca.pem", made.chain_pem, mode=0o644)
        unfinished.rename(folder)  # both files or none: half a CA must never be taken for one
        log.info("made a certificate authority", extra={"folder": str(folder)})
    try:
        authority = Authority(Credential(read(folder / "ca.pem"), read(folder / "ca.key")))
        ends = tls.not_after(authority.ca_pem)
    except ValueError as error:
        raise Rejected(
            f"the CA in {folder} cannot be used: {error}; put ca.pem and ca.key back from a backup"
        ) from None
    if ends <= now:
        raise Rejected(f"the CA in {folder} ended at {ends:%Y-%m-%d %H:%M} UTC; give this controller a new one")
    return authority


def _server(path: Path, authority: Authority, hosts: tuple[str, ...], now: datetime) -> Credential:
    if path.exists():
        try:
            credential = _split(read(path))
            if _still_good(credential, authority, hosts, now):
                return credential
        except ValueError as error:
            log.warning("server certificate cannot be read", extra={"file": str(path), "error": str(error)})
    made = authority.issue_server(hosts, now, SERVER_LIFETIME)
    write(path, made.chain_pem + made.key_pem, mode=0o600)
    log.info("made a server certificate", extra={"hosts": ", ".join(hosts), "ends": tls.not_after(made.chain_pem)})
    return made


def _split(pem: bytes) -> Credential:
    marker = b"-----BEGIN PRIVATE KEY-----"
    chain, found, key = pem.partition(marker)
    if not found:
        raise ValueError("it holds no private key")
    return Credential(chain, found + key)


def _still_good(credential: Credential, authority: Authority, hosts: tuple[str, ...], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(credential.chain_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    present = {str(value) for kind in (x509.DNSName, x509.IPAddress) for value in names.get_values_for_type(kind)}
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (
        present == set(hosts)
        and certificate.issuer == x509.load_pem_x509_certificate(authority.ca_pem).subject
        and _signed_by(certificate, authority)
        and ends - now > (ends - begins) / 3
    )


def _signed_by(certificate: x509.Certificate, authority: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.ca_pem))
    except Exception:  # noqa: BLE001 - whatever the matter is, a new certificate is the cure
        return False
    return True


def _join(path: Path, authority: Authority, now: datetime) -> tls.Join:
    if path.exists():
        try:
            join = tls.parse_join(read(path))
            certificate = x509.load_pem_x509_certificate(join.credential.chain_pem)
            if _signed_by(certificate, authority) and certificate.not_valid_after_utc > now:
                return join
        except ValueError as error:
            log.warning("join file cannot be read", extra={"file": str(path), "error": str(error)})
    join = authority.issue_join(now, CA_LIFETIME)
    write(path, join.pem, mode=0o644)
    return join


class CertificateDesk:
    """Turns enrolment tokens into instances with certificates, and renews these."""

    def __init__(self, authority: Authority, fleet: FleetStore, clock: Clock, certificate_lifetime: timedelta) -> None:
        """Issue in the name of `authority`."""
        self._authority = authority
        self._fleet = fleet
        self._clock = clock
        self._lifetime = certificate_lifetime

    async def enroll(
        self, token: str, csr_pem: bytes, placement: Placement, machine_id: str
    ) -> tuple[InstanceId, bytes, bytes]:
        """Let a host in: return its instance id, its certificate chain and the CA.

        The same token with the same key again gives the same instance: its first answer may have been lost. Raises PermissionDenied for
        a token that is unknown, used by another host, expired or revoked, and InvalidArgument for a request that cannot be read. Then
        nothing was changed.
        """
        key = _read_request(csr_pem)
        instance_id = InstanceId(tls.instance_id(key))
        if not 0 < len(token) <= _MAX_SECRET:
            raise self._refused(
                instance_id, "the enrolment token is missing" if not token else "this is no enrolment token"
            )
        secret_hash, now = digest.of(token.encode()), self._clock.now()
        try:
            found = await self._fleet.find_enrolment_token(secret_hash)
        except NotFound:
            raise self._refused(instance_id, "nobody knows this enrolment token") from None
        if found.revoked_at is not None:
            raise self._refused(instance_id, f"the enrolment token {found.id} was revoked")
        if found.used_by not in (None, instance_id):
            raise self._refused(instance_id, f"the enrolment token {found.id} was used by another host already")
        if found.expires_at <= now:
            raise self._refused(
                instance_id, f"the enrolment token {found.id} expired at {found.expires_at:%Y-%m-%d %H:%M} UTC"
            )
        new = replace(
            placed(instance_id, found.placement, placement, now, account=found.account), machine_id=machine_id
        )
        instance = await self._instance(new, found)
        known = None
        if found.used_by is None:  # only what its own account's CMDB said: a token takes nothing from another account
            known = adopted(instance, [i for i in await self._fleet.instances() if i.account == instance.account])
        if known is not None:  # the CMDB said before where it stands
            instance = merged(instance, known)
        try:
            await self._fleet.enrol(secret_hash, instance, known.id if known is not None else None)
        except (NotFound, Conflict):  # it was used or revoked since we looked
            raise self._refused(
                instance_id, f"the enrolment token {found.id} was used by another host already"
            ) from None
        chain = self._authority.issue_agent(key, now, self._lifetime)
        log.info("enrolled", extra={"instance": instance_id, "agent": instance.name, "token": found.id})
        return instance_id, chain, self._authority.ca_pem

    async def renew(self, instance_id: InstanceId, csr_pem: bytes) -> tuple[bytes, bytes]:
        """Give an agent a new certificate for the key it has; return its chain and the CA. A deleted instance gets none."""
        key = _read_request(csr_pem)
        if tls.instance_id(key) != instance_id:
            log.warning("renewal refused: another key", extra={"instance": instance_id})
            raise PermissionDenied("a certificate is renewed for the key it has; to change the key, enrol again")
        try:
            instance = await self._fleet.get_instance(instance_id)
        except NotFound:
            instance = None
        if instance is None or instance.deleted_at is not None:
            log.warning("renewal refused: no such instance", extra={"instance": instance_id})
            raise PermissionDenied("this instance was deleted; enrol the host again with a new token")
        chain = self._authority.issue_agent(key, self._clock.now(), self._lifetime)
        log.info("renewed", extra={"instance": instance_id, "agent": instance.name})
        return chain, self._authority.ca_pem

    async def _instance(self, new: Instance, token: EnrolmentToken) -> Instance:
        """Return what to write: the instance as it is when its first answer was lost, else the new one."""
        try:
            there = await self._fleet.get_instance(new.id)
        except NotFound:
            return new
        if there.account != new.account:
            raise self._refused(new.id, "this host's key belongs to another account: enrol it with a new key")
        if token.used_by is None:
            return replace(new, stopped=there.stopped, quarantine=there.quarantine) if there.deleted_at is None else new
        if there.deleted_at is not None:
            raise self._refused(new.id, "this instance was deleted, and its old token does not bring it back")
        return there

    def _refused(self, instance_id: InstanceId, sentence: str) -> PermissionDenied:
        log.warning("enrolment refused", extra={"instance": instance_id, "sentence": sentence})
        return PermissionDenied(f"{sentence}; make another: patchctl enrolment create")


def _read_request(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return tls.read_request(csr_pem)
    except ValueError as error:
        raise InvalidArgument.of("certificate_request_pem", str(error)) from None
