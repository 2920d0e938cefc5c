"""A real SSH server with SFTP on loopback that takes a password, as the private sshd of a locked root does not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh

USER, PASSWORD = "reader", "p@ss:word/1"


@dataclass
class Sftp:
    """root is what its user sees as /."""

    root: Path
    port: int = 0


class _Door(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


@contextlib.asynccontextmanager
async def running_sftp(root: Path) -> AsyncIterator[Sftp]:
    """Serve a directory that is there."""
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Door,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(root).encode()),
    )
    try:
        yield Sftp(root, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()
