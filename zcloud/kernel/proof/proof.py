"""What a log is held against: a directory's own checkpoints and hashes, those of other nodes, copies kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zcloud.kernel.proof.chain import ChainFile
from zcloud.kernel.proof.checkpoint import FIRST, BadCheckpoint, Checkpoint, check_all, read
from zcloud.kernel.proof.notary import CHAIN, CHECKPOINTS, DIRECTORY, PUBLIC
from zcloud.kernel.proof.shared import Chain, Signed, chains


@dataclass(frozen=True)
class Proof:
    """own: the directory's, or where it has none the chain of any node that reaches furthest."""

    own: Sequence[Checkpoint]
    copy: Sequence[Checkpoint]
    chain: ChainFile
    others: Sequence[Chain] = ()
    # How many nodes signed.
    nodes: int = 1
    # What is wrong with checkpoints of other nodes, and what is worth knowing.
    wrong: Sequence[str] = field(default_factory=list)
    notes: Sequence[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, directory: Path, copy: Path | None = None, keys: Iterable[str] = (), shared: Sequence[Signed] = ()
    ) -> Proof:
        """Of a node's directory. keys: those that are trusted, else the directory's, and for what is shared any.

        Raises BadCheckpoint, FileNotFoundError.
        """
        place = directory / DIRECTORY
        given = set(keys)
        public = place / PUBLIC
        trusted = given or set(public.read_text().split() if public.exists() else ())
        own: Sequence[Checkpoint] = read(place / CHECKPOINTS)
        check_all(own, trusted)
        if own and own[0].previous != FIRST:
            raise BadCheckpoint(f"the checkpoints before that at {own[0].position} were taken away")
        others, wrong = chains(shared)
        notes: list[str] = []
        for other in others if given else ():
            if not given.issuperset(c.key for c in other.checkpoints):
                notes.append(f"what node {other.node} signed with a key that is not trusted is left out")
        others = [chain for chain in others if not given or given.issuperset(c.key for c in chain.checkpoints)]
        by_digest = {signed.checkpoint.digest(): signed.node for signed in shared}
        mine = {c.digest() for c in own} if shared else set()
        others = [chain for chain in others if chain.checkpoints[-1].digest() not in mine]
        if lacking := len(mine.difference(by_digest)):
            notes.append(
                f"{lacking} checkpoints of {place} are not in the store; its node puts them there when it signs"
            )
        if not own and others:
            own = others.pop(0).checkpoints
            if not trusted:
                notes.append(f"there is no key at {public}: whoever can write to the store may have signed")
        kept = _kept(copy, [own, *(chain.checkpoints for chain in others)], trusted)
        names = {by_digest[c.digest()] for c in own if c.digest() in by_digest} if shared else set()
        nodes = len((names or {""}) | {chain.node for chain in others})
        return cls(own, kept, ChainFile(place / CHAIN), others, nodes, wrong, notes)

    @property
    def signed(self) -> list[Checkpoint]:
        """What is the directory's own, and copies; in order of position."""
        found = {c.position: c for c in (*self.own, *self.copy)}
        return [found[position] for position in sorted(found)]

    @property
    def number(self) -> int:
        """Of all checkpoints."""
        return len({*self.own, *self.copy}.union(c for chain in self.others for c in chain.checkpoints))


def _kept(copy: Path | None, signed: Sequence[Sequence[Checkpoint]], trusted: set[str]) -> list[Checkpoint]:
    """The copy, which must be of what some node has signed, as the store or the directory has it."""
    if copy is None:
        return []
    if not copy.exists():
        raise FileNotFoundError(f"there are no checkpoints at {copy}")
    own, *others = signed
    kept = read(copy)
    check_all(kept, trusted.union(c.key for chain in others for c in chain) if trusted else ())
    known = {c.digest() for chain in signed for c in chain}
    for checkpoint in kept:
        if own and checkpoint.digest() not in known:
            raise BadCheckpoint(f"the checkpoint at {checkpoint.position} in the copy is not among the store's own")
    return kept
