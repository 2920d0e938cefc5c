"""Images by https: only from servers whose certificate is trusted for their name, and never down to http."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.storage.helper import HelperError
from agents.storage.image_sources import open_http
from tests.support.web import Web, running_web

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


def certificate(path: Path, name: x509.GeneralName) -> Path:
    """A self-signed certificate with its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@contextlib.contextmanager
def https(path: Path, name: x509.GeneralName) -> Iterator[Web]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(path, name))
    with running_web(context) as web:
        yield web


def fetch(url: str) -> bytes:
    with open_http(url, LOOPBACK) as (reader, length):
        content = reader.read(1000)
        assert length == len(content)
        return content


def test_a_trusted_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.pem"
    with https(own, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))) as web:
        url = web.serve("/a", b"content")
        with pytest.raises(
            HelperError, match=r"the certificate of https://127\.0\.0\.1:\d+/a is not trusted"
        ) as caught:
            fetch(url)
        assert caught.value.reason == "REFUSED"
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        assert fetch(url) == b"content"


def test_a_certificate_for_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.pem"
    with https(other, x509.DNSName("images.example")) as web:
        monkeypatch.setenv("SSL_CERT_FILE", str(other))
        with pytest.raises(HelperError) as caught:
            fetch(web.serve("/a", b"content"))
        assert caught.value.reason == "REFUSED"


def test_no_way_down_to_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.pem"
    with https(own, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))) as web, running_web() as plain:
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        assert fetch(plain.redirect("/up", web.serve("/a", b"content"))) == b"content"
        with pytest.raises(HelperError, match="redirects from https to http") as caught:
            fetch(web.redirect("/down", plain.serve("/a", b"content")))
        assert caught.value.reason == "REFUSED"
