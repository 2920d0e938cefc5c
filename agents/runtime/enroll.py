"""Enrolment: a one-time token and a pinned authority become a certificate."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from pathlib import Path
from typing import Any

import grpc

from agents.runtime import identity as ids
from agents.runtime.channel import NODE_NAME, open_enrol_channel, split
from agents.runtime.identity import Identity
from zcloud.v1.agent_pb2 import EnrollRequest
from zcloud.v1.agent_pb2_grpc import AgentServiceStub

PATIENCE_SECONDS = 30.0
# Trying again may help.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}


class EnrollError(Exception):
    """The node does not take this agent; trying again will not help."""


class NodeUnreachable(EnrollError):
    """The node does not answer; trying again may help."""


def _split(endpoint: str) -> tuple[str, int]:
    host, colon, port = endpoint.rpartition(":")
    if not colon or not port.isdecimal():
        raise EnrollError(f"endpoint {endpoint!r} is not host:port")
    return host.strip("[]"), int(port)


def _chain(tls: Any) -> list[bytes]:
    """The certificates in DER that the peer has sent. Public from Python 3.13 on."""
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    return [ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in tls._sslobj.get_unverified_chain() or ()]


async def fetch_ca(endpoint: str, fingerprint: str) -> bytes:
    """The authority's certificate (PEM) from the chain that the node shows, if its SHA-256 is the pinned one.

    Nothing of the connection is believed and nothing is sent on it: the fingerprint came by another way.
    """
    wanted = fingerprint.replace(":", "").strip().lower()
    host, port = _split(endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=NODE_NAME)
            chain = _chain(writer.get_extra_info("ssl_object"))
            writer.transport.abort()
    except (OSError, TimeoutError) as error:
        raise NodeUnreachable(f"the node at {endpoint} cannot be reached: {error or 'no answer'}") from error
    for der in chain:
        if hmac.compare_digest(hashlib.sha256(der).hexdigest(), wanted):
            return ssl.DER_cert_to_PEM_cert(der).encode()
    raise EnrollError(
        f"the node at {endpoint} shows no certificate with SHA-256 fingerprint {wanted}: "
        "it is another node, or somebody is in between; compare the fingerprint with the node's own"
    )


async def enroll(directory: Path, endpoint: str, token: str, ca_fingerprint: str, name: str) -> Identity:
    """A new identity for the token, kept in the directory; without a token the one that is there.

    endpoint: of one node or of several, separated by commas.
    A token that is still known was not used, or the agent died before it could forget it: then it is refused,
    and the identity that it brought is there. name says in the request who asks.
    """
    known = ids.load(directory)
    if not token:
        if known is None:
            raise EnrollError(f"no certificate in {directory} and no enrolment token: add the host again to get one")
        return known
    for n, one in enumerate(endpoints := split(endpoint), 1):
        try:
            return await _enroll_at(directory, one, token, ca_fingerprint, name, known)
        except NodeUnreachable:
            if n == len(endpoints):
                raise
    raise AssertionError("there is an endpoint, be it empty")


async def _enroll_at(
    directory: Path, endpoint: str, token: str, ca_fingerprint: str, name: str, known: Identity | None
) -> Identity:
    ca_certificate = await fetch_ca(endpoint, ca_fingerprint)
    try:
        new = await _trade(directory, endpoint, token, ca_certificate, name)
    except NodeUnreachable:
        raise
    except EnrollError:
        if known is not None and known.ca_certificate == ca_certificate:
            return known
        raise
    ids.store(directory, new)
    return new


async def _trade(directory: Path, endpoint: str, token: str, ca_certificate: bytes, name: str) -> Identity:
    private_key = ids.load_or_make_key(directory)
    asked = ids.certificate_request(private_key, name).decode()
    async with open_enrol_channel(endpoint, ca_certificate) as channel:
        stub = AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            response = await stub.Enroll(
                EnrollRequest(token=token, certificate_request=asked), timeout=PATIENCE_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            kind = NodeUnreachable if error.code() in PASSING else EnrollError
            raise kind(f"the node at {endpoint} did not enrol this agent: {error.details()}") from None
    try:
        ours = ids.belongs(private_key, response.certificate.encode())
    except ValueError:
        ours = False
    if not ours:
        raise EnrollError(f"the node at {endpoint} answered with something that is no certificate for our key")
    return Identity(private_key, response.certificate.encode(), ca_certificate)
