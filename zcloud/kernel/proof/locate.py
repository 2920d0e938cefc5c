"""Which record between two checkpoints is the first that is not what it was, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from zcloud.kernel.proof.chain import ChainFile, link
from zcloud.kernel.proof.raw import Raw, Row

# How far from its place a record is looked for.
NEAR = 1_000
Mark = tuple[int, bytes]


@dataclass(frozen=True)
class Finding:
    """What speaks against the log: kind is altered, missing, inserted, reordered, or somewhere.

    after: the last checkpoint before it up to which everything is proven to be as it was. That there is something
    wrong after it is proven by signature; which record it is rests on the hashes that are kept beside the log.
    """

    position: int
    kind: str
    text: str
    after: int


def locate(raw: Raw, chain: ChainFile, start: Mark, end: Mark) -> Finding | None:
    """None when the log is right from one mark to the other."""
    at, before = start
    computed = before
    first: tuple[int, Row | None] | None = None
    for rows in raw.rows(start[0], end[0]):
        hashes = chain.read(at, at + len(rows))
        for n, row in enumerate(rows):
            expected = hashes[n] if n < len(hashes) else b""
            computed = link(computed, row)
            if first is None and (row[0] != at + 1 or (expected and computed != expected)):
                first = (at + 1, row)
                before = chain.at(at) if at > start[0] else start[1]
            at += 1
    if computed == end[1] and at == end[0]:
        return None
    if first is None and at < end[0]:
        first, before = (at + 1, None), chain.at(at) if at > start[0] else start[1]
    if first is None:
        text = "the hashes beside the log were changed as well, or are not there: no record can be named"
        return Finding(start[0] + 1, "somewhere", text, start[0])
    kind, text = _what(raw, chain, *first, before)
    return Finding(first[0], kind, text, start[0])


def _what(raw: Raw, chain: ChainFile, position: int, row: Row | None, before: bytes) -> tuple[str, str]:
    """What became of the record that was at a position: told by what would fit there."""
    expected, following = chain.at(position), chain.at(position + 1)
    near = [found for rows in raw.rows(position - 1, position + NEAR) for found in rows]
    near += [found for rows in raw.rows(max(position + NEAR, raw.head() - NEAR)) for found in rows]
    for found in near:
        if found[0] != position and expected and link(before, _at(found, position)) == expected:
            if found[0] == position + 1 and row is not None and link(expected, _at(row, position + 1)) != following:
                return "inserted", "a record that was never there stands here; the others moved on by one"
            return "reordered", f"it stands at {found[0]} now"
    if row is None or row[0] > position:
        return "missing", "there is no such record any more"
    if row[0] < position:
        return "inserted", f"two records are at {row[0]}"
    if expected and following and link(expected, _at(row, position + 1)) == following:
        return "missing", "it was taken away, and the others moved up by one"
    return "altered", "its row is not what was hashed"


def _at(row: Row, position: int) -> Row:
    return (position, *row[1:])
