"""Reads from a store's server: images in ranges, and chunks for a store that lacks them. The server's key is pinned."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import struct
import urllib.parse
from collections.abc import Iterator
from typing import Any

from agents.storage.helper import HelperError, emit

SECONDS = 60
AT_ONCE = 1024


def trusting(certificate: str) -> ssl.SSLContext:
    """Believes this one certificate, whatever name it was made for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=certificate)
    return context


@contextlib.contextmanager
def _asked(
    access: dict[str, str], method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    """access: url, token, certificate."""
    parts = urllib.parse.urlsplit(access["url"])
    where = f"image store {parts.hostname}:{parts.port}"
    try:
        context = trusting(access["certificate"])
    except ssl.SSLError:
        raise HelperError("INVALID", f"the certificate of {where} cannot be read") from None
    connection = http.client.HTTPSConnection(str(parts.hostname), parts.port or 443, timeout=SECONDS, context=context)
    try:
        given = {"Authorization": f"Bearer {access['token']}", **(headers or {})}
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        if answer.status not in (200, 206):
            text = answer.read(500).decode("utf-8", "replace").strip()
            reason = {404: "NOT_FOUND", 401: "REFUSED"}.get(answer.status, "FAILED")
            raise HelperError(reason, f"{where} says: {text}")
        yield answer
    except ssl.SSLCertVerificationError:
        raise HelperError("REFUSED", f"{where} shows another certificate than the one pinned; reconnect it") from None
    except (OSError, http.client.HTTPException) as error:
        raise HelperError("UNREACHABLE", f"{where}: {error or type(error).__name__}") from None
    finally:
        connection.close()


class Body:
    """What an image is read from; see image_sources.Reader."""

    def __init__(self, answer: http.client.HTTPResponse, offset: int) -> None:
        self._answer, self.offset = answer, offset
        self.validator = answer.headers.get("ETag", "")

    def read(self, size: int, /) -> bytes:
        return self._answer.read(size)


@contextlib.contextmanager
def open_image(access: dict[str, str], uuid: str, offset: int = 0, validator: str = "") -> Iterator[tuple[Body, int]]:
    """The file from an offset on, as long as it is the same one, and its whole size."""
    headers = {"Range": f"bytes={offset}-", "If-Range": validator} if offset and validator else {}
    with _asked(access, "GET", f"/images/{uuid}", headers=headers) as answer:
        at = offset if answer.status == 206 else 0
        yield Body(answer, at), at + int(answer.headers["Content-Length"])


def image_list(access: dict[str, str]) -> list[dict[str, Any]]:
    """What there is, each with all that is known of it."""
    with _asked(access, "GET", "/images") as answer:
        return [described(image) for image in json.loads(answer.read())["images"]]


def described(image: dict[str, Any]) -> dict[str, Any]:
    """What a store knows of an image, in one level: size is that of the disk, actual_size that of the file."""
    info = dict(image["info"])
    size = info.pop("virtual_size", image["size"])
    return {**info, "uuid": image["uuid"], "size": size, "actual_size": image["size"], "sha256": image["sha256"]}


def chunk_list(access: dict[str, str], uuid: str) -> tuple[dict[str, Any], bytes]:
    """What an image is made of there."""
    with _asked(access, "GET", f"/images/{uuid}/chunks") as answer:
        (length,) = struct.unpack(">I", _exactly(answer, 4))
        return json.loads(_exactly(answer, length)), answer.read()


def fetch(access: dict[str, str], digests: list[bytes]) -> Iterator[tuple[bytes, bytes, bool]]:
    """Chunks, as they are kept there."""
    for at in range(0, len(digests), AT_ONCE):
        some = digests[at : at + AT_ONCE]
        with _asked(access, "POST", "/chunks", b"".join(some)) as answer:
            for digest in some:
                length, packed = struct.unpack(">IB", _exactly(answer, 5))
                yield digest, _exactly(answer, length), bool(packed)
        emit({"progress": (at + len(some)) * 100 // len(digests), "detail": f"{at + len(some)} chunks"})


def _exactly(answer: http.client.HTTPResponse, size: int) -> bytes:
    data = answer.read(size)
    if len(data) != size:
        raise HelperError("UNREACHABLE", "the image store ended its answer too early; try again")
    return data
