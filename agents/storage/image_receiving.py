"""Writes what comes from a source into a file: within the room there is, at the rate allowed, going on after a loss."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from agents.storage.helper import GivenUp, HelperError, emit, unwanted
from agents.storage.image_sources import Reader

CHUNK = 1 << 20
# Tries to go on with a source that has stopped in the middle, each a while after the one before.
RETRIES = 4

# Opens the source at an offset, if it is still what the validator says; gives the reader and the whole length.
Open = Callable[[int, str], AbstractContextManager[tuple[Reader, "int | None"]]]


def free_space(directory: str) -> int:
    values = os.statvfs(directory)
    return values.f_bavail * values.f_frsize


class _Part:
    """The partial file. A note beside it says what it is the beginning of, when it is worth going on with."""

    def __init__(self, path: str, request: dict[str, Any], what: str) -> None:
        self._path, self._note, self._what = path, path + ".note", what
        self._source = [request["image_url"], request.get("sha256", "")]
        self._limit, self._free = request.get("max_bytes", 0), free_space(os.path.dirname(path))
        self._rate = request.get("rate_limit", 0)
        self.validator = self._noted()
        self._file = open(path, "r+b" if self.validator else "w+b")  # noqa: SIM115 (see close)
        self._digest, self.size = hashlib.sha256(), 0

    def _noted(self) -> str:
        try:
            with open(self._note, encoding="utf-8") as file:
                noted = json.load(file)
            os.unlink(self._note)
            return str(noted["validator"]) if noted["source"] == self._source and os.path.exists(self._path) else ""
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return ""

    def read_again(self) -> None:
        """What an earlier run has left, which may be much."""
        for chunk in iter(lambda: self._file.read(CHUNK), b""):
            self._add(chunk)
        self._free += self.size

    def close(self) -> None:
        """What could not be written is not worth another error."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _add(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self.size += len(chunk)

    def _write(self, chunk: bytes) -> None:
        """What others have written meanwhile may have filled the disk."""
        try:
            self._file.write(chunk)
            self._file.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            left = free_space(os.path.dirname(self._path))
            text = f"the disk of the backup storage is full: {left} bytes are left after {self.size} of {self._what}"
            raise HelperError("NO_SPACE", text) from None
        self._add(chunk)

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._digest, self.size = hashlib.sha256(), 0

    def check_room(self, needed: int) -> None:
        if self._limit and needed > self._limit:
            text = f"{self._what} has at least {needed} bytes, the backup storage has room for {self._limit}"
            raise HelperError("NO_SPACE", text)
        if needed > self._free:
            text = f"{self._what} needs {needed} bytes, the disk of the backup storage has {self._free} left"
            raise HelperError("NO_SPACE", text)

    def take(self, reader: Reader, length: int | None) -> None:
        """All that the reader has."""
        if reader.offset != self.size:
            self._restart()
        self.validator = reader.validator
        self.check_room(length or 0)
        began, before, percent = time.monotonic(), self.size, -1
        while True:
            chunk = reader.read(CHUNK)
            if not chunk:
                break
            self.check_room(self.size + len(chunk))
            self._write(chunk)
            if self._rate:
                ahead = (self.size - before) / self._rate - (time.monotonic() - began)
                time.sleep(max(0.0, ahead))
            now = min(99, self.size * 100 // length) if length else 0
            if now != percent or not length:
                percent = now
                emit({"progress": now, "detail": f"{self.size} of {length or 'unknown'} bytes"})
        if length is not None and self.size != length:
            raise HelperError("UNREACHABLE", f"{self._what} ended after {self.size} of {length} bytes; try again")

    def finish(self) -> tuple[int, str]:
        self._sync()
        return self.size, self._digest.hexdigest()

    def keep(self) -> None:
        """For another run to go on with; said only of what is on the disk, which a power cut does not take back."""
        self._sync()
        # While it was read again, less of it was counted.
        if self.validator and os.fstat(self._file.fileno()).st_size:
            with open(self._note, "w", encoding="utf-8") as file:
                json.dump({"source": self._source, "validator": self.validator}, file)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def kept(names: list[str]) -> set[str]:
    """Of the files in an image's directory those that another run may go on with."""
    notes = [name for name in names if name.endswith(".note")]
    return {kept for note in notes for kept in (note, note[: -len(".note")])}


def receive(open_at: Open, path: str, request: dict[str, Any], what: str) -> tuple[int, str]:
    """Bring the file to its full size; returns bytes and SHA-256. what: names the source in messages."""
    with contextlib.closing(_Part(path, request, what)) as part:
        try:
            part.read_again()
            for attempt in itertools.count():
                try:
                    with open_at(part.size, part.validator) as (reader, length):
                        part.take(reader, length)
                    return part.finish()
                except HelperError as error:
                    if error.reason != "UNREACHABLE" or not (part.validator and part.size) or attempt == RETRIES:
                        raise
                time.sleep(0.25 * 4**attempt)
        except GivenUp:
            # The node has gone: it will be back. When it wants no more it has said so.
            if not unwanted.is_set():
                with contextlib.suppress(OSError):
                    part.keep()
            raise
    raise AssertionError("it was tried without end")


@contextlib.contextmanager
def as_uploaded(upload: str) -> Iterator[str]:
    """What UploadImage has brought, which is read where it lies."""
    try:
        if os.path.islink(upload) or not os.path.isfile(upload):
            raise FileNotFoundError
        yield upload
    except FileNotFoundError:
        raise HelperError("NOT_FOUND", "nothing was uploaded, or it was removed since") from None
