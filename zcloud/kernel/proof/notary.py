"""Follows the log with hashes and signs checkpoints; whoever writes the log never waits for it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from zcloud.kernel.proof.chain import GENESIS, ChainFile, Gap, link
from zcloud.kernel.proof.checkpoint import Checkpoint, Signer
from zcloud.kernel.proof.raw import Raw, open_raw
from zcloud.kernel.proof.shared import SharedCheckpoints

DIRECTORY = "proof"
CHAIN = "chain"
CHECKPOINTS = "checkpoints.jsonl"
KEY = "proof.key"
PUBLIC = "key.pub"
# Holds more than one checkpoint.
NEAR_END = 4096


class Broken(Exception):
    """The log is not the one that was signed: nothing new is signed on top of it."""


class Notary:
    """The proof of one node, under its directory. One thread uses it."""

    def __init__(self, raw: Raw, directory: Path, store: str) -> None:
        self._raw = raw
        self._store = store
        self._place = directory / DIRECTORY
        self._place.mkdir(mode=0o700, exist_ok=True)
        self._signer = Signer(directory / KEY)
        self._chain = ChainFile(self._place / CHAIN)
        self._path = self._place / CHECKPOINTS
        self._know_key()
        self.last: Checkpoint | None = None
        self.position = 0
        self._link = GENESIS
        # Where hashes are made anew up to, because those that were there are gone.
        self._until: Checkpoint | None = None
        self._begin()

    def _know_key(self) -> None:
        """All keys that ever signed here."""
        path = self._place / PUBLIC
        known = path.read_text().split() if path.exists() else []
        if self._signer.public not in known:
            path.write_text("\n".join([*known, self._signer.public]) + "\n")

    def _begin(self) -> None:
        found = self._newest()
        self.last = found[0] if found else None
        if self.last is not None and self._raw.head() < self.last.position:
            text = f"the log ends at record {self._raw.head()}, and a checkpoint was signed at {self.last.position}"
            raise Broken(text)
        if self.last is not None and self._chain.at(self.last.position) == self.last.link:
            self.position, self._link = self.last.position, self.last.link
        else:
            self._until = self.last
        self._chain.cut(self.position)

    def _newest(self) -> list[Checkpoint]:
        """The last line; what a write that was cut off left behind is taken away."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - NEAR_END))
            lines = file.read().split(b"\n")
        if lines[-1]:
            os.truncate(self._path, self._path.stat().st_size - len(lines[-1]))
        return [Checkpoint.of_line(line) for line in lines[:-1][-1:]]

    def extend(self, most: int) -> bool:
        """Hash the next records, at most so many; False when there are none. Raises Broken."""
        end = self.position + most
        if self._until is not None:
            end = min(end, self._until.position)
        hashes: list[bytes] = []
        at, before = self.position, self._link
        for rows in self._raw.rows(at, end):
            for row in rows:
                at += 1
                if row[0] != at:
                    raise Broken(str(Gap(at)))
                before = link(before, row)
                hashes.append(before)
        if self._until is not None and at == self._until.position:
            if before != self._until.link:
                raise Broken(f"a record up to {at} is not the one that was signed")
            self._until = None
        self._chain.append(hashes)
        self.position, self._link = at, before
        return bool(hashes)

    def sign(self, now: int) -> Checkpoint | None:
        """A checkpoint where the chain is now; None when there is one already."""
        if self._until is not None or self.position == (self.last.position if self.last else 0):
            return None
        made = self._signer.sign(self.position, self._link, self._store, now, self.last)
        # A checkpoint without its hashes would still hold; hashes without it are made again.
        self._chain.sync()
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, made.line() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        self.last = made
        return made

    def close(self) -> None:
        """Let go of the files."""
        self._chain.close()


def follow(
    directory: Path, address: str, store: str, now: int, slice_of: int = 5_000, rest: float = 0.0, node: str = ""
) -> int:
    """Bring a node's proof to the end of its log and sign there; gives how many records were new. Raises Broken.

    slice_of, rest: so many records at a time, and seconds between, for a process that has other things to do.
    node: its name, by which its checkpoints stand in a store that others share.
    """
    raw = open_raw(directory, address)
    try:
        notary = Notary(raw, directory, store)
        try:
            first = notary.position
            while notary.extend(slice_of):
                time.sleep(rest)
            notary.sign(now)
            if address and notary.last is not None:
                _publish(address, node, notary.last, directory / DIRECTORY / CHECKPOINTS)
            return notary.position - first
        finally:
            notary.close()
    finally:
        raw.close()


def _publish(address: str, node: str, last: Checkpoint, path: Path) -> None:
    shared = SharedCheckpoints(address)
    try:
        shared.publish(node, last, path)
    finally:
        shared.close()
