"""TLS at the API's door: files that others renew, a certificate of our own, clients that must have one (ARC-14)."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import os
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2

from agents.runtime.identity import certificate_request, load_or_make_key
from tests.support.cloud import ServerProcess
from zcloud.api import tls
from zcloud.api.pki import Authority
from zcloud.api.tls import BadCertificate, CertificateFiles, OwnCertificate, Tls, TlsDoor, this_machine
from zcloud.cli import tls as options
from zcloud.cli.main import main

ROOT = Path(__file__).parents[2]
HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


class Files:
    """A certificate and its key, as somebody else renews them."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        directory.mkdir(exist_ok=True)
        self.certificate, self.key = directory / "tls.pem", directory / "tls.key"
        self._authority = authority

    def renew(self, name: str) -> None:
        key, chain = self._authority.certificate([name, "127.0.0.1"])
        self.key.write_bytes(key)
        self.certificate.write_bytes(chain)


async def shown(port: int, authority: Authority, pair: tuple[bytes, bytes] | None = None) -> str:
    """The name of the certificate that a new connection is shown, or the code of its failure."""
    key, chain = pair or (None, None)
    credentials = grpc.ssl_channel_credentials(authority.pem, key, chain)
    own = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=own) as channel:
        call = channel.unary_unary("/x/Shown")(b"", timeout=60)
        try:
            return (await call).decode()
        except grpc.aio.AioRpcError as error:
            return error.code().name


async def listening(door: TlsDoor) -> tuple[grpc.aio.Server, int]:
    """A server that answers every call."""
    server = grpc.aio.server()

    async def answer(_: bytes, context: Any) -> bytes:
        return b"answered"

    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x", {"Shown": handler}),))
    port = server.add_secure_port("127.0.0.1:0", door.credentials())
    await server.start()
    return server, port


def common_name(port: int, authority: Authority) -> str:
    """Of the certificate that is shown just now."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return dict(pair[0] for pair in secure.getpeercert()["subject"])["commonName"]


def test_a_renewed_certificate_is_served_without_a_restart(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be served, half a renewal among it, leaves the certificate before it in its place."""
    files = Files(tmp_path / "files", authority)
    files.renew("first.example.org")

    async def go() -> None:
        server, port = await listening(Tls(files.certificate, files.key).door(authority, tmp_path))
        try:
            look = lambda: asyncio.to_thread(common_name, port, authority)  # noqa: E731
            assert await look() == "first.example.org"
            assert await shown(port, authority) == "answered"
            key, chain = authority.certificate(["second.example.org", "127.0.0.1"])
            files.certificate.write_bytes(chain)
            assert await look() == "first.example.org"
            assert await look() == "first.example.org"
            assert caplog.text.count("is not the key of the certificate") == 1
            files.key.write_bytes(key)
            assert await look() == "second.example.org"
            files.key.unlink()
            assert await look() == "second.example.org"
            files.renew("third.example.org")
            assert await look() == "third.example.org"
            assert json.loads((tmp_path / tls.TOLD).read_text())["name"] == "third.example.org"
        finally:
            await server.stop(None)

    asyncio.run(go())


def test_only_clients_of_the_named_authority_connect(tmp_path: Path, authority: Authority) -> None:
    """Of a stranger's authority, or without any certificate, nobody connects; the authority's file may change."""
    strangers, roots = Authority(tmp_path / "strangers"), tmp_path / "clients.pem"
    roots.write_bytes(authority.pem)
    ours, theirs = client_pair(tmp_path, authority), client_pair(tmp_path, strangers)

    async def go() -> None:
        server, port = await listening(Tls(client_ca=roots).door(authority, tmp_path))
        try:
            assert await shown(port, authority, ours) == "answered"
            assert await shown(port, authority, theirs) == "UNAVAILABLE"
            assert await shown(port, authority) == "UNAVAILABLE"
            roots.write_bytes(strangers.pem)
            assert await shown(port, authority, theirs) == "answered"
            assert await shown(port, authority, ours) == "UNAVAILABLE"
        finally:
            await server.stop(None)

    asyncio.run(go())


def client_pair(directory: Path, authority: Authority) -> tuple[bytes, bytes]:
    key = load_or_make_key(directory)
    return key, authority.sign_request(certificate_request(key, "client").decode(), "client")[0].encode()


def spoil(files: Files, what: str, authority: Authority) -> None:
    files.renew("host.example.org")
    if what == "no certificate":
        files.certificate.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    elif what == "no key":
        files.key.write_bytes(files.certificate.read_bytes())
    elif what == "another key":
        files.key.write_bytes(authority.certificate(["x"])[0])
    else:
        files.certificate.unlink()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no certificate", "tls.pem holds no certificate in PEM form"),
        ("no key", "tls.key holds no private key in PEM form without a password"),
        ("another key", "tls.key is not the key of the certificate in"),
        ("no file", "tls.pem: No such file or directory"),
    ],
)
def test_files_that_cannot_be_served_are_refused_by_name(
    what: str, said: str, tmp_path: Path, authority: Authority
) -> None:
    files = Files(tmp_path / "files", authority)
    spoil(files, what, authority)
    with pytest.raises(BadCertificate, match=said):
        CertificateFiles(files.certificate, files.key).load()


def test_our_own_certificate_is_made_anew_before_it_ends(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = OwnCertificate(authority, this_machine(["cloud.example.org", "192.0.2.7"]))
    first = own.load()
    assert first is not None
    assert own.load() is None
    names = x509.load_pem_x509_certificate(first.chain).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert {"cloud.example.org", "localhost"} <= set(names.value.get_values_for_type(x509.DNSName))
    assert ipaddress.ip_address("192.0.2.7") in names.value.get_values_for_type(x509.IPAddress)
    moment = datetime.now(UTC) + (first.ends - datetime.now(UTC)) * 2 / 3
    monkeypatch.setattr(authority, "now", lambda: moment - timedelta(hours=1))
    assert own.load() is None
    monkeypatch.setattr(authority, "now", lambda: moment + timedelta(hours=1))
    later = own.load()
    assert later is not None
    assert later.key != first.key


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "0.0.0.0:50051"], "passwords would pass in clear"),
        (["--listen", "192.0.2.1:50051"], "passwords would pass in clear"),
        (["--listen", ":50051"], "passwords would pass in clear"),
        (["--tls-cert", "/nowhere/tls.pem"], "--tls-cert and --tls-key go together"),
        (["--tls", "self", "--tls-cert", "a", "--tls-key", "b"], "does not go with --tls-cert"),
        (["--tls-client-ca", "/nowhere/ca.pem"], "--tls-client-ca needs"),
        (["--tls-name", "cloud.example.org"], "--tls-name is for --tls self"),
    ],
)
def test_a_door_in_clear_is_this_machines_only(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--data", str(tmp_path / "data"), *words])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_missing_files_stop_a_start(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--tls-cert", "/nowhere/tls.pem", "--tls-key", "/nowhere/tls.key"]
    assert main(["serve", "--data", str(tmp_path / "data"), *words]) != 0
    assert "/nowhere/tls.pem: No such file or directory" in capsys.readouterr().err


def test_a_server_with_a_certificate_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line on its machine is told nothing; elsewhere it is given the authority; so are buf and probes."""
    server = ServerProcess(tmp_path / "data", arguments=["--tls", "self"])
    for name in ("ZCLOUD_SERVER", "ZCLOUD_TOKEN", "ZCLOUD_CA", "ZCLOUD_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ZCLOUD_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("time.sleep", lambda _: None)
    try:
        server.start()
        ca = tmp_path / "data" / "pki" / "ca.pem"
        assert main(["CreateZone", "--server", server.address, "name=z"]) == 0
        monkeypatch.setenv("ZCLOUD_DATA", str(tmp_path / "elsewhere"))
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "admin-password").write_text(server.admin_password)
        port = server.address.rpartition(":")[2]
        assert main(["QueryZone", "--server", f"grpcs://localhost:{port}", "--ca", str(ca)]) == 0
        assert "z" in capsys.readouterr().out.split()
        assert main(["QueryZone", "--server", server.address]) != 0
        assert "if the server has TLS: --server grpcs://" in capsys.readouterr().err
        assert main(["QueryZone", "--server", f"grpcs://{server.address}"]) != 0
        assert "its certificate is of no authority that is trusted here" in capsys.readouterr().err
        with grpc.secure_channel(server.address, grpc.ssl_channel_credentials(ca.read_bytes())) as channel:
            asked = health_pb2.HealthCheckRequest(service="zcloud.v1.ZoneService").SerializeToString()
            answer = channel.unary_unary(HEALTH)(asked, timeout=60)
        assert health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING
        body = json.dumps({"account_name": "admin", "password": server.admin_password})
        url = f"https://{server.address}/zcloud.v1.SessionService/LogInByAccount"
        buf = [str(ROOT / ".venv/bin/buf"), "curl", "--protocol", "grpc", "--cacert", str(ca), "-d", body, url]
        ran = subprocess.run(buf, capture_output=True, text=True, timeout=60, env={**os.environ, "NO_PROXY": "*"})
        assert json.loads(ran.stdout)["inventory"]["token"], ran.stderr
    finally:
        server.stop()
    assert "certificate of zcloud-node until" in server.output.read_text()


def test_workers_are_started_with_the_same_door() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="0.0.0.0:50051")
    options.add_options(parser)
    given = parser.parse_args(["--tls", "self", "--tls-name", "a.example.org", "--tls-client-ca", "/ca.pem"])
    assert vars(parser.parse_args(options.arguments(given))) == vars(given)
    assert options.read(given, parser) == Tls(None, None, Path("/ca.pem"), ("a.example.org",))
    assert options.arguments(parser.parse_args(["--insecure"])) == ["--insecure"]
