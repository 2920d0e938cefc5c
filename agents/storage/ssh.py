"""SSH to servers that the cloud was told of: pinned host keys, no surprises from the machine's own settings."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncssh

from agents.runtime.task import TaskError
from zcloud.v1.host_task_pb2 import SshTarget

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 5.0
# Best first. Plain keys only: a certificate would hide which key is to be pinned; and nothing signed with SHA-1.
HOST_KEY_KINDS = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
]


class NoConnection(TaskError):
    """The server cannot be reached, or no longer. was_open: the connection was there."""

    def __init__(self, message: str, *, was_open: bool = False) -> None:
        super().__init__("UNREACHABLE", message)
        self.was_open = was_open


@dataclass(frozen=True)
class SshSession:
    """An open, authenticated connection."""

    connection: asyncssh.SSHClientConnection
    # "name port 22", for messages.
    place: str
    # OpenSSH form, without a comment.
    host_key: str

    async def run(self, *argv: str, timeout: float = 60.0) -> tuple[int, str, str]:
        """Exit status (255 when a signal ended it), standard output and standard error of a program."""
        try:
            done = await self.connection.run(
                shlex.join(argv), timeout=timeout, stdin=asyncssh.DEVNULL, errors="replace"
            )
        except asyncssh.TimeoutError as error:
            raise TaskError("TIMEOUT", f"{argv[0]} on {self.place} did not end within {timeout:g} s") from error
        if done.exit_status is None:
            raise lost(self.place)
        status = 255 if done.exit_status < 0 else done.exit_status
        return status, str(done.stdout), str(done.stderr)


def _place(target: SshTarget) -> str:
    return f"{target.hostname} port {target.port or 22}"


def _credentials(target: SshTarget) -> dict[str, Any]:
    """Only what the task gives: no agent, no keys and no configuration of the user who runs this."""
    options: dict[str, Any] = {"config": None, "agent_path": None, "client_keys": None, "gss_host": None}
    if target.private_key:
        try:
            key = asyncssh.import_private_key(target.private_key)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
            # The text of the cause is left out: it may quote the key.
            raise TaskError(
                "INVALID",
                f"the private key for {_place(target)} cannot be read; give it unencrypted, in OpenSSH or PEM form",
            ) from None
        return {**options, "client_keys": [key], "preferred_auth": ("publickey",), "password": None}
    return {**options, "password": target.password, "preferred_auth": ("password", "keyboard-interactive")}


def _host_key_options(target: SshTarget) -> dict[str, Any]:
    """Whose key is believed."""
    if not target.host_key:
        # First use: accepted here, pinned by the caller from then on.
        return {"known_hosts": None, "server_host_key_algs": HOST_KEY_KINDS}
    try:
        pinned = asyncssh.import_public_key(target.host_key)
    except asyncssh.KeyImportError:
        message = f"the pinned host key of {_place(target)} is not a public key in OpenSSH form"
        raise TaskError("INVALID", message) from None
    # The pinned kind is asked for first, since a server has keys of several kinds; the others too, so that a server
    # that has lost it shows another key and is told apart from one that is broken.
    first = [kind.decode() for kind in pinned.sig_algorithms if kind.decode() in HOST_KEY_KINDS]
    return {"known_hosts": ([pinned], [], []), "server_host_key_algs": list(dict.fromkeys([*first, *HOST_KEY_KINDS]))}


def _refused_connection(target: SshTarget, error: Exception) -> TaskError:
    place = _place(target)
    changed = TaskError(
        "REFUSED",
        f"host key changed: {place} shows another key than the one pinned; if the server was set up anew, give its new "
        "key as host_key where its access is updated (empty for the key that it shows), or remove and add it again",
    )
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return changed
        case asyncssh.PermissionDenied():
            means = "private key" if target.private_key else "password"
            return TaskError(
                "REFUSED",
                f"authentication refused: {place} takes neither user {target.username!r} nor the {means} given",
            )
        case TimeoutError():
            return NoConnection(f"{place} did not answer by SSH within {CONNECT_SECONDS:g} s")
        case OSError():
            # Several addresses give a text with all of them; the errno's text is the plain one.
            return NoConnection(f"{place} cannot be reached by SSH: {error.strerror or error}")
        case _:
            return NoConnection(f"{place} does not complete an SSH connection: {type(error).__name__}")


def lost(place: str) -> TaskError:
    return NoConnection(f"the SSH connection to {place} was lost", was_open=True)


def translated(place: str, error: Exception) -> TaskError:
    """What an open connection or its SFTP session raised, as an error of the task."""
    match error:
        case asyncssh.SFTPNoConnection() | asyncssh.SFTPConnectionLost() | asyncssh.DisconnectError():
            return lost(place)
        case asyncssh.ChannelOpenError(reason="SSH connection closed"):
            return lost(place)  # between one use of it and the next
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
            return TaskError("NOT_FOUND", f"{place}: {error.reason}")
        case asyncssh.SFTPPermissionDenied():
            return TaskError("REFUSED", f"{place}: {error.reason}")
        case asyncssh.SFTPNoSpaceOnFilesystem() | asyncssh.SFTPQuotaExceeded():
            return TaskError("NO_SPACE", f"{place}: {error.reason}")
        case asyncssh.Error():
            return TaskError("FAILED", f"{place}: {error.reason}")
        case _:
            return lost(place)


@contextlib.asynccontextmanager
async def open_ssh(target: SshTarget) -> AsyncIterator[SshSession]:
    """Connect, check the host key, authenticate; TaskError UNREACHABLE, REFUSED or INVALID when that fails."""
    place = _place(target)
    if not target.hostname or not target.username:
        raise TaskError(
            "INVALID", f"SSH needs a host name and a user name, got {target.hostname!r} and {target.username!r}"
        )
    options = _credentials(target) | _host_key_options(target)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await asyncssh.connect(
                target.hostname,
                target.port or 22,
                username=target.username,
                keepalive_interval=10,
                keepalive_count_max=3,
                **options,
            )
    except (OSError, asyncssh.Error) as error:
        raise _refused_connection(target, error) from None
    try:
        key = connection.get_server_host_key()
        assert key is not None
        shown = " ".join(key.export_public_key("openssh").decode().split()[:2])
        yield SshSession(connection, place, shown)
    except (asyncssh.Error, ConnectionError) as error:
        raise translated(place, error) from error
    finally:
        connection.close()
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
            await asyncio.wait_for(connection.wait_closed(), CLOSE_SECONDS)
