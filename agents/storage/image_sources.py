"""Where images come from: the web and the server's own files, from addresses and directories that are allowed."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import stat
import urllib.parse
from collections.abc import Iterator
from io import FileIO
from typing import Protocol, Union

from agents.storage.helper import HelperError

MAX_REDIRECTS = 5
NETWORK_SECONDS = 30
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]  # noqa: UP007 (evaluated at run time, by Python 3.9 too)
# Not even where an operator allows "/": these hold secrets, devices and what the kernel makes up.
NEVER = ("/dev", "/etc", "/proc", "/run", "/sys")


class Reader(Protocol):
    """What an image is read from. offset: where it begins; validator: says that the file is still the same, or ""."""

    offset: int
    validator: str

    def read(self, size: int, /) -> bytes: ...


def split(url: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError:
        raise HelperError("INVALID", "the image's URL is malformed") from None  # not quoted: it may hold a password


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, query."""
    parts = split(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]


def check_address(address: str, allowed_networks: list[Network]) -> bool:
    """True when images may be fetched from this address: a public one, or one in the networks that are allowed."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 6:
        # The address inside decides: these all lead to an IPv4 one.
        nat64 = ip in ipaddress.ip_network("64:ff9b::/96") and ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1]) or nat64 or ip
    if any(ip in network for network in allowed_networks if network.version == ip.version):
        return True
    special = (
        ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    )
    return ip.is_global and not special


def resolve(host: str, port: int, allowed_networks: list[Network] | None) -> list[str]:
    """Addresses that may be connected to; None allows all."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise HelperError("UNREACHABLE", f"the name {host!r} cannot be resolved: {error}") from None
    addresses = [str(entry[4][0]) for entry in found]
    good = [a for a in addresses if allowed_networks is None or check_address(a, allowed_networks)]
    if not good:
        raise HelperError(
            "REFUSED",
            f"{host!r} leads to {', '.join(sorted(set(addresses)))}: an address inside the data centre, "
            "from which images are fetched only when its network is in the setting image/download.allowedNetworks",
        )
    return good


class _Pinned:
    """Connects to an address that was checked; a second look-up of the name could lead elsewhere."""

    host: str
    port: int

    def __init__(self, host: str, port: int, addresses: list[str]) -> None:
        super().__init__(host, port, timeout=NETWORK_SECONDS)  # type: ignore[call-arg]
        self._addresses = addresses

    def connect(self) -> None:
        for last, address in enumerate(self._addresses, 1 - len(self._addresses)):
            try:
                self.sock = socket.create_connection((address, self.port), NETWORK_SECONDS)
                break
            except OSError:
                if last == 0:
                    raise


class _Http(_Pinned, http.client.HTTPConnection):
    pass


class _Https(_Pinned, http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise HelperError(
            "REFUSED", f"the certificate of {shown(url)} is not trusted: {error.verify_message}"
        ) from None
    except http.client.IncompleteRead:
        raise HelperError("UNREACHABLE", f"{shown(url)} ended in the middle; try again") from None
    except http.client.HTTPException as error:
        raise HelperError("UNREACHABLE", f"{shown(url)} does not speak HTTP: {type(error).__name__}") from None
    except OSError as error:
        raise HelperError("UNREACHABLE", f"{shown(url)} cannot be reached: {error.strerror or error}") from None


class _Body:
    """The body of a response: what fails while it is read is the network, not the disk that it is written to."""

    def __init__(self, url: str, response: http.client.HTTPResponse, offset: int) -> None:
        self._url, self._response, self.offset = url, response, offset
        tag = response.getheader("ETag", "")
        self.validator = "" if tag.startswith("W/") else tag or response.getheader("Last-Modified", "")
        if "\r" in self.validator or "\n" in self.validator:
            self.validator = ""

    def read(self, size: int, /) -> bytes:
        with _network_errors(self._url):
            return self._response.read(size)


def _connection(url: str, allowed_networks: list[Network]) -> tuple[_Http | _Https, str]:
    """A connection to a checked address (not yet made), and the request's target."""
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HelperError("INVALID", f"{shown(url)} is no http, https or file address")
    if parts.username is not None or parts.password is not None:
        raise HelperError("INVALID", f"{shown(url)} carries a user name or password; that is not supported")
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except ValueError:
        raise HelperError("INVALID", f"{shown(url)} has a port that is no number up to 65535") from None
    addresses = resolve(parts.hostname, port, allowed_networks)
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    target += "?" + urllib.parse.quote(parts.query, safe="/?%:@!$&'()*+,;=~") if parts.query else ""
    return (_Https if parts.scheme == "https" else _Http)(parts.hostname, port, addresses), target


@contextlib.contextmanager
def open_http(
    url: str, allowed_networks: list[Network], offset: int = 0, validator: str = "", login: tuple[str, str] = ("", "")
) -> Iterator[tuple[Reader, int | None]]:
    """Yields (reader, length or None) after following redirects, each checked like the first URL.

    login: user name and password; they are told to the host that the URL names, and to none that it redirects to.
    """
    start, first = shown(url), split(url).netloc
    for _ in range(MAX_REDIRECTS + 1):
        connection, target = _connection(url, allowed_networks)
        headers = {"Accept-Encoding": "identity", "User-Agent": "zcloud"}
        if offset and validator:
            headers.update({"Range": f"bytes={offset}-", "If-Range": validator})
        if login[0] and split(url).netloc == first:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        with contextlib.closing(connection):
            with _network_errors(url):
                connection.request("GET", target, headers=headers)
                response = connection.getresponse()
            if response.status not in (301, 302, 303, 307, 308):
                begins = _check_status(url, response, offset)
                length = response.length
                yield _Body(url, response, begins), None if length is None else begins + length
                return
            location = _location(url, response.getheader("Location", ""))
        if url.startswith("https:") and not location.startswith("https:"):
            raise HelperError("REFUSED", f"{shown(url)} redirects from https to {shown(location)}")
        url = location
    raise HelperError("REFUSED", f"{start} leads through more than {MAX_REDIRECTS} redirects")


def _location(url: str, location: str) -> str:
    try:
        return urllib.parse.urljoin(url, location)
    except ValueError:
        raise HelperError("INVALID", f"{shown(url)} redirects to a malformed address") from None


def _check_status(url: str, response: http.client.HTTPResponse, offset: int) -> int:
    """Where the body begins: at the offset that was asked for, or at 0."""
    status = response.status
    if status == 206 and offset and response.getheader("Content-Range", "").startswith(f"bytes {offset}-"):
        return offset
    reasons = {401: "REFUSED", 403: "REFUSED", 404: "NOT_FOUND", 410: "NOT_FOUND"}
    if status != 200:
        reason = reasons.get(status, "UNREACHABLE" if status >= 500 else "FAILED")
        raise HelperError(reason, f"{shown(url)} answers with HTTP status {status}")
    return 0


class _File:
    """A plain file; one that is read again is read from its beginning."""

    offset, validator = 0, ""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)


@contextlib.contextmanager
def open_file(url: str, allowed_paths: list[str]) -> Iterator[tuple[Reader, int | None]]:
    """Yields (reader, length) of a plain file below one of the directories, wherever links lead."""
    parts = split(url)
    path = urllib.parse.unquote(parts.path)
    if (
        parts.netloc not in ("", "localhost")
        or parts.query
        or parts.fragment
        or "\0" in path
        or not path.startswith("/")
    ):
        raise HelperError("INVALID", f"{shown(url)} must have the form file:///absolute/path")
    refused = HelperError(
        "REFUSED",
        f"{path} is not below a directory from which images may be taken:"
        " the setting image/download.allowedPaths names them",
    )
    real = os.path.realpath(path)
    if not _path_allowed(real, allowed_paths):
        raise refused
    try:
        # Not blocking: a FIFO would wait for ever.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise HelperError("NOT_FOUND", f"there is no file {path} on the backup storage's server") from None
    except OSError as error:
        raise HelperError("REFUSED", f"{path} cannot be opened: {error.strerror}") from None
    try:
        # Once more with what was opened: a directory may have been swapped for a link meanwhile.
        if not _path_allowed(os.readlink(f"/proc/self/fd/{descriptor}"), allowed_paths):
            raise refused
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise HelperError("INVALID", f"{path} is not a plain file")
        with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
            yield _File(file), info.st_size
    finally:
        os.close(descriptor)


def _path_allowed(real: str, allowed_paths: list[str]) -> bool:
    if any(part.startswith(".") for part in real.split("/")) or any(is_below(real, never) for never in NEVER):
        return False
    return any(os.path.isabs(allowed) and is_below(real, os.path.realpath(allowed)) for allowed in allowed_paths)


def is_below(path: str, directory: str) -> bool:
    return path != directory and path.startswith(directory.rstrip("/") + "/")
