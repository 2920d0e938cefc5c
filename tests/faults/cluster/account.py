"""What came of it: the log as it is read once, the worlds of the hosts, and what must hold of them (I1 to I9)."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from projections.engine import open_engine
from projections.offline import compare
from tests.faults.cluster.nodes import Nodes
from tests.faults.cluster.owners import Owners
from tests.faults.harness import books
from tests.faults.harness.cloud import Run
from tests.faults.harness.hosts import Servers
from tests.faults.harness.lake import Fold, Lake
from zcloud.domain.infrastructure.host import HostStatus, Status
from zcloud.kernel.job import ENDED, Job
from zcloud.kernel.store.postgres import PostgresRecorder


class Account:
    """The part of a Run that books are checked by, of a cloud that is really there."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.lake, self.past, self.past_end, self.began = Lake(), Fold(), 0, 0
        self.effects = nodes.effects
        self.hosts = {host.host_uuid: host for host in nodes.ground.hosts}
        self.servers = Servers(files={"/zcloud/bs/i": 1})
        self.wrong: list[str] = []
        self.prompt = True
        # Request id -> the call that it was of.
        self.requests: dict[str, str] = {}
        self.owners = Owners(nodes)
        self._recorder = PostgresRecorder(nodes.store)
        self._reading = asyncio.Lock()

    def close(self) -> None:
        self._recorder.close()

    async def read(self) -> None:
        """What is new."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        while records := await asyncio.to_thread(self._recorder.read_all, len(self.lake.records), 2000):
            for record in records:
                last = self.lake.records[-1] if self.lake.records else None
                if record.position != len(self.lake.records) + 1:
                    self.wrong.append(f"position {record.position} comes after {len(self.lake.records)}")
                if last is not None and record.time < last.time:
                    self.wrong.append(f"time goes backwards at {record.position}")
                call = self.requests.setdefault(record.request_id, str(record.causation_id))
                if record.request_id and call != record.causation_id:
                    self.wrong.append(f"I1: request {record.request_id} was carried out twice")
                self.lake.records.append(record)
                self.lake.streams.setdefault(str(record.originator_id), []).append(record)
                self.lake.fold.take(record)

    def begin(self) -> None:
        """A seed begins here: what was before has been looked at."""
        self.past, self.past_end, self.began = self.lake.fold.fork(), len(self.lake.records), len(self.lake.records)
        self.effects.done.clear()

    job, rests = Run.job, Run.rests

    def active(self) -> list[Job]:
        """Jobs that have not ended, and wait for nobody."""
        jobs: Any = self.lake.fold.all("job")
        return [job for job in jobs if job.state not in ENDED and not self.rests(job)]

    def unsettled(self) -> list[str]:
        """What goes on by itself."""
        fold = self.lake.fold
        away = [h.name for h in fold.all("host") if fold.companion(HostStatus, h.uuid).status is not Status.CONNECTED]
        going = [f"job {job.name} is {job.state.value}" for job in self.active()]
        return [f"I6: {what}" for what in (*going, *(f"host {name} is away" for name in away))]

    async def settle(self, seconds: float) -> list[str]:
        """Wait until nothing goes on; what did not come to its end within so long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            await self.read()
            left = self.unsettled()
            if not left or self.wrong or loop.time() > until:
                return left
            await asyncio.sleep(0.05)

    async def violations(self, answers: dict[str, Any], seconds: float) -> list[str]:
        """answers: to commands, by request id. What agents say of themselves may need another moment."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            await self.read()
            found = books.violations(self)  # type: ignore[arg-type]
            if not found or self.wrong or loop.time() > until:
                break
            await asyncio.sleep(0.1)
        return [*self.wrong, *found, *self._answered(answers), *await self._shown()]

    def _answered(self, answers: dict[str, Any]) -> Iterator[str]:
        """I1: what was answered is in the log, once."""
        for key, answer in answers.items():
            if answer.job_uuid and key not in self.requests:
                yield f"I1: request {key} was answered with {answer}, and is not in the log"
            if answer.job_uuid and answer.job_uuid not in self.lake.fold.views:
                yield f"I1: job {answer.job_uuid} of request {key} is not in the log"

    async def _shown(self) -> list[str]:
        """I8: every node shows what the log says."""
        fold, found = self.lake.fold, []
        meant = {m.uuid: (fold.value(m, "state"), fold.value(m, "host_uuid")) for m in fold.all("vm_instance")}
        for name in self.nodes.names:
            told = (await self.nodes.told(name, "QueryVmInstance")).inventories
            state = {v: k for k, v in told[0].State.items()} if told else {}
            shown = {vm.uuid: (state[vm.state].removeprefix("STATE_").lower(), vm.host_uuid) for vm in told}
            if shown != {uuid: (s.lower(), host) for uuid, (s, host) in meant.items()}:
                found.append(f"I8: {name} shows VMs {shown}, and there are {meant}")
        return found

    def tell(self, path: Path) -> None:
        """The events of this seed and what was done on hosts, for whoever looks for a cause."""
        lines = [
            f"{r.position} {r.time} {r.topic} {r.resource_uuid} {r.job_uuid} {r.request_id} {r.state.decode()}"
            for r in self.lake.records[self.began :]
        ]
        path.write_text("\n".join([*lines, "done:", *self.effects.done]))

    async def rows(self) -> list[str]:
        """I7: read models that were written by several are those that are filled anew."""
        return await asyncio.to_thread(self._rows)

    def _rows(self) -> list[str]:
        engine = open_engine(self.nodes.base, self.nodes.store)
        try:
            with tempfile.TemporaryDirectory(prefix="zcloud-check-") as directory:
                _, differences = compare(self._recorder, engine, Path(directory) / "fresh.db")
                return [f"I7: {d}" for d in itertools.islice(differences, 5)]
        finally:
            engine.dispose()
