"""Runs on a backup storage server: measures it, fetches images into it, checks them, removes them.

One file that needs nothing but Python 3.9, put there and started over SSH. A JSON request comes on standard input,
JSON lines (progress, result or error) leave on standard output. The end of standard input means: give up.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import stat
import struct
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol, Union

CHUNK = 1 << 20
MAX_REDIRECTS = 5
NETWORK_SECONDS = 30
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
FORMATS = ("qcow2", "raw", "iso")
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]  # noqa: UP007 (evaluated at run time, by Python 3.9 too)
# Not even where an operator allows "/": these hold secrets, devices and what the kernel makes up.
NEVER = ("/dev", "/etc", "/proc", "/run", "/sys")


class HelperError(Exception):
    """reason: the stable word for programs; the text is for the operator."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class GivenUp(BaseException):
    """The other side has gone or wants no more; BaseException, so that nothing takes it for an error of its own."""


# ---- what a file really is ------------------------------------------------------------------------------------------


class Qcow2Header:
    """The header of a qcow2 file and what it says about other files."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        file.seek(0)
        head = file.read(112)
        if len(head) < 72 or head[:4] != b"QFI\xfb":
            raise HelperError("INVALID", f"{path} is not a qcow2 image")
        (self.version, self.backing_offset, backing_size, self.cluster_bits, self.size, self.encryption) = (
            struct.unpack(">IQIIQI", head[4:36])
        )
        self.l1_entries, self.l1_offset, self.refcount_offset, self.refcount_clusters = struct.unpack(
            ">IQQI", head[36:60]
        )
        if self.version not in (2, 3) or not 9 <= self.cluster_bits <= 21:
            raise HelperError("INVALID", f"{path}: qcow2 version {self.version} or its cluster size is not supported")
        self.incompatible, header_length = 0, 72
        if self.version == 3:
            if len(head) < 104:
                raise HelperError("INVALID", f"{path}: the qcow2 header is cut off")
            self.incompatible = struct.unpack(">Q", head[72:80])[0]
            header_length = struct.unpack(">I", head[100:104])[0]
        self.extensions = self._extensions(file, header_length, path)
        self.backing_format = self.extensions.get(0xE2792ACA, b"").decode("utf-8", "replace")
        self.backing_file = ""
        if self.backing_offset:
            file.seek(self.backing_offset)
            self.backing_file = file.read(min(backing_size, 1023)).decode("utf-8", "surrogateescape")

    def _extensions(self, file: BinaryIO, offset: int, path: str) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        end = min(1 << self.cluster_bits, self.backing_offset or (1 << self.cluster_bits))
        while offset + 8 <= end:
            file.seek(offset)
            head = file.read(8)
            kind, length = struct.unpack(">II", head) if len(head) == 8 else (0, 0)
            if kind == 0:
                break
            if offset + 8 + length > end:
                raise HelperError("INVALID", f"{path}: a qcow2 header extension reaches past the header")
            found[kind] = file.read(length)
            offset += 8 + (length + 7) // 8 * 8
        return found


def _check_qcow2(file: BinaryIO, size: int) -> int:
    header = Qcow2Header(file, "the image")
    if header.backing_offset:
        raise HelperError("INVALID", "the qcow2 image has a backing file; flatten it with qemu-img convert first")
    if header.incompatible & 4 or 0x44415441 in header.extensions:
        raise HelperError("INVALID", "the qcow2 image keeps its data in another file; flatten it with qemu-img convert")
    if header.encryption or 0x0537BE77 in header.extensions:
        raise HelperError("INVALID", "the qcow2 image is encrypted; decrypt it with qemu-img convert first")
    if header.incompatible & 2:
        raise HelperError("INVALID", "the qcow2 image is marked corrupt; repair it with qemu-img check -r all first")
    # Dirty, compression kind and extended L2 entries are known and harmless.
    if header.incompatible & ~0b11001:
        raise HelperError("INVALID", f"the qcow2 image needs unknown features ({header.incompatible:#x})")
    cluster = 1 << header.cluster_bits
    entry_size = 16 if header.incompatible & 16 else 8
    entries_per_table = cluster // entry_size
    if header.l1_entries > (32 << 20) // 8 or header.size > header.l1_entries * entries_per_table * cluster:
        raise HelperError("INVALID", "the qcow2 image's tables do not fit its size")
    cut_off = HelperError("INVALID", f"the qcow2 image is cut off: its tables point past its end at {size} bytes")
    if (
        max(header.l1_offset + header.l1_entries * 8, header.refcount_offset + header.refcount_clusters * cluster)
        > size
    ):
        raise cut_off
    # Each table is read once: a forged L1 that names one table a million times must not cost a million reads.
    for table in sorted({entry & 0x00FFFFFFFFFFFE00 for entry in _words(file, header.l1_offset, header.l1_entries)}):
        if table == 0:
            continue
        if table + cluster > size:
            raise cut_off
        for entry in _words(file, table, cluster // 8)[:: entry_size // 8]:
            compressed = (1 << (62 - (header.cluster_bits - 8))) - 1
            if entry and (entry & (compressed if entry >> 62 & 1 else 0x00FFFFFFFFFFFE00)) >= size:
                raise cut_off
    return int(header.size)


def _words(file: BinaryIO, offset: int, count: int) -> array.array[int]:
    file.seek(offset)
    words = array.array("Q", file.read(count * 8))
    if sys.byteorder == "little":
        words.byteswap()
    return words


def _check_iso(file: BinaryIO, size: int) -> int:
    file.seek(0x8000)
    descriptor = file.read(2048)
    blocks, block_size = struct.unpack("<I", descriptor[80:84])[0], struct.unpack("<H", descriptor[128:130])[0]
    if blocks * block_size > size:
        raise HelperError("INVALID", f"the ISO is cut off: it says {blocks * block_size} bytes and has {size}")
    return size


def _check_raw(_file: BinaryIO, size: int) -> int:
    return size


SIGNATURES = [  # (offset, magic, name)
    (0, b"QFI\xfb\x00\x00\x00\x01", "qcow"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0x8001, b"CD001", "iso"),
]


def detect_format(file: BinaryIO, size: int) -> str:
    """The name of the format that the content has; raw when it has no mark of any."""
    file.seek(0)
    head = file.read(0x8800)
    for offset, magic, name in SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return name
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "html"
    # A descriptor of VMDK names extents, which are files of the host: comments may come before its first words.
    if text.startswith(b"#") and b"createtype=" in head[:4096].lower().replace(b" ", b""):
        return "vmdk"
    file.seek(max(0, size - 512))
    footer = file.read(8)
    return "vhd" if footer == b"conectix" else "dmg" if footer[:4] == b"koly" else "raw"


def inspect_image(path: str, declared: str) -> int:
    """The virtual size in bytes of an image that is what it is said to be and stands alone; else INVALID."""
    if declared not in FORMATS:
        raise HelperError("INVALID", f"image format {declared!r} is none of {', '.join(FORMATS)}")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise HelperError("INVALID", "the image is empty")
        actual = detect_format(file, size)
        if actual != declared:
            raise HelperError("INVALID", f"the image is said to be {declared}, but its content is {actual}")
        return {"qcow2": _check_qcow2, "iso": _check_iso, "raw": _check_raw}[declared](file, size)


# ---- where it comes from --------------------------------------------------------------------------------------------


class Reader(Protocol):
    """What an image is read from."""

    def read(self, size: int, /) -> bytes: ...


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError:
        raise HelperError("INVALID", "the image's URL is malformed") from None  # not quoted: it may hold a password


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, query."""
    parts = _split(url)
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


def _resolve(host: str, port: int, allowed_networks: list[Network]) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise HelperError("UNREACHABLE", f"the name {host!r} cannot be resolved: {error}") from None
    addresses = [str(entry[4][0]) for entry in found]
    good = [address for address in addresses if check_address(address, allowed_networks)]
    if not good:
        raise HelperError(
            "REFUSED",
            f"{host!r} leads to {', '.join(sorted(set(addresses)))}: an address inside the data centre, "
            "from which images are fetched only when its network is allowed by the settings",
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

    def __init__(self, url: str, response: http.client.HTTPResponse) -> None:
        self._url, self._response = url, response

    def read(self, size: int, /) -> bytes:
        with _network_errors(self._url):
            return self._response.read(size)


def _connection(url: str, allowed_networks: list[Network]) -> tuple[_Http | _Https, str]:
    """A connection to a checked address (not yet made), and the request's target."""
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HelperError("INVALID", f"{shown(url)} is no http, https or file address")
    if parts.username is not None or parts.password is not None:
        raise HelperError("INVALID", f"{shown(url)} carries a user name or password; that is not supported")
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except ValueError:
        raise HelperError("INVALID", f"{shown(url)} has a port that is no number up to 65535") from None
    addresses = _resolve(parts.hostname, port, allowed_networks)
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    target += "?" + urllib.parse.quote(parts.query, safe="/?%:@!$&'()*+,;=~") if parts.query else ""
    return (_Https if parts.scheme == "https" else _Http)(parts.hostname, port, addresses), target


@contextlib.contextmanager
def open_http(url: str, allowed_networks: list[Network]) -> Iterator[tuple[Reader, int | None]]:
    """Yields (reader, length or None) after following redirects, each checked like the first URL."""
    start = shown(url)
    for _ in range(MAX_REDIRECTS + 1):
        connection, target = _connection(url, allowed_networks)
        with contextlib.closing(connection):
            with _network_errors(url):
                connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "zcloud"})
                response = connection.getresponse()
            if response.status not in (301, 302, 303, 307, 308):
                _check_status(url, response.status)
                yield _Body(url, response), response.length
                return
            location = urllib.parse.urljoin(url, response.getheader("Location", ""))
        if url.startswith("https:") and not location.startswith("https:"):
            raise HelperError("REFUSED", f"{shown(url)} redirects from https to {shown(location)}")
        url = location
    raise HelperError("REFUSED", f"{start} leads through more than {MAX_REDIRECTS} redirects")


def _check_status(url: str, status: int) -> None:
    reasons = {401: "REFUSED", 403: "REFUSED", 404: "NOT_FOUND", 410: "NOT_FOUND"}
    if status != 200:
        reason = reasons.get(status, "UNREACHABLE" if status >= 500 else "FAILED")
        raise HelperError(reason, f"{shown(url)} answers with HTTP status {status}")


@contextlib.contextmanager
def open_file(url: str, allowed_paths: list[str]) -> Iterator[tuple[Reader, int | None]]:
    """Yields (reader, length) of a plain file below one of the directories, wherever links lead."""
    parts = _split(url)
    path = urllib.parse.unquote(parts.path)
    if (
        parts.netloc not in ("", "localhost")
        or parts.query
        or parts.fragment
        or "\0" in path
        or not path.startswith("/")
    ):
        raise HelperError("INVALID", f"{shown(url)} must have the form file:///absolute/path")
    refused = HelperError("REFUSED", f"{path} is not below a directory from which images may be taken")
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
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        # Once more with what was opened: a directory may have been swapped for a link meanwhile.
        if not _path_allowed(os.readlink(f"/proc/self/fd/{descriptor}"), allowed_paths):
            raise refused
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise HelperError("INVALID", f"{path} is not a plain file")
        yield file, info.st_size


def _path_allowed(real: str, allowed_paths: list[str]) -> bool:
    if any(part.startswith(".") for part in real.split("/")) or any(is_below(real, never) for never in NEVER):
        return False
    return any(os.path.isabs(allowed) and is_below(real, os.path.realpath(allowed)) for allowed in allowed_paths)


def is_below(path: str, directory: str) -> bool:
    return path != directory and path.startswith(directory.rstrip("/") + "/")


# ---- the storage ----------------------------------------------------------------------------------------------------


def _free(directory: str) -> int:
    values = os.statvfs(directory)
    return values.f_bavail * values.f_frsize


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def capacity(request: dict[str, Any]) -> dict[str, Any]:
    url = request["url"]
    os.makedirs(os.path.join(url, "images"), exist_ok=True)
    trial = os.path.join(url, f".trial-{os.getpid()}")
    try:
        with open(trial, "xb") as file:
            os.fsync(file.fileno())
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trial)
    values = os.statvfs(url)
    return {"total": values.f_blocks * values.f_frsize, "available": _free(url)}


@contextlib.contextmanager
def image_directory(url: str, image_uuid: str, create: bool = True) -> Iterator[str]:
    """The image's directory, held by one process at a time, removed again when it is left empty."""
    path = os.path.join(url, "images", image_uuid)
    while True:
        if create:
            os.makedirs(path, mode=0o755, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            if create:
                continue  # removed by another between the two calls
            raise
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                break  # else it was removed while this process waited for it
        os.close(descriptor)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path)
        os.close(descriptor)


def _existing(path: str, request: dict[str, Any]) -> dict[str, Any] | None:
    """What a finished download of this image left, if it is intact and what is asked for."""
    try:
        with open(path + ".json", encoding="utf-8") as file:
            noted = json.load(file)
        with open(path, "rb") as image:
            if os.fstat(image.fileno()).st_size != noted["actual_size"]:
                return None
            digest = hashlib.sha256()
            for chunk in iter(lambda: image.read(CHUNK), b""):
                digest.update(chunk)
        wanted = request.get("sha256", "").lower() or noted["sha256"]
        same = digest.hexdigest() == noted["sha256"] == wanted
        return {**noted, "install_path": path} if same else None
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _receive(reader: Reader, length: int | None, part: str, request: dict[str, Any]) -> tuple[int, str]:
    """Stream into the temporary file within the limits; returns (bytes, SHA-256)."""
    digest, received, percent, what = hashlib.sha256(), 0, -1, shown(request["image_url"])
    limit, free = request.get("max_bytes", 0), _free(os.path.dirname(part))

    def check_room(needed: int) -> None:
        if limit and needed > limit:
            raise HelperError("NO_SPACE", f"{what} is bigger than the {limit} bytes there is room for")
        if needed > free:
            raise HelperError("NO_SPACE", f"{what} needs {needed} bytes, the backup storage has {free} left")

    check_room(length or 0)
    with open(part, "xb") as file:
        while True:
            chunk = reader.read(CHUNK)
            if not chunk:
                break
            received += len(chunk)
            check_room(received)
            digest.update(chunk)
            file.write(chunk)
            now = min(99, received * 100 // length) if length else 0
            if now != percent or not length:
                percent = now
                emit({"progress": now, "detail": f"{received} of {length or 'unknown'} bytes"})
        if length is not None and received != length:
            raise HelperError("UNREACHABLE", f"{what} ended after {received} of {length} bytes; try again")
        file.flush()
        os.fsync(file.fileno())
    return received, digest.hexdigest()


def download(request: dict[str, Any]) -> dict[str, Any] | None:
    url, image_uuid, declared = request["url"], request["image_uuid"], request["format"]
    if not NAME.fullmatch(image_uuid):
        raise HelperError("INVALID", f"{image_uuid!r} is no name of an image")
    if declared not in FORMATS:
        raise HelperError("INVALID", f"image format {declared!r} is none of {', '.join(FORMATS)}")
    try:
        networks = [ipaddress.ip_network(network, strict=False) for network in request.get("allowed_networks", [])]
    except ValueError as error:
        raise HelperError("INVALID", f"allowed networks: {error}") from None
    with image_directory(url, image_uuid) as directory:
        path = os.path.join(directory, f"{image_uuid}.{declared}")
        there = _existing(path, request)
        if there or request.get("probe"):
            return there
        # Held alone: whatever else lies here was left by a run that was killed.
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        part, done = path + ".part", False
        try:
            if _split(request["image_url"]).scheme == "file":
                opened = open_file(request["image_url"], request.get("allowed_paths", []))
            else:
                opened = open_http(request["image_url"], networks)
            with opened as (reader, length):
                actual_size, sha256 = _receive(reader, length, part, request)
            wanted = request.get("sha256", "").lower()
            if wanted and sha256 != wanted:
                raise HelperError("INVALID", f"the SHA-256 of {shown(request['image_url'])} is {sha256}, not {wanted}")
            result = {"size": inspect_image(part, declared), "actual_size": actual_size, "sha256": sha256}
            with open(path + ".json", "w", encoding="utf-8") as file:
                json.dump(result, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(part, path)
            _sync(directory)
            _sync(os.path.dirname(directory))
            done = True
            return {**result, "install_path": path}
        finally:
            for name in () if done else os.listdir(directory):
                os.unlink(os.path.join(directory, name))


def delete(request: dict[str, Any]) -> dict[str, Any] | None:
    """Removes an image by the path that its download returned; one that is not there is removed already."""
    url, path = request["url"], request["install_path"]
    relative = os.path.relpath(path, os.path.join(url, "images")).split("/")
    if path != os.path.normpath(path) or len(relative) != 2 or not all(NAME.fullmatch(part) for part in relative):
        raise HelperError("INVALID", f"{path!r} is not the path of an image in {url}")
    if os.path.realpath(os.path.dirname(path)) != os.path.join(os.path.realpath(url), "images", relative[0]):
        raise HelperError("REFUSED", f"{path} leads out of the storage {url} by a link")
    if request.get("probe"):
        return None if os.path.lexists(path) else {}
    with contextlib.suppress(FileNotFoundError), image_directory(url, relative[0], create=False):
        for name in (path, path + ".json", path + ".part"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    return {}


# ---- the conversation -----------------------------------------------------------------------------------------------


def emit(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _read_request() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more:
            raise GivenUp
        line += more
    request: dict[str, Any] = json.loads(line)
    return request


def _watch_input() -> None:
    """The end of the input becomes a signal: it interrupts a read from the network or the disk as well."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _give_up(_signal: int, _frame: object) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # once is enough; clearing up must not be interrupted
    raise GivenUp


def main(operations: Mapping[str, Callable[[dict[str, Any]], Any]]) -> int:
    """Read one request, do it, answer; the exit status is for people, the answer for programs."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _give_up)
    try:
        request = _read_request()
        threading.Thread(target=_watch_input, daemon=True).start()
        answer = {"result": operations[request["operation"]](request)}
    except HelperError as error:
        answer = {"error": {"reason": error.reason, "message": str(error)}}
    except OSError as error:
        reason = "NO_SPACE" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "FAILED"
        where = f" {error.filename}" if error.filename else ""
        answer = {"error": {"reason": reason, "message": f"{error.strerror}{where}"}}
    except Exception as error:
        answer = {"error": {"reason": "FAILED", "message": f"{type(error).__name__}: {error}"}}
    except GivenUp:
        return 1
    with contextlib.suppress(OSError):
        emit(answer)
    return 0 if "result" in answer else 1


if __name__ == "__main__":
    sys.exit(main({"capacity": capacity, "download": download, "delete": delete}))
