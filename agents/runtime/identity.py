"""What an agent proves itself with: its key, its certificate, and the authority it believes, kept in a directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY, CERTIFICATE, CA = "key.pem", "certificate.pem", "ca.pem"


@dataclass(frozen=True)
class Identity:
    """All in PEM."""

    private_key: bytes
    certificate: bytes
    ca_certificate: bytes

    def __repr__(self) -> str:
        return "Identity(…)"


def write_private(path: Path, content: bytes) -> None:
    """Put a file in place whole or not at all, readable by its owner only, and on disk on return."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def made(directory: Path) -> Path:
    """The directory, which is nobody's but the agent's."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def load_or_make_key(directory: Path) -> bytes:
    """The agent's EC P-256 key. Kept before it is used: a node that signed it can be asked again after a crash."""
    path = directory / KEY
    if path.exists():
        return path.read_bytes()
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(made(directory) / KEY, pem)
    return pem


def certificate_request(private_key: bytes, name: str) -> bytes:
    """A PEM request for this key. The name is a hint for people: what the agent may do is the token's to say."""
    key = serialization.load_pem_private_key(private_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def belongs(private_key: bytes, certificate: bytes) -> bool:
    """Whether the certificate was made for this key."""
    key = serialization.load_pem_private_key(private_key, None)
    return x509.load_pem_x509_certificate(certificate).public_key() == key.public_key()


def load(directory: Path) -> Identity | None:
    """What an earlier start got; None when there is nothing, or only part of it."""
    paths = [directory / KEY, directory / CERTIFICATE, directory / CA]
    if not all(path.exists() for path in paths):
        return None
    key, certificate, ca = (path.read_bytes() for path in paths)
    return Identity(key, certificate, ca) if belongs(key, certificate) else None


def store(directory: Path, identity: Identity) -> None:
    """Keep certificate and authority beside the key; the certificate last, since it makes the rest count."""
    write_private(directory / CA, identity.ca_certificate)
    write_private(directory / CERTIFICATE, identity.certificate)


def begin(identity: Identity) -> datetime:
    """From when on the certificate counts."""
    return x509.load_pem_x509_certificate(identity.certificate).not_valid_before_utc


def end(identity: Identity) -> datetime:
    """Until when the certificate counts."""
    return x509.load_pem_x509_certificate(identity.certificate).not_valid_after_utc
