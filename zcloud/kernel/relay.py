"""Tasks of jobs that another node drives, for agents that have dialled in here: the log is the way from node to node.

The node that drives a job writes its intents; whichever node has the agent's session sends what is intended, and writes
down the report. No node calls another, and what a dead one had promised is in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from zcloud.kernel import event as events
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.errors import Refused
from zcloud.kernel.job import Job
from zcloud.kernel.leases import partition_of
from zcloud.kernel.record import Record
from zcloud.kernel.transport import Transport

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5
# So many times a task may be refused before that ends the step.
TRIES = 60
# After these a job has no task that is pending.
SETTLED = (
    "job.StepDone",
    "job.StepSkipped",
    "job.PassedOver",
    "job.StepFailed",
    "job.GotStuck",
    "job.Finished",
)


class Relay:
    """Which job waits for which agent, all jobs of the cloud.

    send: make the task of a job's intent and send it; and whether a refusal is final. again: send an agent what this
    node itself waits for.
    """

    def __init__(
        self,
        cloud: Cloud,
        transport: Transport,
        send: Callable[[str, str, bool], Coroutine[Any, Any, None]],
        again: Callable[[str], None],
        forget: Callable[[str], None],
    ) -> None:
        self._cloud, self._transport = cloud, transport
        self._send, self._again, self._forget = send, again, forget
        self._open: dict[str, tuple[str, str]] = {}  # job uuid -> task uuid, target
        # Of these jobs the open task undoes something; these were cancelled.
        self._undoing: set[str] = set()
        self._cancelled: set[str] = set()
        self._sending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """From now on the log tells."""
        self._cloud.log.listen(self._on_committed)

    def know(self, jobs: list[Job]) -> None:
        """Those that have not ended; what the log has told meanwhile is newer."""
        for job in jobs:
            if job.cancel_requested:
                self._cancelled.add(job.uuid)
            if job.task_uuid and job.uuid not in self._open:
                self._open[job.uuid] = (job.task_uuid, job.target)
                if job.undoing:
                    self._undoing.add(job.uuid)

    async def close(self) -> None:
        """What is pending stays so in the log."""
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def waits(self, job_uuid: str, task_uuid: str) -> bool:
        """Whether the job waits for this task, as far as the log is known here."""
        return self._open.get(job_uuid, ("",))[0] == task_uuid

    def unwanted(self, job_uuid: str) -> bool:
        """Whether what the job waits for need not be done any more. What undoes something is always wanted."""
        return job_uuid in self._open and job_uuid in self._cancelled and job_uuid not in self._undoing

    def connected(self, target: str, *, waits: bool) -> None:
        """An agent has dialled in: it is sent what waits for it. waits: this node itself thinks that something does."""
        if waits or any(of == target for _, of in self._open.values()):
            self._begin(self._catch_up(target), f"relay-to-{target}")

    async def _catch_up(self, target: str) -> None:
        """A node that stood still takes for pending what others gave up meanwhile, and the agent would do it now."""
        while True:
            try:
                await self._cloud.log.newest()
                break
            except Refused as refused:
                log.info("host %s is sent what waits for it in a moment: %s", target, refused.message)
                await self._cloud.clock.sleep(RETRY_SECONDS)
        self._again(target)
        for job_uuid, (task_uuid, of) in self._open.items():
            if of == target and not self._cloud.leases.owns(job_uuid):
                # The agent may be at it since another session; it is sent only when that can be made again.
                self._give_up(job_uuid)
                self._later(job_uuid, task_uuid)

    def dropped(self, lost: frozenset[int]) -> None:
        """Other nodes drive the jobs of these partitions now: what this one had not sent yet is sent for them."""
        for job_uuid, (task_uuid, target) in self._open.items():
            if partition_of(job_uuid) in lost and self._transport.reaches(target):
                self._later(job_uuid, task_uuid)

    def _on_committed(self, records: list[Record]) -> None:
        for record in records:
            if record.kind == "job":
                self._take(record.resource_uuid, record)

    def _take(self, job_uuid: str, record: Record) -> None:
        if record.topic == "job.StepDispatched":
            event: Any = events.decode(record.topic, record.schema, record.state)
            self._open[job_uuid] = (event.task_uuid, event.target)
            (self._undoing.add if event.undo else self._undoing.discard)(job_uuid)
            if self._transport.reaches(event.target) and not self._cloud.leases.owns(job_uuid):
                self._later(job_uuid, event.task_uuid)
        elif record.topic in SETTLED:
            task_uuid, target = self._open.pop(job_uuid, ("", ""))
            self._undoing.discard(job_uuid)
            if record.topic == "job.Finished":
                self._cancelled.discard(job_uuid)
            if task_uuid:
                self._forget(task_uuid)
            if record.topic == "job.StepFailed" and self._transport.reaches(target):
                self._transport.abort(target, task_uuid)  # no report came in time
        elif record.topic == "job.CancelRequested":
            self._cancelled.add(job_uuid)
            self._give_up(job_uuid)

    def _give_up(self, job_uuid: str) -> None:
        task_uuid, target = self._open.get(job_uuid, ("", ""))
        if self.unwanted(job_uuid) and self._transport.reaches(target):
            self._transport.abort(target, task_uuid)

    def _later(self, job_uuid: str, task_uuid: str) -> None:
        self._begin(self._insist(job_uuid, task_uuid), f"relay-{task_uuid}")

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _insist(self, job_uuid: str, task_uuid: str) -> None:
        tries = 0
        while self.waits(job_uuid, task_uuid):
            tries += 1
            try:
                await self._send(job_uuid, task_uuid, tries >= TRIES)
                return
            except Refused as refused:  # its host is not connected in full yet; or the store is away
                log.info("job %s: %s", job_uuid, refused.message)
            except Exception:
                log.exception("the task of job %s could not be sent", job_uuid)
                if tries >= TRIES:
                    return  # the step's time ends it
            await self._cloud.clock.sleep(RETRY_SECONDS)
