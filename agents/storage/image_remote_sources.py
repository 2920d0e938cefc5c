"""Where images come from: FTP servers, and servers with SSH by way of the ssh program of this one."""

from __future__ import annotations

import contextlib
import ftplib
import itertools
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from typing import Any, BinaryIO

from agents.storage.helper import HelperError
from agents.storage.image_sources import NETWORK_SECONDS, Network, Reader, resolve, shown, split

# SFTP reads that are under way at a time, and the bytes of each, which every server gives at once.
WINDOW, BLOCK = 32, 32 << 10


def _place(url: str, scheme: str, port: int) -> tuple[str, int, str]:
    """Name, port and path of a URL."""
    parts = split(url)
    path = urllib.parse.unquote(parts.path)
    try:
        port = parts.port or port
    except ValueError:
        raise HelperError("INVALID", f"{shown(url)} has a port that is no number up to 65535") from None
    if parts.scheme != scheme or not parts.hostname or len(path) < 2 or any(ord(c) < 32 or ord(c) == 127 for c in path):
        raise HelperError("INVALID", f"{shown(url)} must have the form {scheme}://host/path/of/file")
    return parts.hostname, port, path


# ---- FTP ------------------------------------------------------------------------------------------------------------


class _Ftp(ftplib.FTP):
    def makepasv(self) -> tuple[str, int]:
        """Data comes from the server that was checked, whatever address it names for it."""
        _, port = super().makepasv()
        assert self.sock is not None
        return self.sock.getpeername()[0], port


class _FtpBody:
    def __init__(self, url: str, ftp: _Ftp, path: str, offset: int, validator: str) -> None:
        self.offset, self.validator, self._url = offset, validator, url
        self._data = ftp.transfercmd(f"RETR {path}", offset or None)

    def read(self, size: int, /) -> bytes:
        with _ftp_errors(self._url):
            return self._data.recv(min(size, 1 << 18))

    def close(self) -> None:
        self._data.close()


@contextlib.contextmanager
def _ftp_errors(url: str) -> Iterator[None]:
    try:
        yield
    except ftplib.error_perm as error:
        reason = {"530": "REFUSED", "532": "REFUSED", "550": "NOT_FOUND"}.get(str(error)[:3], "FAILED")
        raise HelperError(reason, f"{shown(url)}: the FTP server says {str(error)[:200]!r}") from None
    except (ftplib.Error, EOFError) as error:
        raise HelperError("UNREACHABLE", f"{shown(url)}: no FTP server, or it is busy: {str(error)[:200]!r}") from None
    except OSError as error:
        raise HelperError("UNREACHABLE", f"{shown(url)} cannot be reached: {error.strerror or error}") from None
    except ValueError:  # UnicodeError is one
        raise HelperError("INVALID", f"{shown(url)} has a path that FTP cannot ask for") from None


@contextlib.contextmanager
def open_ftp(
    request: dict[str, Any], networks: list[Network], offset: int = 0, validator: str = ""
) -> Iterator[tuple[Reader, int | None]]:
    """Yields (reader, length) of a file of an FTP server; anonymous unless there is a user name."""
    url = request["image_url"]
    host, port, path = _place(url, "ftp", 21)
    path = path[1:]  # relative to where the login leads; a second slash makes it absolute (RFC 1738)
    addresses = resolve(host, port, networks)
    with _ftp_errors(url):
        ftp = _Ftp(timeout=NETWORK_SECONDS, encoding="utf-8")
        ftp.connect(addresses[0], port)
    with contextlib.closing(ftp):
        with _ftp_errors(url):
            username = request.get("username", "")
            ftp.login(username or "anonymous", request.get("password", "") if username else "anonymous@")
            ftp.voidcmd("TYPE I")
            length, found = _ftp_facts(ftp, path)
            start = offset if found and found == validator else 0
            body = _FtpBody(url, ftp, path, start, found)
        with contextlib.closing(body):
            yield body, length


def _ftp_facts(ftp: _Ftp, path: str) -> tuple[int | None, str]:
    """Length and date of change; a server may know neither."""
    try:
        length = ftp.size(path)
        return length, f"{length} {ftp.sendcmd(f'MDTM {path}')}"
    except ftplib.error_perm as error:
        if str(error).startswith("550"):
            raise
        return None, ""


# ---- SFTP -----------------------------------------------------------------------------------------------------------


class _Sftp:
    """The reading half of SFTP version 3, over the pipes of `ssh -s … sftp`."""

    def __init__(self, to: BinaryIO, of: BinaryIO) -> None:
        self._to, self._of, self._ids = to, of, itertools.count(1)
        self._to.write(struct.pack(">IBI", 5, 1, 3))
        self._to.flush()
        if self._packet()[0] != 2:
            raise EOFError

    def _exactly(self, size: int) -> bytes:
        data = self._of.read(size)
        if len(data) != size:
            raise EOFError
        return data

    def _packet(self) -> tuple[int, bytes]:
        (length,) = struct.unpack(">I", self._exactly(4))
        if not 0 < length <= 1 << 20:
            raise EOFError
        data = self._exactly(length)
        return data[0], data[1:]

    def send(self, kind: int, body: bytes) -> int:
        number = next(self._ids)
        self._to.write(struct.pack(">IBI", 5 + len(body), kind, number) + body)
        return number

    def answer(self, number: int) -> tuple[int, bytes]:
        """Answers come in the order of the requests: every server that matters keeps it."""
        self._to.flush()
        kind, body = self._packet()
        if len(body) < 4 or struct.unpack(">I", body[:4])[0] != number:
            raise EOFError
        return kind, body[4:]

    def ask(self, kind: int, body: bytes) -> tuple[int, bytes]:
        return self.answer(self.send(kind, body))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class _SftpBody:
    def __init__(self, sftp: _Sftp, path: str, what: str, offset: int, validator: str) -> None:
        self._sftp, self._what = sftp, what
        kind, body = sftp.ask(3, _string(path.encode()) + struct.pack(">II", 1, 0))
        if kind != 102:
            raise self._refused(body)
        self._handle = body
        kind, body = sftp.ask(8, self._handle)
        self.length, mode, changed = _attributes(body) if kind == 105 else (0, 0, 0)
        if not stat.S_ISREG(mode):
            raise HelperError("INVALID", f"{what} is not a plain file")
        self.validator = f"{self.length} {changed}"
        self.offset = offset if self.validator == validator else 0
        self._asked = self._next = self.offset
        self._waiting: list[tuple[int, int]] = []

    def _refused(self, body: bytes) -> HelperError:
        code = struct.unpack(">I", body[:4])[0] if len(body) >= 4 else 0
        reason = {2: "NOT_FOUND", 3: "REFUSED"}.get(code, "FAILED")
        why = {2: "there is no such file", 3: "permission denied"}.get(code, f"SFTP error {code}")
        return HelperError(reason, f"{self._what}: {why}")

    def read(self, size: int, /) -> bytes:
        del size
        try:
            while len(self._waiting) < WINDOW and self._asked < self.length:
                count = min(BLOCK, self.length - self._asked)
                number = self._sftp.send(5, self._handle + struct.pack(">QI", self._asked, count))
                self._waiting.append((number, count))
                self._asked += count
            if not self._waiting:
                return b""
            number, count = self._waiting.pop(0)
            kind, body = self._sftp.answer(number)
        except (OSError, EOFError):
            raise HelperError("UNREACHABLE", f"{self._what}: the SSH connection was lost; try again") from None
        if kind != 103 or len(body) - 4 != count:
            raise HelperError("UNREACHABLE", f"{self._what} ended in the middle: it changes, or its disk fails")
        return body[4:]


def _attributes(body: bytes) -> tuple[int, int, int]:
    """Size, mode and date of change, as far as they are given."""
    flags, at = struct.unpack(">I", body[:4])[0], 4
    found = []
    for bit, form in ((1, ">Q"), (2, ">II"), (4, ">I"), (8, ">II")):
        width = struct.calcsize(form)
        found.append(struct.unpack(form, body[at : at + width])[-1] if flags & bit else 0)
        at += width if flags & bit else 0
    return found[0], found[2], found[3]


def _ssh_command(request: dict[str, Any], alias: str, address: str, port: int, secrets: str) -> list[str]:
    """With the files that it needs in the directory `secrets`, and nothing of this machine's own settings."""
    options = {
        "HostName": address,
        "HostKeyAlias": alias,
        "UserKnownHostsFile": "known_hosts",  # in the directory in which it runs
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "accept-new",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": str(NETWORK_SECONDS),
        "ServerAliveInterval": "10",
        "ControlPath": "none",
        "NumberOfPasswordPrompts": "1",
        "IdentitiesOnly": "yes",
        "PreferredAuthentications": "publickey",
        "LogLevel": "ERROR",
    }
    if request.get("host_key"):
        # Another backup storage of the cloud, whose key is pinned.
        _write(secrets, "known_hosts", f"{alias} {request['host_key']}\n")
        options.update(UserKnownHostsFile=os.path.join(secrets, "known_hosts"), StrictHostKeyChecking="yes")
    if request.get("private_key"):
        options["IdentityFile"] = _write(secrets, "key", request["private_key"].rstrip("\n") + "\n")
    elif request.get("password"):
        options.update(PreferredAuthentications="password,keyboard-interactive", PubkeyAuthentication="no")
    elif not request.get("own_keys"):
        text = "an sftp:// URL needs a password or a private_key; the storage's own SSH keys are for admins"
        raise HelperError("REFUSED", text)
    else:
        options["IdentitiesOnly"] = "no"
    flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    return ["ssh", "-F", "none", "-T", *flags, "-p", str(port), "-l", request.get("username") or "root", "-s", "--",
            "source", "sftp"]  # fmt: skip


def _write(directory: str, name: str, content: str, mode: int = 0o600) -> str:
    path = os.path.join(directory, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(content)
    return path


@contextlib.contextmanager
def open_sftp(
    request: dict[str, Any], networks: list[Network] | None, offset: int = 0, validator: str = ""
) -> Iterator[tuple[Reader, int | None]]:
    """Yields (reader, length) of a file of a server with SSH. networks: None for a server that may be anywhere."""
    url = request["image_url"]
    host, port, path = _place(url, "sftp", 22)
    address = resolve(host, port, networks)[0]
    if shutil.which("ssh") is None:
        raise HelperError("FAILED", "the backup storage's server has no ssh; install the package openssh-client there")
    with tempfile.TemporaryDirectory(prefix="zcloud-image-") as secrets:
        command = _ssh_command(request, f"[{host}]:{port}", address, port, secrets)
        environment = {**os.environ, "SSH_AUTH_SOCK": ""}
        if request.get("password") and not request.get("private_key"):
            asks = _write(secrets, "askpass", '#!/bin/sh\nprintf "%s\\n" "$ZCLOUD_PASSWORD"\n', 0o700)
            environment.update(
                SSH_ASKPASS=asks, SSH_ASKPASS_REQUIRE="force", DISPLAY=":", ZCLOUD_PASSWORD=request["password"]
            )
        with open(os.path.join(secrets, "errors"), "w+b") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=os.path.join(request["url"], ".zcloud"),
                env=environment,
                start_new_session=True,  # no terminal to ask anything on
            )
            try:
                assert process.stdin is not None and process.stdout is not None  # noqa: PT018
                try:
                    body = _SftpBody(_Sftp(process.stdin, process.stdout), path, shown(url), offset, validator)
                except (OSError, EOFError, struct.error):
                    process.wait(NETWORK_SECONDS)
                    errors.seek(0)
                    raise _ssh_error(url, errors.read(4096).decode("utf-8", "replace")) from None
                yield body, body.length
            finally:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    with contextlib.suppress(OSError):
                        if pipe is not None:
                            pipe.close()


def _ssh_error(url: str, said: str) -> HelperError:
    last = ([line.strip() for line in said.splitlines() if line.strip()] or ["no answer"])[-1][:200]
    if "Host key verification failed" in said or "IDENTIFICATION HAS CHANGED" in said:
        text = f"{shown(url)} shows another host key than before; if that is right, remove it from .zcloud/known_hosts"
        return HelperError("REFUSED", text)
    if "Permission denied" in said or "Too many authentication failures" in said:
        return HelperError("REFUSED", f"{shown(url)} takes neither the user nor the password or key given")
    if "invalid format" in said or "error in libcrypto" in said:
        return HelperError("INVALID", f"the private key for {shown(url)} cannot be read; give it unencrypted")
    return HelperError("UNREACHABLE", f"{shown(url)} cannot be read by SSH: {last}")
