"""Where the server is and how it is trusted: --server, --tls, --ca, --cert and --key, and their variables."""

import argparse
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from zcloud.cli.errors import CliError, UsageError
from zcloud.cli.session import data_directory, is_local

DEFAULT = "127.0.0.1:50051"
SECURE, CLEAR = ("grpcs://", "https://"), ("grpc://", "http://")
# What a server on this machine says of its door.
_TOLD = "api-tls.json"
OPTIONS = (
    ("--server", "H:P", "the server (ZCLOUD_SERVER, else 127.0.0.1:50051); grpcs://H:P for TLS"),
    ("--ca", "FILE", "TLS, trusting this authority and not the system's (ZCLOUD_CA)"),
    ("--cert", "FILE", "TLS with this certificate of the client (ZCLOUD_CERT)"),
    ("--key", "FILE", "its private key (ZCLOUD_KEY)"),
)


@dataclass(frozen=True)
class Server:
    """An address, and what its certificate is believed by. trusted: PEM; None for the system's authorities."""

    address: str
    tls: bool = False
    trusted: bytes | None = None
    name: str = ""
    certificate: bytes | None = None
    key: bytes | None = None

    def __str__(self) -> str:
        # A session that was kept for one way is not sent by the other.
        return f"grpcs://{self.address}" if self.tls else self.address

    def channel(self, options: tuple[tuple[str, Any], ...]) -> grpc.Channel:
        """A connection that is made at the first call."""
        if not self.tls:
            return grpc.insecure_channel(self.address, options=options)
        if self.name:
            options = (*options, ("grpc.ssl_target_name_override", self.name))
        credentials = grpc.ssl_channel_credentials(self.trusted, self.key, self.certificate)
        return grpc.secure_channel(self.address, credentials, options=options)

    def hint(self, details: str) -> str:
        """What an error of the connection most likely means."""
        if not self.tls:
            closed = any(words in details for words in ("Socket closed", "Connection reset", "closed connection"))
            return f"if the server has TLS: --server grpcs://{self.address}, or --ca FILE" if closed else ""
        if "CERTIFICATE_VERIFY_FAILED" in details:
            return "its certificate is of no authority that is trusted here, or of another name; --ca FILE names one"
        if "WRONG_VERSION_NUMBER" in details:
            return f"it speaks no TLS: --server grpc://{self.address}"
        if "CERTIFICATE_REQUIRED" in details or "Socket closed" in details:
            return "it may want a certificate of the client: --cert FILE --key FILE"
        return ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """To a command that calls the server."""
    for option, value, what in OPTIONS:
        parser.add_argument(option, metavar=value, help=what)
    parser.add_argument("--tls", action="store_true", help="TLS, trusting the system's authorities (ZCLOUD_TLS=1)")


def chosen(options: Any) -> Server:
    """What the options and the environment say; a server on this machine says itself what is to be trusted."""
    text = options.server or os.environ.get("ZCLOUD_SERVER", "") or DEFAULT
    address = text
    for scheme in (*SECURE, *CLEAR):
        address = address.removeprefix(scheme)
    address = address.rstrip("/")
    ca, certificate, key = (_content(options, name) for name in ("ca", "cert", "key"))
    if (certificate is None) != (key is None):
        raise UsageError("--cert and --key go together.")
    if text.startswith(CLEAR):
        if options.tls or ca or certificate:
            raise UsageError(f"--server {text} is in clear; with --tls, --ca or --cert say grpcs://.")
        return Server(address)
    told = {} if ca else _told(address)
    wanted = options.tls or bool(os.environ.get("ZCLOUD_TLS")) or text.startswith(SECURE) or bool(ca or certificate)
    if not wanted and not told:
        return Server(address)
    trusted = ca if ca else (told.get("trusted", "").encode() or None)
    return Server(address, True, trusted, told.get("name", ""), certificate, key)


def _content(options: Any, name: str) -> bytes | None:
    path = getattr(options, name) or os.environ.get(f"ZCLOUD_{name.upper()}", "")
    if not path:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise CliError(f"--{name} {path}: {error.strerror}") from None


def _told(address: str) -> dict[str, str]:
    # Nobody else can listen at an address of this machine and have the data directory besides.
    if is_local(address):
        with suppress(OSError, ValueError):
            return dict(json.loads((data_directory() / _TOLD).read_text(encoding="utf-8")))
    return {}
