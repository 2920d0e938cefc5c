"""Several writing processes, and a follower at the head of what they write."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zcloud.kernel.record import Record
from zcloud.kernel.store import Store, StoreAway

POLL_SECONDS = 0.005
# However long a follower stands still, it has much to read.
AT_ONCE = 1000


@dataclass
class Follower:
    """Reads what is new again and again; each answer must go on where the last one ended."""

    store: Store
    records: list[Record] = field(default_factory=list)
    reads: int = 0
    wrong: str = ""
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self.wrong:
            over = self._over.is_set()
            after = self.records[-1].position if self.records else 0
            try:
                found = self.store.read_all(after, AT_ONCE)
            except StoreAway:
                time.sleep(0.05)
                continue
            if found and [r.position for r in found] != list(range(after + 1, after + 1 + len(found))):
                self.wrong = f"after {after} came {[r.position for r in found][:20]}"
            self.records += found
            self.reads += bool(found)
            if over and not found:
                return
            if len(found) < AT_ONCE:
                time.sleep(POLL_SECONDS)

    def finish(self) -> list[Record]:
        """Everything up to the end."""
        self._over.set()
        assert self._thread is not None
        self._thread.join(300)
        assert not self._thread.is_alive(), "the follower does not come to the end of the log"
        assert not self.wrong, self.wrong
        return self.records


class Writers:
    """Processes on one store, with clocks that differ by seconds; none outlives the test."""

    def __init__(self, address: str, number: int, events: int) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="zcloud-writers-")
        # It is there when the store was away from one of them.
        self.away = Path(self._directory.name) / "away"
        told = (address, str(events), str(self.away))
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.kernel.store.writer", f"w{n}", str(n * 1_000_000), *told],
                stdout=subprocess.PIPE,
            )
            for n in range(number)
        ]

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self._directory.cleanup()

    @property
    def at_work(self) -> bool:
        return all(process.poll() is None for process in self.processes)

    def end(self) -> None:
        """Let them come to an end before they have written all."""
        for process in self.processes:
            process.terminate()

    def results(self) -> list[dict[str, Any]]:
        """What each says in the end."""
        said = [process.communicate(timeout=250)[0] for process in self.processes]
        assert [process.returncode for process in self.processes] == [0] * len(said)
        return [json.loads(text) for text in said]


def check(records: list[Record], results: list[dict[str, Any]]) -> None:
    """The log is what was acknowledged, in order, each decision once."""
    by_position = {r.position: (str(r.originator_id), r.originator_version, r.time) for r in records}
    assert list(by_position) == list(range(1, len(records) + 1))
    for result in results:
        lost = {p: said for p, said in result["seen"].items() if by_position.get(int(p)) != tuple(said)}
        assert not lost, f"acknowledged, and not so in the log: {dict(list(lost.items())[:5])}"
    ends: dict[str, int] = {}
    before = 0
    for n, r in enumerate(records):
        stream = str(r.originator_id)
        assert r.originator_version == ends.get(stream, 0) + 1
        ends[stream] = r.originator_version
        # The events of one decision bear one time; of two decisions the later one is later.
        same = n > 0 and r.state != b'{"n":1}'
        assert r.time == before if same else r.time > before, f"time stands still at {r.position}"
        before = r.time
