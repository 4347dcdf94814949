"""Keys and certificates: the controller's own CA, and what agents ask of it.

Every connection is mutual TLS, on one port. gRPC's Python server either demands a client certificate from everybody or from
nobody, so those who have none yet (a host that enrols, an operator with a token) come with the *join credential*: an
anonymous certificate whose key is no secret. It lets its bearer speak, not act. It travels in `join.pem` next to the CA.

Who a certificate stands for is its single URI name: patchwarden://agent/<instance id>, patchwarden://join.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAX_REQUEST_BYTES: Final = 8 * 1024
JOIN_URI: Final = "patchwarden://join"
_AGENT_URI: Final = "patchwarden://agent/"
_SKEW: Final = timedelta(minutes=5)
_PEM: Final = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate chain and its key, both PEM."""

    chain_pem: bytes
    key_pem: bytes


@dataclass(frozen=True, slots=True)
class Join:
    """What `join.pem` holds: whom to trust, and the anonymous credential."""

    ca_pem: bytes
    credential: Credential

    @property
    def pem(self) -> bytes:
        """The file's content."""
        return self.ca_pem + self.credential.chain_pem + self.credential.key_pem


def parse_join(pem: bytes) -> Join:
    """Read a `join.pem`; raise ValueError if a part is absent."""
    blocks = _blocks(pem)
    certificates = [b for kind, b in blocks if kind == "CERTIFICATE"]
    keys = [b for kind, b in blocks if kind.endswith("PRIVATE KEY")]
    if len(certificates) != 2 or len(keys) != 1:
        raise ValueError("a join file holds the CA's certificate, the join certificate and its key, in PEM")
    return Join(certificates[0], Credential(certificates[1], keys[0]))


def _blocks(pem: bytes) -> list[tuple[str, bytes]]:
    found, kind, lines = list[tuple[str, bytes]](), "", list[bytes]()
    for line in pem.splitlines():
        if line.startswith(b"-----BEGIN "):
            kind, lines = line[11:].rstrip(b"- ").decode("ascii", "replace"), []
        if kind:
            lines.append(line)
        if line.startswith(b"-----END "):
            found.append((kind, b"\n".join(lines) + b"\n"))
            kind = ""
    return found


def new_key() -> bytes:
    """Return a new ECDSA P-256 key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def new_request(key_pem: bytes) -> bytes:
    """Return a certificate request for a key, PEM. The CA ignores every name in it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "uniagent")])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .sign(_private(key_pem), hashes.SHA256())
        .public_bytes(_PEM)
    )


def instance_id(public_key: ec.EllipticCurvePublicKey) -> str:
    """Return the id of the instance whose agent holds this key: "i-" and 16 hexadecimal digits of its hash."""
    spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "i-" + hashlib.sha256(spki).hexdigest()[:16]


def read_request(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Check a certificate request and return its key; raise ValueError with the matter."""
    if len(pem) > MAX_REQUEST_BYTES:
        raise ValueError(f"has {len(pem)} bytes, allowed are {MAX_REQUEST_BYTES}")
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("must be for an ECDSA P-256 key")
        if not request.is_signature_valid:
            raise ValueError("is not signed with its own key")
    except (UnsupportedAlgorithm, InvalidSignature) as error:
        raise ValueError(f"cannot be read: {error}") from None
    except ValueError as error:
        if str(error).startswith(("must", "is not signed")):
            raise
        raise ValueError("is not a PEM certificate request") from None
    return key


def uri_of(certificate_pem: bytes) -> str:
    """Return the URI name of a certificate; "" when it has none of ours."""
    try:
        names = x509.load_pem_x509_certificate(certificate_pem).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except (ValueError, x509.ExtensionNotFound):
        return ""
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 else ""


def agent_of(uri: str) -> str | None:
    """Return the instance that an agent's URI name stands for; None for any other name."""
    return uri.removeprefix(_AGENT_URI) if uri.startswith(_AGENT_URI) else None


def not_after(certificate_pem: bytes) -> datetime:
    """Return when a certificate ends."""
    return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("is not an ECDSA key")
    return key


class Authority:
    """A certificate authority: a key and its self-signed certificate."""

    def __init__(self, credential: Credential) -> None:
        """Read the CA's certificate and key; raise ValueError when they are not such."""
        self.ca_pem = credential.chain_pem
        self._certificate = x509.load_pem_x509_certificate(credential.chain_pem)
        self._key = _private(credential.key_pem)
        if self._certificate.public_key() != self._key.public_key():
            raise ValueError("the CA's certificate and key do not belong together")

    @staticmethod
    def create(name: str, now: datetime, lifetime: timedelta) -> Credential:
        """Make a new CA."""
        key_pem = new_key()
        key = _private(key_pem)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key.public_key(), now, now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return Credential(certificate.public_bytes(_PEM), key_pem)

    def issue_server(self, hosts: tuple[str, ...], now: datetime, lifetime: timedelta) -> Credential:
        """Make the controller's own certificate for these names and addresses."""
        key_pem = new_key()
        names = [_general_name(host) for host in hosts]
        chain = self._issue(
            hosts[0], _private(key_pem).public_key(), names, ExtendedKeyUsageOID.SERVER_AUTH, now, lifetime
        )
        return Credential(chain, key_pem)

    def issue_join(self, now: datetime, lifetime: timedelta) -> Join:
        """Make the anonymous credential."""
        key_pem = new_key()
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(JOIN_URI)]
        chain = self._issue(
            "join", _private(key_pem).public_key(), names, ExtendedKeyUsageOID.CLIENT_AUTH, now, lifetime
        )
        return Join(self.ca_pem, Credential(chain, key_pem))

    def issue_agent(self, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta) -> bytes:
        """Make an agent's certificate; return its chain, PEM."""
        agent = instance_id(key)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(_AGENT_URI + agent)]
        return self._issue(agent, key, names, ExtendedKeyUsageOID.CLIENT_AUTH, now, lifetime)

    def _issue(
        self,
        common_name: str,
        key: ec.EllipticCurvePublicKey,
        names: list[x509.GeneralName],
        use: x509.ObjectIdentifier,
        now: datetime,
        lifetime: timedelta,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
        end = min(now + lifetime, self._certificate.not_valid_after_utc)
        certificate = (
            _builder(subject, self._certificate.subject, key, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(_PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(end)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
