"""SSH connections: pinned keys, plain words for what goes wrong, and no secret in any of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncssh
import pytest

from agents.node.private_sshd import PrivateSshd
from agents.runtime.task import TaskError
from agents.storage import ssh
from agents.storage.ssh import NoConnection, SshSession, open_ssh
from tests.support.ports import free_port
from tests.support.sshd import target_of
from zcloud.v1.host_task_pb2 import SshTarget

pytestmark = pytest.mark.real
CANARY = "canary-password-8c1e"


@pytest.fixture(autouse=True)
def silent_about_secrets(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that is logged at any level in these tests holds the password or the key."""
    asyncssh.set_debug_level(2)
    with caplog.at_level(logging.DEBUG):
        yield
    asyncssh.set_debug_level(1)
    assert CANARY not in caplog.text
    assert "PRIVATE KEY" not in caplog.text


def connect(target: SshTarget) -> SshSession:
    async def inside() -> SshSession:
        async with open_ssh(target) as session:
            return session

    return asyncio.run(inside())


def refusal(target: SshTarget) -> TaskError:
    with pytest.raises(TaskError) as caught:
        connect(target)
    assert CANARY not in caught.value.message
    assert "PRIVATE" not in caught.value.message
    return caught.value


def new_key(algorithm: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(algorithm)


def test_first_use_returns_the_host_key_and_pins_it(sshd: PrivateSshd) -> None:
    assert connect(target_of(sshd)).host_key == sshd.host_key
    assert connect(target_of(sshd, host_key=sshd.host_key)).host_key == sshd.host_key


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_another_host_key_is_refused(sshd: PrivateSshd, algorithm: str) -> None:
    other = new_key(algorithm).export_public_key("openssh").decode()
    error = refusal(target_of(sshd, host_key=other))
    assert (error.reason, error.message.startswith("host key changed: 127.0.0.1 port")) == ("REFUSED", True)


def test_a_key_or_password_that_is_not_taken(sshd: PrivateSshd) -> None:
    stranger = new_key().export_private_key("openssh").decode()
    error = refusal(target_of(sshd, private_key=stranger))
    assert error.reason == "REFUSED"
    assert f"authentication refused: 127.0.0.1 port {sshd.port}" in error.message
    error = refusal(target_of(sshd, private_key="", password=CANARY))
    assert (error.reason, "password" in error.message) == ("REFUSED", True)


def test_keys_of_this_users_own_are_never_tried(
    sshd: PrivateSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ".ssh"
    home.mkdir(mode=0o700)
    (home / "id_ed25519").write_text(sshd.client_key)
    (home / "id_ed25519").chmod(0o600)
    (home / "config").write_text("Host *\n  User root\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert refusal(target_of(sshd, private_key="", password=CANARY)).reason == "REFUSED"


@pytest.mark.parametrize("key", [f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n", "nonsense " + CANARY])
def test_a_private_key_that_is_none(sshd: PrivateSshd, key: str) -> None:
    assert refusal(target_of(sshd, private_key=key)).reason == "INVALID"


def test_an_encrypted_private_key(sshd: PrivateSshd) -> None:
    key = new_key().export_private_key("pkcs8-pem", passphrase=CANARY).decode()
    assert "unencrypted" in refusal(target_of(sshd, private_key=key)).message


def test_a_pinned_key_that_is_none(sshd: PrivateSshd) -> None:
    assert refusal(target_of(sshd, host_key="ssh-ed25519 nonsense")).reason == "INVALID"


def test_servers_that_are_not_there(sshd: PrivateSshd) -> None:
    port = free_port()
    error = refusal(target_of(sshd, port=port))
    assert error.reason == "UNREACHABLE"
    assert f"127.0.0.1 port {port} cannot be reached by SSH: " in error.message
    error = refusal(target_of(sshd, hostname="no-such-name.invalid"))
    assert (error.reason, "no-such-name.invalid" in error.message) == ("UNREACHABLE", True)
    assert refusal(target_of(sshd, hostname="")).reason == "INVALID"


def test_a_server_that_says_nothing_is_given_up(sshd: PrivateSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = refusal(target_of(sshd, port=mute.getsockname()[1]))
    assert error.reason == "UNREACHABLE"
    assert "did not answer by SSH within 0.3 s" in error.message


def test_a_server_that_speaks_another_language(sshd: PrivateSshd) -> None:
    async def inside() -> None:
        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 2000)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, open_ssh(target_of(sshd, port=server.sockets[0].getsockname()[1])):
            raise AssertionError("connected")

    with pytest.raises(TaskError) as caught:
        asyncio.run(inside())
    assert caught.value.reason == "UNREACHABLE"


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_the_pinned_key_is_asked_for_among_several(algorithm: str) -> None:
    async def inside() -> None:
        keys = {kind: new_key(kind) for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")}
        pinned = keys[algorithm].export_public_key("openssh").decode()
        async with await asyncssh.listen(
            "127.0.0.1", 0, server_factory=_Passwords, server_host_keys=list(keys.values())
        ) as server:
            target = SshTarget(hostname="127.0.0.1", port=server.get_port(), username="root", password=CANARY)
            target.host_key = pinned
            async with open_ssh(target) as session:
                assert pinned.startswith(session.host_key)

    asyncio.run(inside())


class _Passwords(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("root", CANARY)


@contextlib.asynccontextmanager
async def password_server() -> AsyncIterator[int]:
    """A server that takes the password, as the machine's own root password cannot be known to a test."""
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=_Passwords, server_host_keys=[new_key()])
    async with server:
        yield server.get_port()


def test_the_right_password_opens_and_a_wrong_one_does_not() -> None:
    async def inside() -> None:
        async with password_server() as port:
            target = SshTarget(hostname="127.0.0.1", port=port, username="root", password=CANARY)
            async with open_ssh(target) as session:
                assert session.host_key.startswith("ssh-ed25519 ")
            target.password = CANARY + "x"
            with pytest.raises(TaskError, match="authentication refused") as caught:
                async with open_ssh(target):
                    pass
            assert CANARY not in str(caught.value)

    asyncio.run(inside())


def test_words_of_a_command_stay_words(sshd: PrivateSshd, tmp_path: Path) -> None:
    async def inside() -> tuple[int, str, str]:
        async with open_ssh(target_of(sshd)) as session:
            return await session.run("printf", "%s|", "a b", f"$(touch {tmp_path}/bad)", ";", "'")

    assert asyncio.run(inside()) == (0, f"a b|$(touch {tmp_path}/bad)|;|'|", "")
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_is_lost_says_so(sshd: PrivateSshd) -> None:
    async def inside() -> None:
        async with open_ssh(target_of(sshd)) as session:
            asyncio.get_running_loop().call_later(0.1, sshd.drop_connections)
            await session.run("sleep", "60")

    with pytest.raises(TaskError, match="was lost") as caught:
        asyncio.run(inside())
    assert caught.value.reason == "UNREACHABLE"


def test_a_connection_that_is_lost_before_it_is_used_again_is_lost(sshd: PrivateSshd) -> None:
    """Whoever retries what is lost must not take it for a refusal."""

    async def inside() -> None:
        async with open_ssh(target_of(sshd)) as session:
            session.connection.abort()
            await session.connection.wait_closed()
            await session.run("true")

    with pytest.raises(NoConnection) as caught:
        asyncio.run(inside())
    assert caught.value.was_open
