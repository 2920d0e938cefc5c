"""A process that writes as fast as it can: python -m tests.kernel.store.writer NAME SKEW ADDRESS EVENTS AWAY.

It ends when it has written so many events, or with SIGTERM. AWAY is a file that it makes when the store is away.

Most of its decisions are on streams of its own, some on streams that all fight for. A decision whose answer never came
is sent again with the same request id. On standard output, in the end, what was acknowledged: positions with stream,
version and time, and how often what happened.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.kernel.store.appends import change
from zcloud.kernel.record import Append
from zcloud.kernel.store import RequestTaken, StoreAway, open_store

HOT = 5


class Writer:
    """Keeps versions in its head, as a node's cache does."""

    def __init__(self, name: str, skew: int, address: str, away: Path) -> None:
        self.away = away
        self.store = open_store(Path(), address)
        self.name = name
        self.skew = skew
        self.random = random.Random(name)
        self.versions: dict[str, int] = {}
        self.made = 0
        self.seen: dict[int, tuple[str, int, int]] = {}
        self.happened: Counter[str] = Counter()

    def batch(self) -> list[Append]:
        """Some decisions that rest on each other."""
        made = []
        for _ in range(self.random.choice((1, 5, 50, 200))):
            hot = self.random.random() < 0.02
            stream = f"hot-{self.random.randrange(HOT)}" if hot else f"{self.name}-{self.random.randrange(300)}"
            base = self.versions.get(stream, 0)
            events = self.random.choice((1, 1, 2, 3))
            self.made += 1
            now = time.time_ns() // 1000 + self.skew
            made.append(change(stream, base, events, request=f"{self.name}-{self.made}", time=now))
            self.versions[stream] = base + events
        return made

    def version(self, stream: str) -> int:
        """As it is in the store."""
        while True:
            try:
                return max((r.originator_version for r in self.store.read_stream(stream)), default=0)
            except StoreAway:
                time.sleep(0.05)

    def write(self) -> None:
        batch = self.batch()
        unsure: set[int] = set()
        while True:
            try:
                outcomes = self.store.append_batch(batch)
                break
            except StoreAway:
                self.happened["away"] += 1
                self.away.touch()
                unsure = set(range(len(batch)))
                time.sleep(0.05)
        for n, (append, outcome) in enumerate(zip(batch, outcomes, strict=True)):
            if isinstance(outcome, list):
                self.happened["written"] += 1
                self.seen.update((r.position, (str(r.originator_id), r.originator_version, r.time)) for r in outcome)
            elif isinstance(outcome, RequestTaken):
                assert n in unsure, "a request id of this process is taken, and it was sent once"
                self.happened["written before"] += 1
            else:
                self.happened["conflict"] += 1
                stream = next(iter(append.bases))
                self.versions[stream] = self.version(stream)


def main(name: str, skew: str, address: str, events: str, away: str) -> None:
    writer = Writer(name, int(skew), address, Path(away))
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: over.append(number))
    while len(writer.seen) < int(events) and not over:
        writer.write()
    writer.store.close()
    json.dump({"seen": writer.seen, "happened": writer.happened, "made": writer.made}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
