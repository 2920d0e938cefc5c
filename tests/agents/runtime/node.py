"""A management node as the agent sees it: real TLS, a real authority, and a script of what it does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.runtime.channel import NODE_NAME, SERVER_OPTIONS
from agents.runtime.identity import Identity
from tests.support.ports import free_port
from zcloud.v1.agent_pb2 import (
    ConnectRequest,
    ConnectResponse,
    EnrollRequest,
    EnrollResponse,
    ReportRecorded,
    Task,
    Welcome,
)
from zcloud.v1.agent_pb2_grpc import AgentServiceServicer, add_AgentServiceServicer_to_server

PEM = serialization.Encoding.PEM


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, name: str = "test authority") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def _sign(self, subject: x509.Name, public_key: Any, ca: bool = False, name: str = "") -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if name:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str) -> Identity:
        """Key and certificate for a DNS name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), name=name)
        pem = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Identity(pem, certificate.public_bytes(PEM), self.pem)

    def grant(self, request: str) -> bytes:
        """A certificate for a certificate request."""
        asked = x509.load_pem_x509_csr(request.encode())
        assert asked.is_signature_valid
        return self._sign(asked.subject, asked.public_key()).public_bytes(PEM)


class Stream:
    """One agent's stream as the node holds it."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.got: list[ConnectRequest] = []
        # End the stream at the next message.
        self.hang_up = False

    async def send(self, **message: Any) -> None:
        await self.context.write(ConnectResponse(**message))

    def of(self, kind: str) -> list[Any]:
        """What came of one kind, in order."""
        return [getattr(m, kind) for m in self.got if m.WhichOneof("message") == kind]


class Node(AgentServiceServicer):
    """Welcomes agents, keeps what they say, and records reports when told to."""

    def __init__(self, authority: Authority, port: int = 0) -> None:
        self.authority = authority
        self.port = port
        self.enroll_port = 0
        self.streams: list[Stream] = []
        self.tokens = {"token-1"}
        self.record = True
        # What happens to a stream after the hello, instead of a welcome.
        self.rude: list[Callable[[Stream], Awaitable[None]]] = []
        self.to_send: list[Task] = []

    async def Enroll(self, request: EnrollRequest, context: Any) -> EnrollResponse:
        if request.token not in self.tokens:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is unknown, used or too old")
        self.tokens.discard(request.token)
        certificate = self.authority.grant(request.certificate_request).decode()
        return EnrollResponse(certificate=certificate, ca_certificate=self.authority.pem.decode())

    async def Connect(self, request: AsyncIterator[ConnectRequest], context: Any) -> None:
        stream = Stream(context)
        self.streams.append(stream)
        async for message in request:
            stream.got.append(message)
            if stream.hang_up:
                return
            if message.HasField("hello"):
                if self.rude:
                    await self.rude.pop(0)(stream)
                    return
                await stream.send(welcome=Welcome(heartbeat_seconds=1))
                for task in self.to_send:
                    await stream.send(task=task)
            if message.HasField("report") and self.record:
                await stream.send(recorded=ReportRecorded(task_uuid=message.report.task_uuid))

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def enroll_endpoint(self) -> str:
        return f"127.0.0.1:{self.enroll_port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Node]:
        """One port for agents with certificates, one for those without. Comes back on the same ports."""
        own = self.authority.issue(NODE_NAME)
        pair = [(own.private_key, own.certificate + self.authority.pem)]
        server = grpc.aio.server(options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)])
        add_AgentServiceServicer_to_server(self, server)
        mutual = grpc.ssl_server_credentials(pair, self.authority.pem, require_client_auth=True)
        self.port = server.add_secure_port(f"127.0.0.1:{self.port or free_port()}", mutual)
        alone = grpc.ssl_server_credentials(pair)
        self.enroll_port = server.add_secure_port(f"127.0.0.1:{self.enroll_port or free_port()}", alone)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)
            await asyncio.sleep(0)
