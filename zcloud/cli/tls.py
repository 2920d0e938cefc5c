"""The options of `zcloud serve` that say how the API's door is kept: with TLS, or in clear where nobody listens in."""

from __future__ import annotations

import argparse
import ipaddress
import os
from pathlib import Path

from zcloud.api.tls import CertificateFiles, Tls

OWN = "self"


def add_options(parser: argparse.ArgumentParser) -> None:
    """With their variables, for those who start nodes from files of variables."""
    parser.add_argument(
        "--tls",
        choices=[OWN],
        default=os.environ.get("ZCLOUD_TLS") or None,
        help="self: TLS at the API with a certificate of the cloud's own authority, whose certificate (for clients'"
        " --ca) is pki/ca.pem under --data",
    )
    parser.add_argument(
        "--tls-name",
        action="append",
        metavar="NAME",
        default=None,
        help="with --tls self: a name or address by which clients call the API, such as a balancer's; any number",
    )
    for option, what in (
        ("cert", "certificate of the API, and those between it and its authority, in PEM form"),
        ("key", "its private key in PEM form; both files are read again when they change"),
        ("client-ca", "only clients with a certificate of this authority may connect to the API; read again as well"),
    ):
        parser.add_argument(f"--tls-{option}", type=Path, metavar="FILE", default=_variable(option), help=what)
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=bool(os.environ.get("ZCLOUD_INSECURE")),
        help="serve the API in clear at an address that other machines reach: who listens in has every password",
    )


def _variable(option: str) -> Path | None:
    text = os.environ.get(f"ZCLOUD_TLS_{option.replace('-', '_').upper()}", "")
    return Path(text) if text else None


def read(options: argparse.Namespace, parser: argparse.ArgumentParser) -> Tls | None:
    """What was asked for; ends the program with what would be right. Raises BadCertificate."""
    names = options.tls_name or [n.strip() for n in os.environ.get("ZCLOUD_TLS_NAMES", "").split(",") if n.strip()]
    files = [path for path in (options.tls_cert, options.tls_key) if path is not None]
    if options.tls not in (None, OWN):
        parser.error(f"ZCLOUD_TLS {options.tls!r}: must be {OWN}, or not set")
    if len(files) == 1:
        parser.error("--tls-cert and --tls-key go together")
    if files and options.tls == OWN:
        parser.error("--tls self makes a certificate; it does not go with --tls-cert")
    if names and options.tls != OWN:
        parser.error("--tls-name is for --tls self; with --tls-cert the certificate has the names")
    if files or options.tls == OWN:
        if files:
            CertificateFiles(*files).load()  # what is wrong with them shows before anything is started
        return Tls(options.tls_cert, options.tls_key, options.tls_client_ca, tuple(names))
    if options.tls_client_ca is not None:
        parser.error("--tls-client-ca needs --tls self, or --tls-cert and --tls-key")
    if not options.insecure and not is_loopback(options.listen):
        parser.error(
            f"--listen {options.listen}: other machines reach it, and passwords would pass in clear;"
            " give --tls self, or --tls-cert and --tls-key (or --insecure, behind something that does TLS)"
        )
    return None


def arguments(options: argparse.Namespace) -> list[str]:
    """The same for a process that is started by this one."""
    made = [f"--tls-name={name}" for name in options.tls_name or ()]
    for option in ("tls", "tls_cert", "tls_key", "tls_client_ca"):
        value = getattr(options, option)
        made += [] if value is None else [f"--{option.replace('_', '-')}={value}"]
    return [*made, "--insecure"] if options.insecure else made


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches host:port."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_unspecified(address: str) -> bool:
    """Whether host:port names all addresses of this machine, and so none that another could dial."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
