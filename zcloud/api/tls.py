"""TLS at a node's doors: a certificate from files that others renew, or one that our own authority renews."""

from __future__ import annotations

import datetime
import json
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agents.runtime.identity import write_private
from zcloud.api.pki import NODE_DAYS, NODE_NAME, Authority
from zcloud.kernel.clock import SystemClock

log = logging.getLogger(__name__)
# What clients on this machine read, so that they need be told nothing: whom to trust, and by which name.
TOLD = "api-tls.json"
REMIND_BEFORE = datetime.timedelta(days=14)
REMIND_EVERY = datetime.timedelta(days=1)


class BadCertificate(OSError):
    """The files that were named can't be served."""


@dataclass(frozen=True)
class Pair:
    """A certificate as it is served. trusted: what a client that is on this machine may believe."""

    key: bytes
    chain: bytes
    name: str
    ends: datetime.datetime
    trusted: bytes


class Source(Protocol):
    """Where certificates come from."""

    def load(self) -> Pair | None:
        """One that is new since the last time; None when there is none. Raises BadCertificate."""


@dataclass(frozen=True)
class Tls:
    """What an operator has asked for. Without certificate and key our own authority makes one for the names."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    names: Sequence[str] = ()

    def door(self, authority: Authority, directory: Path) -> TlsDoor:
        """Ready to be listened at; raises BadCertificate."""
        source: Source = OwnCertificate(authority, this_machine(self.names))
        if self.certificate is not None and self.key is not None:
            source = CertificateFiles(self.certificate, self.key)
        return TlsDoor(source, self.client_ca, directory / TOLD)


def door_of(tls: Tls | None, authority: Authority, directory: Path) -> TlsDoor | None:
    """The API's door; None when it is one in clear. Raises BadCertificate."""
    if tls is None:
        (directory / TOLD).unlink(missing_ok=True)
        return None
    return tls.door(authority, directory)


def door_for_agents(authority: Authority, *, enrolled: bool) -> TlsDoor:
    """Sessions are for who shows a certificate of the authority; who enrols has none yet. Agents look for one name."""
    source = OwnCertificate(authority, (NODE_NAME, "localhost", "127.0.0.1"))
    if enrolled:
        return TlsDoor(source, authority.pem, where="the agents' door")
    return TlsDoor(source, None, where="the door for enrolment")


def this_machine(names: Sequence[str] = ()) -> list[str]:
    """What this machine is called, behind the names that an operator gives it."""
    own = (NODE_NAME, "localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn())
    return [name for name in dict.fromkeys((*names, *own)) if name.isascii()]


class OwnCertificate:
    """Made by the cloud's authority for these names, anew when a third of its time is left."""

    def __init__(self, authority: Authority, names: Sequence[str]) -> None:
        self._authority = authority
        self._names = names
        self._anew = datetime.datetime.min.replace(tzinfo=datetime.UTC)

    def load(self) -> Pair | None:
        now = self._authority.now()
        if now < self._anew:
            return None
        key, chain = self._authority.certificate(self._names)
        self._anew = now + datetime.timedelta(days=NODE_DAYS) * 2 / 3
        return Pair(key, chain, NODE_NAME, _leaf(chain).not_valid_after_utc, self._authority.pem)


class CertificateFiles:
    """Files in PEM form, read again when they have changed: who renews them need not restart the node."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = (certificate, key)
        self._seen: object = None

    def load(self) -> Pair | None:
        state = [_state(path) for path in self._paths]
        if state == self._seen:
            return None
        chain, key = (_read(path) for path in self._paths)
        pair = _checked(chain, key, *self._paths)
        self._seen = state
        return pair


class TlsDoor:
    """Credentials of a server, which asks at each handshake whether there is a new certificate.

    client_ca: of whose authority clients must be: a file, or what would be in it; None for anybody.
    told: where clients on this machine read whom to trust. where: what the log calls the door.
    """

    def __init__(
        self, source: Source, client_ca: Path | bytes | None, told: Path | None = None, where: str = "the API"
    ) -> None:
        self._source = source
        self._client_ca = client_ca
        self._told = told
        self._where = where
        self._pair: Pair | None = None
        self._roots = client_ca if isinstance(client_ca, bytes) else None
        self._roots_seen: object = None
        self._new = False
        self._refused = ""
        self._reminded = datetime.datetime.min.replace(tzinfo=datetime.UTC)

    def served(self) -> tuple[bytes, bytes, bytes, bool]:
        """Key, chain, whose clients are let in (empty: anybody's), and whether they need a certificate.

        Raises BadCertificate where there is none to serve yet.
        """
        if self._pair is None:
            self._load()
        assert self._pair is not None
        self._new = False
        return self._pair.key, self._pair.chain, self._roots or b"", self._client_ca is not None

    def changed(self) -> bool:
        """Whether there is something newer than what was served last."""
        self._look()
        return self._new

    def credentials(self) -> grpc.ServerCredentials:
        """For Server.start; raises BadCertificate."""
        self._load()
        fetch: Any = self._fetch  # None is for nothing new, which the stubs do not say
        return grpc.dynamic_ssl_server_credentials(self._served(), fetch, self._client_ca is not None)

    def _served(self) -> grpc.ServerCertificateConfiguration:
        assert self._pair is not None
        self._new = False
        return grpc.ssl_server_certificate_configuration([(self._pair.key, self._pair.chain)], self._roots)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC at each handshake, in its own thread."""
        self._look()
        return self._served() if self._new else None

    def _look(self) -> None:
        """What is wrong leaves what was right in its place."""
        try:
            self._load()
            self._refused = ""
        except BadCertificate as error:
            if str(error) != self._refused:
                log.error("%s; the certificate before it is still in use", error)
            self._refused = str(error)

    def _load(self) -> None:
        pair = self._source.load()
        if pair is not None:
            self._pair, self._new = pair, True
            self._tell(pair)
            log.info("TLS at %s: certificate of %s until %s", self._where, pair.name, pair.ends.date())
        self._remind()
        self._load_roots()

    def _load_roots(self) -> None:
        if not isinstance(self._client_ca, Path) or (state := _state(self._client_ca)) == self._roots_seen:
            return
        roots = _read(self._client_ca)
        try:
            x509.load_pem_x509_certificates(roots)
        except ValueError as error:
            raise BadCertificate(f"{self._client_ca} holds no certificates in PEM form: {error}") from None
        self._roots, self._roots_seen, self._new = roots, state, True

    def _tell(self, pair: Pair) -> None:
        if self._told is not None:
            write_private(self._told, json.dumps({"name": pair.name, "trusted": pair.trusted.decode()}).encode())

    def _remind(self) -> None:
        assert self._pair is not None
        now = _now()
        left = self._pair.ends - now
        if left > REMIND_BEFORE or now - self._reminded < REMIND_EVERY:
            return
        self._reminded, ends = now, self._pair.ends.date()
        if left < datetime.timedelta():
            log.error("%s's certificate ended on %s: clients refuse it. Renew its files", self._where, ends)
        else:
            log.warning("%s's certificate ends on %s, and nobody has renewed its files", self._where, ends)


def _now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(SystemClock().now() / 1_000_000, datetime.UTC)


def _state(path: Path) -> tuple[int, int, int]:
    """Another one when the file, or what a link leads to, was replaced or written."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise BadCertificate(f"{path}: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadCertificate(f"{path}: {error.strerror}") from None


def _leaf(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


def _checked(chain: bytes, key: bytes, chain_path: Path, key_path: Path) -> Pair:
    """While both files are being replaced they do not go together: that is wrong, and right a moment later."""
    try:
        leaf = _leaf(chain)
    except ValueError as error:
        raise BadCertificate(f"{chain_path} holds no certificate in PEM form: {error}") from None
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise BadCertificate(f"{key_path} holds no private key in PEM form without a password: {error}") from None
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise BadCertificate(f"{key_path} is not the key of the certificate in {chain_path}")
    own = leaf.public_bytes(serialization.Encoding.PEM)
    return Pair(key, chain, _name_of(leaf, chain_path), leaf.not_valid_after_utc, own)


def _name_of(leaf: x509.Certificate, path: Path) -> str:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise BadCertificate(f"{path} names no host (no subject alternative name): no client accepts it") from None
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    if not found:
        raise BadCertificate(f"{path} names no host by DNS name or address: no client accepts it")
    # A name with a star stands for any; somebody who checks it needs one.
    return found[0].replace("*", "api", 1)
