"""The node's own certificate authority: certificates for its doors and for agents, short-lived and pinned."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from zcloud.kernel.errors import invalid
from zcloud.kernel.files import make_once

NODE_NAME = "zcloud-node"
SCHEME = "zcloud://"
CA_DAYS, NODE_DAYS, AGENT_DAYS = 3650, 365, 30


class Authority:
    """Keys and certificates under one directory; made at the first start."""

    # How long agents' certificates last; agents have them renewed when a third of it is left.
    agent_days: float = AGENT_DAYS

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = _key(directory / "ca.key")
        self._certificate = self._load_or_make(directory / "ca.pem")

    def now(self) -> datetime.datetime:
        """What time certificates are made at."""
        return datetime.datetime.now(datetime.UTC)

    @property
    def pem(self) -> bytes:
        """The authority's certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the DER form, hex: what agents pin."""
        return hashlib.sha256(self._certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def certificate(self, names: Sequence[str]) -> tuple[bytes, bytes]:
        """For a server under these names and addresses: a new key, and the chain that it is trusted by."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(_name(names[0]), key.public_key(), NODE_DAYS, server=True, names=[*map(_host, names)])
        return _pem(key), made.public_bytes(serialization.Encoding.PEM) + self.pem

    def sign_request(self, pem: str, identity: str) -> tuple[str, str]:
        """A certificate for an agent's request, and the SHA-256 of its public key. The identity is ours to say."""
        request, public_key = read_request(pem)
        del request
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(SCHEME + identity)]
        made = self._sign(_name(identity), public_key, self.agent_days, server=False, names=names)
        return made.public_bytes(serialization.Encoding.PEM).decode(), key_hash(public_key)

    def _load_or_make(self, path: Path) -> x509.Certificate:
        if path.exists():
            return x509.load_pem_x509_certificate(path.read_bytes())
        name = _name("zcloud certificate authority")
        made = (
            _builder(name, name, self._key.public_key(), CA_DAYS, self.now())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        make_once(path, made.public_bytes(serialization.Encoding.PEM))
        return made

    def _sign(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        days: float,
        *,
        server: bool,
        names: list[x509.GeneralName],
    ) -> x509.Certificate:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            _builder(subject, self._certificate.subject, public_key, days, self.now())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )


def read_request(pem: str) -> tuple[x509.CertificateSigningRequest, ec.EllipticCurvePublicKey]:
    """A certificate request with an EC key whose signature is right; raises INVALID_ARGUMENT."""
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        public_key, valid = request.public_key(), request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise invalid("certificate_request", pem[:40], "must be a PKCS #10 request in PEM form") from error
    if not valid or not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise invalid("certificate_request", pem[:40], "must be signed by its own EC key")
    return request, public_key


def key_hash(public_key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key, hex."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public_key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: float, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    kept = make_once(path, _pem(ec.generate_private_key(ec.SECP256R1())))
    loaded = serialization.load_pem_private_key(kept, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
