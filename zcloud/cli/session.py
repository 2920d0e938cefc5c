"""The session of the command line: from the environment, from its cache, or by logging in on the same machine."""

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from zcloud.cli.errors import CliError, UsageError
from zcloud.cli.files import cache_directory, write_private

ADMIN = "admin"


@dataclass(frozen=True)
class Session:
    """A token and whose it is; the name is empty for a token from the environment."""

    token: str
    account_name: str = ""


def from_environment() -> Session | None:
    """ZCLOUD_TOKEN."""
    token = os.environ.get("ZCLOUD_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        raise UsageError("ZCLOUD_TOKEN holds no token: printable ASCII is expected.")
    return Session(token) if token else None


def cached(server: str) -> Session | None:
    """The session kept for this server."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        kept = json.loads(_path(server).read_text(encoding="utf-8"))
        return Session(str(kept["token"]), str(kept["account_name"])) if kept.get("token") else None
    return None


def keep(server: str, session: Session) -> Path:
    """Keep a session for this server, readable by its user only."""
    path = _path(server)
    write_private(path, json.dumps({"server": server, **asdict(session)}))
    return path


def forget(server: str) -> None:
    """Drop the session kept for this server."""
    _path(server).unlink(missing_ok=True)


def admin_password(server: str) -> str:
    """The password that the server made on its first start; on the same machine only."""
    path = data_directory() / "admin-password"
    way_out = f"Log in: zcloud LogInByAccount account_name={ADMIN} password=@FILE (or password=- to type it)."
    # The password of a local server is nothing that another machine may be told.
    if not is_local(server):
        raise CliError(f"there is no session for {server}. {way_out}")
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise CliError(
            f"there is no session for {server}, and no {path} to log in with. "
            f"{way_out} On the server's machine ZCLOUD_DATA names its data directory."
        ) from None
    except OSError as error:
        raise CliError(f"there is no session for {server}, and {path}: {error.strerror}. {way_out}") from None


def data_directory() -> Path:
    """Of a server on this machine."""
    return Path(os.environ.get("ZCLOUD_DATA", "") or "var")


def is_local(server: str) -> bool:
    """Whether an address is one of this machine's."""
    server = server.removeprefix("grpcs://")
    if server.startswith("unix:"):
        return True
    return any(_can_bind(*found) for found in _addresses(server))


def _path(server: str) -> Path:
    return cache_directory() / "sessions" / f"{hashlib.sha256(server.encode()).hexdigest()[:32]}.json"


def _addresses(server: str) -> Iterator[tuple[int, tuple[str, int]]]:
    host = server.removeprefix("dns:///").rpartition(":")[0] or server
    with contextlib.suppress(OSError, UnicodeError):
        for family, _, _, _, address in socket.getaddrinfo(host.strip("[]"), 0, type=socket.SOCK_STREAM):
            yield family, (str(address[0]), 0)


def _can_bind(family: int, address: tuple[str, int]) -> bool:
    # Only an address of this very machine can be bound.
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind(address)
        return True
    return False
