"""The checkpoints of all nodes that share a store: beside the log, each with the node that signed it.

What is there proves itself: a line that was changed, or taken out of the middle, is seen. A node signs by what lies in
its own directory, and puts copies here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zcloud.kernel.proof.checkpoint import FIRST, BadCheckpoint, Checkpoint, check_all, read

SECONDS = 30.0
AT_ONCE = 1_000
_INSERT = "INSERT INTO checkpoints (digest, position, node, line) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"


@dataclass(frozen=True)
class Signed:
    """A checkpoint, and the name of the node whose it is said to be."""

    node: str
    checkpoint: Checkpoint


class SharedCheckpoints:
    """The table in PostgreSQL; nothing waits for it longer than its deadline."""

    def __init__(self, address: str) -> None:
        from zcloud.kernel.store import postgres_schema
        from zcloud.kernel.store.connections import Impatient, conninfo

        self._connection = Impatient.connect(conninfo(address, postgres_schema.NAME, SECONDS), autocommit=True)
        self._connection.silence = SECONDS + 2.0

    def publish(self, node: str, last: Checkpoint, path: Path) -> None:
        """The newest checkpoint, and all of the file before it when the one before it is not there."""
        wanted = [last.digest(), last.previous]
        known = self._connection.execute("SELECT digest FROM checkpoints WHERE digest = ANY(%s)", (wanted,)).fetchall()
        there = {digest for (digest,) in known} | {FIRST}
        if last.digest() in there:
            return
        lacking = [last] if last.previous in there else read(path)
        for n in range(0, len(lacking), AT_ONCE):
            rows = [(c.digest(), c.position, node, c.line()) for c in lacking[n : n + AT_ONCE]]
            with self._connection.cursor() as cursor:
                cursor.executemany(_INSERT, rows)

    def all(self) -> list[Signed]:
        """In order of position. Raises BadCheckpoint; of a store of an earlier version there are none."""
        (found,) = self._connection.execute("SELECT to_regclass('checkpoints') IS NOT NULL").fetchall()
        if not found[0]:
            return []
        rows = self._connection.execute("SELECT node, line FROM checkpoints ORDER BY position").fetchall()
        return [Signed(node, Checkpoint.of_line(line)) for node, line in rows]

    def close(self) -> None:
        """Let go of the store."""
        self._connection.close()


@dataclass(frozen=True)
class Chain:
    """Checkpoints of which each names the one before it, from a first one on."""

    node: str
    checkpoints: Sequence[Checkpoint]


def chains(found: Sequence[Signed]) -> tuple[list[Chain], list[str]]:
    """What they make up, the chain that reaches furthest first; and what is wrong with those that make up none.

    A node has several where its directory was lost, moved away, or put back as it once was.
    """
    by_digest = {signed.checkpoint.digest(): signed for signed in found}
    followed = {signed.checkpoint.previous for signed in found}
    made: list[Chain] = []
    wrong: list[str] = []
    for digest, newest in by_digest.items():
        if digest in followed:
            continue
        path = [newest]
        while (before := by_digest.get(path[-1].checkpoint.previous)) is not None:
            path.append(before)
        checkpoints = [signed.checkpoint for signed in reversed(path)]
        try:
            if checkpoints[0].previous != FIRST:
                raise BadCheckpoint(f"the checkpoint before that at {checkpoints[0].position} is not there as it was")
            check_all(checkpoints)
            made.append(Chain(newest.node, checkpoints))
        except BadCheckpoint as error:
            wrong.append(f"node {newest.node}: {error}")
    return sorted(made, key=lambda chain: -chain.checkpoints[-1].position), wrong
