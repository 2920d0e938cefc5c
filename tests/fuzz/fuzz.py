"""A cloud with one of everything, and every RPC asked with random requests; what must hold afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.node.private_sshd import PrivateSshd
from projections.offline import compare
from tests.api.populated import Populated
from tests.fuzz.door import Complaints, Door, server_has
from tests.fuzz.ground import Corpus
from tests.fuzz.ground import cloud as ground
from tests.fuzz.messages import Messages, harvest, parts
from tests.support.cloud import Api, ApiError
from zcloud.api.answers import bind
from zcloud.api.rpcs import Rpc, rpcs
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.snapshot import load


@dataclass
class Found:
    """What was asked, how it ended, and what was wrong."""

    calls: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    granted: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


async def fuzz(directory: Path, sshd: PrivateSshd, names: Iterable[str], seed: int, previews: int, real: int) -> Found:
    """So many previews of each RPC, which must leave all as it is; then so many calls in earnest, in any order."""
    complaints, found = Complaints(), Found()
    logging.disable(logging.WARNING)
    logging.getLogger().addHandler(complaints)
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.said.append(f"{context.get('message')} {context.get('exception')!r}")
    )
    try:
        async with ground(directory, sshd) as (cloud, corpus):
            door = Door(cloud.admin.node)
            asker = Asker(cloud, door, random.Random(seed), corpus)
            await asker.learn()
            await _previews(asker, [rpcs()[name] for name in names], previews, found)
            found.wrong += await unmoved(cloud, directory / "previews.db", door)
            await _earnest(asker, [rpcs()[name] for name in names], real, found)
            found.wrong += await unmoved(cloud, directory / "earnest.db", door)
            found.codes, found.wrong = door.codes, [*door.wrong, *found.wrong]
    finally:
        logging.getLogger().removeHandler(complaints)
        logging.disable(logging.NOTSET)
    found.wrong += complaints.said
    return found


async def _previews(asker: Asker, asked: list[Rpc], each: int, found: Found) -> None:
    """What was right once is asked as it was, too: what chance finds to be right is mostly something simple."""
    node = asker.cloud.admin.node
    for rpc in sorted(asked, key=lambda rpc: rpc.name not in FIRST):
        head = node.cloud.log.head
        right = asker.corpus.get(rpc.name, [])[-REPEATED:]
        codes = [await asker.ask(rpc, only=True, right=right.pop() if right else b"") for _ in range(each)]
        found.calls[rpc.name] = found.calls.get(rpc.name, 0) + each
        found.granted[rpc.name] = found.granted.get(rpc.name, 0) + codes.count("OK")
        written = [r.topic for r in node.recorder.read_all(head, 1000) if r.origin == rpc.name]
        if written and previewed(rpc):
            found.wrong.append(f"{rpc.name} only previewed, and wrote {written}")


# What every call makes slower, the log of calls being longer.
FIRST = ("QueryOperationLog", "ExportOperationLog")
# Whoever changes the admin's password has locked the test out.
KEYS = ("UpdateAccount",)


async def _earnest(asker: Asker, asked: list[Rpc], each: int, found: Found) -> None:
    order = [rpc for rpc in asked for _ in range(each) if rpc.name not in KEYS]
    asker.chance.shuffle(order)
    for number, rpc in enumerate(order):
        if number % 200 == 0:
            await asker.learn()
        code = await asker.ask(rpc, only=False)
        found.calls[rpc.name] = found.calls.get(rpc.name, 0) + 1
        found.granted[rpc.name] = found.granted.get(rpc.name, 0) + (code == "OK")


# So many requests of an RPC that were right are taken as what others are made from; so many are repeated as they were.
KEPT, REPEATED = 40, 5
# So often what cannot be previewed is asked in earnest all the same.
DARING = 0.1


def previewed(rpc: Rpc) -> bool:
    """Whether it can be asked without changing anything, or never changes anything."""
    return rpc.reads or bind(rpc)[0] == "command"


class Asker:
    """Whoever asks: mostly the admin, now and then somebody who may not, or nobody."""

    def __init__(self, cloud: Populated, door: Door, chance: random.Random, corpus: Corpus) -> None:
        self.cloud = cloud
        self.corpus = corpus
        self.door = door
        self.chance = chance
        self.messages = Messages(chance, {}, {}, corpus)

    async def learn(self) -> None:
        """What there is now, and what it says of itself."""
        await self._log_in()
        known: dict[str, list[str]] = {kind: [uuid] for kind, uuid in self.cloud.uuids.items()}
        said: list[Any] = []
        for name, rpc in rpcs().items():
            if name.startswith("Query") and rpc.kind:
                answer = await self.cloud.admin.call(name, page_size=30)
                said += answer.inventories
                known.setdefault(rpc.kind, []).extend(i.uuid for i in answer.inventories if hasattr(i, "uuid"))
        for kind, uuids in parts(said).items():
            known.setdefault(kind, uuids)
        self.messages = Messages(self.chance, known, harvest(said), self.corpus)

    async def _log_in(self) -> None:
        """A request may have ended any session."""
        cloud, password = self.cloud, "a password of its own"
        own = (cloud.admin.node.directory / "admin-password").read_text().strip()
        cloud.admin = await cloud.anonymous.logged_in("admin", own)
        with contextlib.suppress(ApiError):
            cloud.owner = await cloud.anonymous.logged_in("owner", password)
            cloud.stranger = await cloud.anonymous.logged_in("stranger", password)

    async def ask(self, rpc: Rpc, *, only: bool, right: bytes = b"") -> str:
        """How it ended. right: asked as it is, by one who may."""
        data = right or self.messages.request(rpc)
        code, _ = await self.door.call(rpc, data, self._metadata(rpc, only, known=bool(right)))
        if code == "OK" and len(self.corpus.get(rpc.name, ())) < KEPT:
            self.corpus.setdefault(rpc.name, []).append(data)
        return code

    def _metadata(self, rpc: Rpc, only: bool, known: bool) -> Mapping[str, str]:
        chance = 0.0 if known else 1.0  # of anything unusual
        roll, made = self.chance.random() * chance, {}
        api: Api = self.cloud.admin
        if roll > 0.98:
            api = self.cloud.anonymous
        elif roll > 0.8 or rpc.name == "LogOut":
            api = self.cloud.stranger if roll > 0.93 else self.cloud.owner
        if api.token:
            made["authorization"] = f"Bearer {api.token}"
        if only and not rpc.reads and (previewed(rpc) or self.chance.random() > (1.0 if known else DARING)):
            made["zcloud-validate-only"] = "true"
        if self.chance.random() < 0.05 * chance:
            made["zcloud-if-version"] = str(self.chance.choice((0, 1, 2, 1 << 70)))
        if self.chance.random() < 0.1 * chance:
            made["zcloud-request"] = f"{rpc.name}/{self.chance.randrange(20)}"
        return made


async def unmoved(cloud: Populated, path: Path, door: Door) -> list[str]:
    """What was refused, or only previewed, is nowhere: not in the log, in the node's memory, in what is read."""
    node = cloud.admin.node
    found = [
        f"{r.origin} was refused, and wrote {r.topic}"
        for r in node.recorder.read_all(0, 1_000_000)
        if r.causation_id in door.refused
    ]
    for stream in list(node.cloud._cache):
        known = node.cloud._cache[stream]
        # A resource's uuid may have been that of another kind before: who is not told of one finds the last.
        fresh, _ = load(node.recorder, stream, type(known) if isinstance(known, Companion) else None)
        if facts(known) != facts(fresh) and stream not in node.cloud._unwritten:
            found.append(f"the node has {facts(known)} in its memory, not {facts(fresh)}")
    await node.follower.reached(node.cloud.log.head)
    _, differences = await asyncio.to_thread(compare, node.recorder, node.engine, path)
    return found + [f"{d.table} {d.key}: {d.columns}" for d in differences]


def facts(aggregate: Any) -> Any:
    """All that an aggregate knows of itself."""
    if aggregate is None:
        return None
    return {name: value for name, value in vars(aggregate).items() if name not in ("pending", "now", "life")}


NAMES = tuple(name for name, rpc in sorted(rpcs().items()) if server_has(rpc))
