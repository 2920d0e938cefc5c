"""Enrolment over real TLS: the pin, the token, and what is kept."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from agents.runtime import identity as ids
from agents.runtime.enroll import EnrollError, NodeUnreachable, enroll, fetch_ca
from tests.agents.runtime.node import Authority, Node

AUTHORITY = Authority()


def test_a_token_becomes_a_certificate_that_is_kept_and_used_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        directory = tmp_path / "agent"
        async with Node(AUTHORITY).serving() as node:
            first = await enroll(directory, node.enroll_endpoint, "token-1", AUTHORITY.fingerprint, "host-1")
        again = await enroll(directory, "127.0.0.1:1", "", "", "host-1")
        assert again == first
        certificate = x509.load_pem_x509_certificate(first.certificate)
        certificate.verify_directly_issued_by(AUTHORITY.certificate)
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        assert first.ca_certificate.split() == AUTHORITY.pem.split()

    asyncio.run(scenario())
    assert stat.S_IMODE((tmp_path / "agent").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "agent" / "key.pem").stat().st_mode) == 0o600
    assert sorted(p.name for p in (tmp_path / "agent").iterdir()) == ["ca.pem", "certificate.pem", "key.pem"]


def test_the_token_is_never_sent_to_a_node_with_another_authority(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(Authority("in between")).serving() as node:
            with pytest.raises(EnrollError, match="it is another node, or somebody is in between"):
                await enroll(tmp_path, node.enroll_endpoint, "token-1", AUTHORITY.fingerprint, "host-1")
            assert node.tokens == {"token-1"}

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_may_be_written_as_openssl_writes_it() -> None:
    async def scenario() -> None:
        async with Node(AUTHORITY).serving() as node:
            hexed = AUTHORITY.fingerprint.upper()
            spelled = ":".join(hexed[i : i + 2] for i in range(0, len(hexed), 2))
            assert (await fetch_ca(node.enroll_endpoint, spelled)).split() == AUTHORITY.pem.split()
            with pytest.raises(EnrollError):
                await fetch_ca(node.enroll_endpoint, "")

    asyncio.run(scenario())


def test_a_used_token_is_refused_in_plain_words_without_naming_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(AUTHORITY).serving() as node:
            with pytest.raises(EnrollError, match="the token is unknown, used or too old") as refusal:
                await enroll(tmp_path, node.enroll_endpoint, "canary-token", AUTHORITY.fingerprint, "host-1")
            assert not isinstance(refusal.value, NodeUnreachable)
            assert "canary" not in str(refusal.value)
            # The agent died after it had its certificate and before it could forget the token.
            known = await enroll(tmp_path, node.enroll_endpoint, "token-1", AUTHORITY.fingerprint, "host-1")
            again = await enroll(tmp_path, node.enroll_endpoint, "token-1", AUTHORITY.fingerprint, "host-1")
            assert again == known

    asyncio.run(scenario())


def test_a_host_that_moves_to_another_cloud_gets_a_new_certificate(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(Authority("old cloud")).serving() as old:
            before = await enroll(tmp_path, old.enroll_endpoint, "token-1", old.authority.fingerprint, "host-1")
        async with Node(AUTHORITY).serving() as node:
            after = await enroll(tmp_path, node.enroll_endpoint, "token-1", AUTHORITY.fingerprint, "host-1")
            assert after.certificate != before.certificate
            assert ids.load(tmp_path) == after
            # What the old cloud gave is worth nothing in the new one.
            ids.store(tmp_path, before)
            with pytest.raises(EnrollError, match="too old"):
                await enroll(tmp_path, node.enroll_endpoint, "token-1", AUTHORITY.fingerprint, "host-1")

    asyncio.run(scenario())


def test_a_node_that_is_not_there_may_be_there_later(tmp_path: Path) -> None:
    with pytest.raises(NodeUnreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
        asyncio.run(enroll(tmp_path, "127.0.0.1:1", "token-1", AUTHORITY.fingerprint, "host-1"))
    with pytest.raises(EnrollError, match="'nonsense' is not host:port"):
        asyncio.run(enroll(tmp_path, "nonsense", "token-1", AUTHORITY.fingerprint, "host-1"))
    with pytest.raises(EnrollError, match="no enrolment token"):
        asyncio.run(enroll(tmp_path, "127.0.0.1:1", "", AUTHORITY.fingerprint, "host-1"))


def test_a_certificate_of_another_key_does_not_count(tmp_path: Path) -> None:
    ids.load_or_make_key(tmp_path)
    stranger = AUTHORITY.issue("host-1")
    ids.store(tmp_path, stranger)
    assert ids.load(tmp_path) is None
    assert "PRIVATE" not in repr(stranger)
