"""Images as lists of chunks, each chunk once, in packs that are written once; what there is, SQLite says.

A chunk is 64 KiB of a file, known by its SHA-256: as large as a cluster of qcow2, so that the same blocks of two disks
are the same chunks wherever they lie in the files. An image is there when its row is: a pack is on the disk before
that, and removed after nothing refers to it any more. Killed between, a pack without a row is left, which clean finds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from agents.storage.helper import HelperError

CHUNK = 1 << 16
DIGEST = 32
ZERO = bytes(DIGEST)
ZEROS = bytes(CHUNK)
WAIT_SECONDS = 60.0
# A pack of which less than this part is of use is written anew.
WORTH_KEEPING = 0.5
TABLES = """
CREATE TABLE IF NOT EXISTS pack (id TEXT PRIMARY KEY, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS chunk (
    digest BLOB PRIMARY KEY, pack TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    packed INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chunk_pack ON chunk (pack);
CREATE TABLE IF NOT EXISTS image (
    uuid TEXT PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT NOT NULL, info TEXT NOT NULL, chunks BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS export (
    token TEXT PRIMARY KEY, uuid TEXT NOT NULL, name TEXT NOT NULL, md5 TEXT NOT NULL);
"""


def sync_directory(path: str) -> None:
    """Make what was made or removed in it durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pack_chunk(data: bytes) -> tuple[bytes, bool]:
    """As it is kept: compressed where that makes it smaller."""
    small = zlib.compress(data, 1)
    return (small, True) if len(small) < len(data) else (data, False)


def unpack_chunk(digest: bytes, data: bytes, packed: bool) -> bytes:
    """As it was; raises HelperError when it is not what its digest says."""
    try:
        plain = zlib.decompress(data) if packed else data
    except zlib.error:
        plain = b""
    if hashlib.sha256(plain).digest() != digest:
        raise HelperError("FAILED", f"chunk {digest.hex()} of the image store is damaged")
    return plain


class Store:
    """The store in one directory. hit: called between any two things that last, for tests that kill there."""

    def __init__(self, url: str, hit: Callable[[str], None] = lambda _name: None) -> None:
        self.root = os.path.join(url, "store")
        self.packs = os.path.join(self.root, "packs")
        self._hit = hit

    def make(self) -> None:
        """The directories and the tables."""
        os.makedirs(self.packs, exist_ok=True)
        with self._open() as db:
            db.executescript(TABLES)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        path = os.path.join(self.root, "index.db")
        if not os.path.isdir(self.root):
            raise HelperError("NOT_FOUND", f"there is no image store in {self.root}; is its disk mounted?")
        db = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            yield db
        finally:
            db.close()

    @contextlib.contextmanager
    def _all_or_nothing(self, db: sqlite3.Connection) -> Iterator[None]:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._hit("before commit")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._hit("after commit")

    @contextlib.contextmanager
    def _lock(self, how: int) -> Iterator[None]:
        """Shared by all that add; cleaning has the store alone. The kernel lets go of it with the process."""
        descriptor = os.open(os.path.join(self.root, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise HelperError("FAILED", "the image store is at work on other images; try later") from None
                time.sleep(0.1)
            yield
        finally:
            os.close(descriptor)

    # -- adding

    def put(self, uuid: str, file: BinaryIO, info: dict[str, Any]) -> int:
        """Take in a file as an image; returns the bytes that this takes. The same image again takes its place."""
        with self._open() as db, self._lock(fcntl.LOCK_SH), _Pack(self.packs, self._hit) as pack:
            digests, whole, size = bytearray(), hashlib.sha256(), 0
            while True:
                data = file.read(CHUNK)
                if not data:
                    break
                whole.update(data)
                size += len(data)
                digests += self._take(db, pack, data)
            pack.finish()
            with self._all_or_nothing(db):
                self._record(db, pack)
                row = (uuid, size, whole.hexdigest(), json.dumps(info), bytes(digests))
                db.execute("INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?)", row)
            return pack.size

    def _take(self, db: sqlite3.Connection, pack: _Pack, data: bytes) -> bytes:
        if data == ZEROS:
            return ZERO
        digest = hashlib.sha256(data).digest()
        if digest not in pack.chunks and self._row(db, digest) is None:
            pack.add(digest, *pack_chunk(data))
        return digest

    def take_over(self, uuid: str, told: dict[str, Any], digests: bytes, fetch: Callable[[list[bytes]], Any]) -> int:
        """Take in an image of another store: only the chunks that are not here are fetched."""
        with self._open() as db, self._lock(fcntl.LOCK_SH), _Pack(self.packs, self._hit) as pack:
            wanted = dict.fromkeys(digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST))
            missing = [d for d in wanted if d != ZERO and self._row(db, d) is None]
            for digest, data, packed in fetch(missing):
                unpack_chunk(digest, data, packed)
                pack.add(digest, data, packed)
            if len(pack.chunks) != len(missing):
                raise HelperError("UNREACHABLE", f"{len(missing) - len(pack.chunks)} chunks did not come; try again")
            pack.finish()
            with self._all_or_nothing(db):
                self._record(db, pack)
                row = (uuid, told["size"], told["sha256"], json.dumps(told["info"]), digests)
                db.execute("INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?)", row)
            return pack.size

    def _record(self, db: sqlite3.Connection, pack: _Pack) -> None:
        if pack.chunks:
            db.execute("INSERT INTO pack VALUES (?, ?)", (pack.id, pack.size))
        # Of two that bring the same chunk at once the first one's is used, and the other's is waste.
        rows = ((digest, pack.id, *place) for digest, place in pack.chunks.items())
        db.executemany("INSERT OR IGNORE INTO chunk VALUES (?, ?, ?, ?, ?)", rows)

    # -- reading

    @staticmethod
    def _row(db: sqlite3.Connection, digest: bytes) -> Any:
        return db.execute("SELECT pack, offset, length, packed FROM chunk WHERE digest = ?", (digest,)).fetchone()

    def images(self) -> list[dict[str, Any]]:
        """What there is, in the order of the uuids."""
        with self._open() as db:
            rows = db.execute("SELECT uuid, size, sha256, info FROM image ORDER BY uuid").fetchall()
        return [{"uuid": u, "size": size, "sha256": sha256, "info": json.loads(info)} for u, size, sha256, info in rows]

    def image(self, uuid: str) -> tuple[dict[str, Any], bytes]:
        """Size, sha256 and info of one, and its chunks; NOT_FOUND."""
        with self._open() as db:
            row = db.execute("SELECT size, sha256, info, chunks FROM image WHERE uuid = ?", (uuid,)).fetchone()
        if row is None:
            raise HelperError("NOT_FOUND", f"the image store has no image {uuid}")
        return {"uuid": uuid, "size": row[0], "sha256": row[1], "info": json.loads(row[2])}, row[3]

    def raw_chunk(self, db: sqlite3.Connection, digest: bytes) -> tuple[bytes, bool]:
        """As it is kept."""
        while True:
            row = self._row(db, digest)
            if row is None:
                raise HelperError("NOT_FOUND", f"the image store has no chunk {digest.hex()}")
            with contextlib.suppress(FileNotFoundError), open(os.path.join(self.packs, row[0]), "rb") as file:
                return os.pread(file.fileno(), row[2], row[1]), bool(row[3])
            if self._row(db, digest) == row:
                raise HelperError("FAILED", f"pack {row[0]} of the image store is missing")

    def chunks(self, digests: list[bytes]) -> Iterator[tuple[bytes, bytes, bool]]:
        """Several, as they are kept."""
        with self._open() as db:
            for digest in digests:
                yield (digest, *self.raw_chunk(db, digest))

    def read(self, uuid: str, start: int = 0, end: int = -1) -> Iterator[bytes]:
        """The bytes of an image from start to before end, each piece checked."""
        told, digests = self.image(uuid)
        size = told["size"]
        end = size if end < 0 else min(end, size)
        with self._open() as db:
            for number in range(start // CHUNK, -(-end // CHUNK)):
                at = number * CHUNK
                digest = digests[number * DIGEST : (number + 1) * DIGEST]
                plain = ZEROS if digest == ZERO else unpack_chunk(digest, *self.raw_chunk(db, digest))
                yield plain[max(0, start - at) : end - at]

    # -- exports

    def export(self, uuid: str, name: str) -> dict[str, Any]:
        """A name under which anybody may fetch it, and the MD5 that it has; the same again gives the same."""
        with self._open() as db:
            row = db.execute("SELECT token, name, md5 FROM export WHERE uuid = ?", (uuid,)).fetchone()
            if row is None:
                digest = hashlib.md5()  # noqa: S324 (what people compare downloads with; not for trust)
                for data in self.read(uuid):
                    digest.update(data)
                row = (secrets.token_urlsafe(24), name, digest.hexdigest())
                with self._all_or_nothing(db):
                    db.execute("INSERT INTO export VALUES (?, ?, ?, ?)", (row[0], uuid, row[1], row[2]))
        return {"path": f"/exports/{row[0]}/{row[1]}", "md5": row[2]}

    def unexport(self, uuid: str) -> None:
        """Its name leads nowhere any more."""
        with self._open() as db, self._all_or_nothing(db):
            db.execute("DELETE FROM export WHERE uuid = ?", (uuid,))

    def exported(self, token: str) -> str:
        """The image of an export; NOT_FOUND."""
        with self._open() as db:
            row = db.execute("SELECT uuid FROM export WHERE token = ?", (token,)).fetchone()
        if row is None:
            raise HelperError("NOT_FOUND", "there is no such export")
        return str(row[0])

    # -- removing

    def delete(self, uuid: str) -> None:
        """It is gone at once, with its export; what only it needed lies there until it is cleaned away."""
        with self._open() as db, self._all_or_nothing(db):
            db.execute("DELETE FROM image WHERE uuid = ?", (uuid,))
            db.execute("DELETE FROM export WHERE uuid = ?", (uuid,))

    def clean(self) -> int:
        """Remove what nothing refers to; returns the bytes that are free again."""
        with self._open() as db, self._lock(fcntl.LOCK_EX):
            before = self.taken()
            db.execute("CREATE TEMP TABLE live (digest BLOB PRIMARY KEY) WITHOUT ROWID")
            for (digests,) in db.execute("SELECT chunks FROM image").fetchall():
                rows = ((digests[at : at + DIGEST],) for at in range(0, len(digests), DIGEST))
                db.executemany("INSERT OR IGNORE INTO live VALUES (?)", rows)
            sizes = db.execute(
                "SELECT pack.id, pack.size, coalesce((SELECT sum(length) FROM chunk JOIN live USING (digest)"
                " WHERE chunk.pack = pack.id), 0) FROM pack"
            ).fetchall()
            for pack, size, used in sizes:
                if used < size * WORTH_KEEPING:
                    self._drop(db, pack, keep=used > 0)
            known = {row[0] for row in db.execute("SELECT id FROM pack")}
            for name in os.listdir(self.packs):
                if name not in known:
                    os.unlink(os.path.join(self.packs, name))
                    self._hit("orphan removed")
            sync_directory(self.packs)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return before - self.taken()

    def _drop(self, db: sqlite3.Connection, old: str, *, keep: bool) -> None:
        """What is of use in a pack goes into a new one, before the old one goes."""
        with _Pack(self.packs, self._hit) as pack:
            if keep:
                rows = db.execute("SELECT digest FROM chunk JOIN live USING (digest) WHERE pack = ?", (old,))
                for (digest,) in rows.fetchall():
                    data, packed = self.raw_chunk(db, digest)
                    unpack_chunk(digest, data, packed)
                    pack.add(digest, data, packed)
            pack.finish()
            with self._all_or_nothing(db):
                db.execute("DELETE FROM chunk WHERE pack = ?", (old,))
                db.execute("DELETE FROM pack WHERE id = ?", (old,))
                self._record(db, pack)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.packs, old))
        self._hit("pack removed")

    def taken(self) -> int:
        """Bytes of all packs."""
        return sum(os.path.getsize(os.path.join(self.packs, name)) for name in os.listdir(self.packs))


class _Pack:
    """A file of chunks that is being written; one that is not finished, or holds nothing, is removed again."""

    def __init__(self, directory: str, hit: Callable[[str], None]) -> None:
        self.id = secrets.token_hex(16)
        self.chunks: dict[bytes, tuple[int, int, int]] = {}
        self.size = 0
        self._path, self._directory, self._hit = os.path.join(directory, self.id), directory, hit
        self._done = False

    def __enter__(self) -> _Pack:
        self._file = open(self._path, "xb")
        self._hit("pack made")
        return self

    def add(self, digest: bytes, data: bytes, packed: bool) -> None:
        self._file.write(data)
        self.chunks[digest] = (self.size, len(data), int(packed))
        self.size += len(data)

    def finish(self) -> None:
        """On the disk, which a power cut does not take back."""
        if self.chunks:
            self._file.flush()
            self._hit("pack written")
            os.fsync(self._file.fileno())
            sync_directory(self._directory)
            self._done = True
        self._hit("pack finished")

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self._file.close()
        # One that is finished may be in the books already, whatever was raised since; if not, clean finds it.
        if not self._done:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
