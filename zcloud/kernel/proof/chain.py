"""The chain of hashes: of each record over the one before it and all that is in its row; kept in a file by position."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from zcloud.kernel.proof.raw import Row

SIZE = 32
# Before the first record.
GENESIS = bytes(SIZE)

_encode = msgspec.msgpack.Encoder().encode
_sha256 = hashlib.sha256


class Gap(Exception):
    """A position has no record."""

    def __init__(self, position: int) -> None:
        super().__init__(f"record {position} is missing")
        self.position = position


def link(before: bytes, row: Row) -> bytes:
    """The record's hash: SHA-256 over the hash before it, and the row as a MessagePack array of its columns."""
    return _sha256(before + _encode(row)).digest()


def link_all(before: bytes, rows: Iterable[Row]) -> bytes:
    """The hash of the last of many records."""
    encode, sha256 = _encode, _sha256
    for row in rows:
        before = sha256(before + encode(row)).digest()
    return before


class ChainFile:
    """32 bytes for each record, at (position - 1) * 32. One process appends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def __len__(self) -> int:
        """How many records have a hash in it."""
        return self.path.stat().st_size // SIZE if self.path.exists() else 0

    def at(self, position: int) -> bytes:
        """The hash of the record at a position; empty when there is none."""
        if position == 0:
            return GENESIS
        found = self.read(position - 1, position)
        return found[0] if found else b""

    def read(self, after: int, until: int) -> list[bytes]:
        """The hashes after a position, up to another, as far as there are any."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(after * SIZE)
            data = file.read((until - after) * SIZE)
        return [data[n : n + SIZE] for n in range(0, len(data) - SIZE + 1, SIZE)]

    def cut(self, position: int) -> None:
        """Keep the hashes up to a position only."""
        os.ftruncate(self._open(), position * SIZE)

    def append(self, hashes: Iterable[bytes]) -> None:
        """Add the next ones."""
        data = memoryview(b"".join(hashes))
        while data:
            data = data[os.write(self._open(), data) :]

    def sync(self) -> None:
        """Return when it is on the disk."""
        os.fsync(self._open())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return self._file
