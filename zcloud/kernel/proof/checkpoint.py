"""Checkpoints: the chain's hash at a position, signed, each naming the one before it; lines of a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from zcloud.kernel.files import make_once

FORMAT = 1
FIRST = "0" * 64
KEY_BYTES = 32


class BadCheckpoint(Exception):
    """A checkpoint that is none, or that nobody signed."""


@dataclass(frozen=True)
class Checkpoint:
    """What was signed. hash and previous in hex; key and signature in base64."""

    position: int
    hash: str
    store: str
    time: str
    previous: str
    key: str
    signature: str = ""

    def _fields(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "hash": self.hash,
            "key": self.key,
            "position": self.position,
            "previous": self.previous,
            "store": self.store,
            "time": self.time,
        }

    def body(self) -> bytes:
        """What the signature is over: its fields but the signature, as JSON with sorted keys and no spaces."""
        return _json(self._fields())

    def line(self) -> bytes:
        """As it lies in the file, without the end of the line."""
        return _json({**self._fields(), "signature": self.signature})

    def digest(self) -> str:
        """By which the next one names it."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self.line()).hexdigest()

    @property
    def link(self) -> bytes:
        """The chain's hash at its position."""
        return bytes.fromhex(self.hash)

    def check(self) -> None:
        """Raises BadCheckpoint when its key did not sign it."""
        try:
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(self.key, validate=True))
            public.verify(base64.b64decode(self.signature, validate=True), self.body())
        except (InvalidSignature, ValueError, binascii.Error):
            raise BadCheckpoint(f"the signature of the checkpoint at {self.position} is wrong") from None

    @classmethod
    def of_line(cls, line: bytes) -> Checkpoint:
        """Raises BadCheckpoint."""
        try:
            found = json.loads(line)
            made = cls(
                int(found["position"]),
                str(found["hash"]),
                str(found["store"]),
                str(found["time"]),
                str(found["previous"]),
                str(found["key"]),
                str(found["signature"]),
            )
            if found["format"] != FORMAT or len(made.link) != 32 or made.line() != line.rstrip(b"\n"):
                raise ValueError("another form")
        except (ValueError, KeyError, TypeError):
            raise BadCheckpoint(f"no checkpoint: {line[:80].decode(errors='replace')}") from None
        return made


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes_raw()


class BadKey(Exception):
    """What lies where the key that signs should be is none."""


class Signer:
    """The key that signs: 32 bytes in a file of mode 0600, outside the database."""

    def __init__(self, path: Path) -> None:
        """Raises BadKey."""
        key = make_once(path, _new_key())
        if len(key) != KEY_BYTES:
            raise BadKey(
                f"{path} is no key: it has {len(key)} bytes, not {KEY_BYTES}; put the copy of it back, or remove it:"
                " then another one is made, and what the old one signed is proven as before"
            )
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self.public = base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, position: int, link: bytes, store: str, now: int, last: Checkpoint | None) -> Checkpoint:
        """A checkpoint at a time (microseconds), after another."""
        time = datetime.fromtimestamp(now // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        previous = last.digest() if last is not None else FIRST
        bare = Checkpoint(position, link.hex(), store, time, previous, self.public)
        signature = base64.b64encode(self._key.sign(bare.body())).decode()
        return Checkpoint(position, link.hex(), store, time, previous, self.public, signature)


def read(path: Path) -> list[Checkpoint]:
    """All checkpoints of a file; a last line that was never finished is none. Raises BadCheckpoint."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [Checkpoint.of_line(line) for line in lines if line]


def check_all(found: Sequence[Checkpoint], keys: Iterable[str] = ()) -> None:
    """Each names the one before it, positions grow, and the last of each key is signed, which covers the others.

    keys: those that are trusted; without any, each is. Raises BadCheckpoint.
    """
    trusted = set(keys)
    last_of: dict[str, Checkpoint] = {}
    for before, checkpoint in zip([None, *found], found, strict=False):
        wanted = before.digest() if before is not None else FIRST
        if checkpoint.previous != wanted and before is not None:
            raise BadCheckpoint(f"the checkpoint before that at {checkpoint.position} was changed or taken away")
        if before is not None and checkpoint.position <= before.position:
            raise BadCheckpoint(f"the checkpoint at {checkpoint.position} is out of order")
        if trusted and checkpoint.key not in trusted:
            raise BadCheckpoint(f"the checkpoint at {checkpoint.position} is signed with an unknown key")
        last_of[checkpoint.key] = checkpoint
    for checkpoint in last_of.values():
        checkpoint.check()


def _json(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
