"""Runs on a backup storage server: measures it, fetches images into it, checks them, removes them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from agents.storage.addresses import addresses
from agents.storage.helper import HelperError
from agents.storage.image_format import FORMATS, inspect_image
from agents.storage.image_receiving import Open, as_uploaded, free_space, kept, receive
from agents.storage.image_remote_sources import open_ftp, open_sftp
from agents.storage.image_sources import Network, open_file, open_http, shown, split
from agents.storage.imagestore.client import open_image

CHUNK = 1 << 20
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


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
    return {**measure(url), "addresses": addresses()}


def measure(url: str) -> dict[str, int]:
    """Of the file system, in bytes."""
    values = os.statvfs(url)
    return {"total_capacity": values.f_blocks * values.f_frsize, "available_capacity": free_space(url)}


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
    upload = os.path.join(url, "uploads", image_uuid)
    with image_directory(url, image_uuid) as directory:
        path = os.path.join(directory, f"{image_uuid}.{declared}")
        there = _existing(path, request)
        if there or request.get("probe"):
            return {**there, **measure(url)} if there else None
        # Held alone: whatever else lies here was left by a run that was killed.
        _clear(directory, keep=kept(os.listdir(directory)))
        part, done = path + ".part", False
        try:
            if split(request["image_url"]).scheme == "upload":
                actual_size, sha256 = _adopt(upload, part, request)
            else:
                actual_size, sha256 = receive(_source(request, networks), part, request, shown(request["image_url"]))
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
            with contextlib.suppress(FileNotFoundError):
                os.unlink(upload)
            return {**result, "install_path": path, **measure(url)}
        finally:
            if not done:
                _clear(directory, keep=kept(os.listdir(directory)))


def _clear(directory: str, keep: set[str]) -> None:
    for name in set(os.listdir(directory)) - keep:
        os.unlink(os.path.join(directory, name))


def _source(request: dict[str, Any], networks: list[Network]) -> Open:
    """How the file is opened, by the URL's scheme."""
    url = request["image_url"]
    if request.get("source_store"):
        access, uuid = request["source_store"], request["image_uuid"]
        return lambda offset, validator: open_image(access, uuid, offset, validator)
    scheme = split(url).scheme
    login = (request.get("username", ""), request.get("password", ""))
    if scheme == "file":
        return lambda _offset, _validator: open_file(url, request.get("allowed_paths", []))
    if scheme == "ftp":
        return lambda offset, validator: open_ftp(request, networks, offset, validator)
    if scheme == "sftp":
        anywhere = None if request.get("trusted") else networks
        return lambda offset, validator: open_sftp(request, anywhere, offset, validator)
    return lambda offset, validator: open_http(url, networks, offset, validator, login)


def _adopt(upload: str, part: str, request: dict[str, Any]) -> tuple[int, str]:
    """What was uploaded gets a second name here; it keeps the first until it is known to be what it should be."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    with as_uploaded(upload), open(upload, "rb") as file:
        size, digest = os.fstat(file.fileno()).st_size, hashlib.sha256()
        if size != request.get("upload_size", size):
            raise HelperError("INVALID", f"{size} of {request['upload_size']} bytes were uploaded")
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
        os.fsync(file.fileno())
        os.link(upload, part)
        return size, digest.hexdigest()


def _place(request: dict[str, Any]) -> tuple[str, str, list[str]]:
    """The storage, the path that a download returned, and its two last parts."""
    url, path = request["url"], request["install_path"]
    relative = os.path.relpath(path, os.path.join(url, "images")).split("/")
    if path != os.path.normpath(path) or len(relative) != 2 or not all(NAME.fullmatch(part) for part in relative):
        raise HelperError("INVALID", f"{path!r} is not the path of an image in {url}")
    if os.path.realpath(os.path.dirname(path)) != os.path.join(os.path.realpath(url), "images", relative[0]):
        raise HelperError("REFUSED", f"{path} leads out of the storage {url} by a link")
    return url, path, relative


def digest(request: dict[str, Any]) -> dict[str, Any]:
    """The size of an image, and its digest where an algorithm is named."""
    _, path, _ = _place(request)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return {"actual_size": size, "digest": digest_of(iter(lambda: file.read(CHUNK), b""), request)}
    except FileNotFoundError:
        raise HelperError("NOT_FOUND", f"there is no {path}") from None


def digest_of(parts: Iterable[bytes], request: dict[str, Any]) -> str:
    """In hex; empty where none is asked for, and then nothing is read."""
    algorithm = request.get("algorithm", "")
    if not algorithm:
        return ""
    if algorithm not in ("sha256", "md5"):
        raise HelperError("INVALID", f"{algorithm!r} is neither sha256 nor md5")
    made = hashlib.new(algorithm, usedforsecurity=False)
    for part in parts:
        made.update(part)
    return made.hexdigest()


def delete(request: dict[str, Any]) -> dict[str, Any] | None:
    """Removes an image; one that is not there is removed already."""
    url, path, relative = _place(request)
    if request.get("probe"):
        upload = os.path.join(url, "uploads", relative[0])
        return None if os.path.lexists(path) or os.path.lexists(upload) else {}
    with contextlib.suppress(FileNotFoundError), image_directory(url, relative[0], create=False):
        for name in (path, path + ".json", path + ".part", path + ".part.note"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(url, "uploads", relative[0]))
    return {}


OPERATIONS = {"capacity": capacity, "download": download, "delete": delete, "digest": digest}
