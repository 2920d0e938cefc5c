"""Drives jobs: takes each to its next intent, sends what is pending until it is reported, undoes what failed.

Nothing it keeps in memory matters: a new runner goes on from the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from zcloud.kernel import failpoint
from zcloud.kernel.adoption import Adoption
from zcloud.kernel.clock import SECOND
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Code, Refused
from zcloud.kernel.intent import advance
from zcloud.kernel.job import Job, JobState
from zcloud.kernel.keep import Turns, keep
from zcloud.kernel.leases import partition_of
from zcloud.kernel.outcome import NONSENSE, facts, fail_step, give_up, intended, not_sent, refusal_of, step_of
from zcloud.kernel.pending import Pending
from zcloud.kernel.record import Record
from zcloud.kernel.relay import SETTLED, Relay
from zcloud.kernel.transport import Report, Sending, Transport
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import NODE, Task

log = logging.getLogger(__name__)
RETRY_SECONDS = 2.0


class Runner:
    """The process manager of one node. active: uuids of all jobs that have not ended, newest read model."""

    def __init__(self, cloud: Cloud, transport: Transport, active: Callable[[], Awaitable[list[str]]]) -> None:
        self.cloud = cloud
        self.transport = transport
        self.progress: dict[str, tuple[int, str]] = {}
        self._active = active
        self._drivers: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._pending = Pending()
        self._wake: dict[str, asyncio.Event] = {}
        self._ended: dict[str, list[asyncio.Future[None]]] = {}
        self._closing = False
        self._adoption = Adoption(cloud, active, self._drive, self._drop)
        self._relay = (
            Relay(cloud, transport, self._send_for, self._send_again, self._forget)
            if cloud.log.recorder.shared
            else None
        )

    # -- life

    async def start(self) -> None:
        """Go on with every job that has not ended."""
        self.cloud.log.listen(self._on_committed)
        if self._relay is not None:
            # First of all: what happens while this looks at what there is must not be missed.
            self._relay.start()
            self._adoption.start()
        active = await self._active()
        if self._relay is not None:
            found = [await self.cloud.load(uuid) for uuid in active]
            self._relay.know([job for job in found if isinstance(job, Job) and not job.ended])
        for job_uuid in active:
            self._drive(job_uuid)

    @property
    def driven(self) -> int:
        """Jobs that go on at this moment."""
        return len(self._drivers)

    async def close(self) -> None:
        """Stop driving; what is pending stays pending in the log."""
        self._closing = True
        await self._adoption.close()
        drivers = list(self._drivers.values())
        for driver in drivers:
            driver.cancel()
        await asyncio.gather(*drivers, return_exceptions=True)
        if self._relay is not None:
            await self._relay.close()

    def _drop(self, lost: frozenset[int]) -> None:
        """Other nodes see to these partitions from now on."""
        for job_uuid, driver in list(self._drivers.items()):
            if partition_of(job_uuid) in lost:
                driver.cancel()
        for task_uuid, (job_uuid, sending) in list(self._pending.items()):
            if partition_of(job_uuid) in lost and sending is not None and sending.target == NODE:
                del self._pending[task_uuid]
                self.transport.abort(NODE, task_uuid)  # who sees to the job now has its own agent do it
        if self._relay is not None:
            self._relay.dropped(lost)

    def _on_committed(self, records: list[Record]) -> None:
        for record in records:
            if record.kind != "job":
                continue
            job_uuid = record.resource_uuid
            if record.topic == "job.Finished":
                for future in self._ended.pop(job_uuid, []):
                    if not future.done():
                        future.set_result(None)
                self._wake_up(job_uuid)
            elif record.topic in ("job.Started", "job.Retried", "job.StepSkipped", "job.CancelRequested"):
                self._wake_up(job_uuid)
                self._drive(job_uuid)
            elif self._relay is not None and record.topic in SETTLED:
                self._wake_up(job_uuid)  # the node that has the agent's session wrote the report down

    def _wake_up(self, job_uuid: str) -> None:
        if job_uuid in self._wake:
            self._wake[job_uuid].set()

    def _drive(self, job_uuid: str) -> None:
        if self._closing or not self.cloud.leases.owns(job_uuid):
            return
        if job_uuid in self._drivers:  # which may be about to end, with nothing to do: it looks once more
            self._again.add(job_uuid)
            return
        task = asyncio.get_running_loop().create_task(self._run(job_uuid), name=f"job-{job_uuid}")
        self._drivers[job_uuid] = task
        task.add_done_callback(lambda _: self._rested(job_uuid))

    def _rested(self, job_uuid: str) -> None:
        del self._drivers[job_uuid]
        if job_uuid in self._again:
            self._again.discard(job_uuid)
            self._drive(job_uuid)

    async def ended(self, job_uuid: str, timeout: float) -> bool:
        """Wait until a job has ended; False when the time is over first."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._ended.setdefault(job_uuid, [])
        waiting.append(future)
        try:
            if not await self._has_ended(job_uuid):
                async with asyncio.timeout(timeout):
                    await future
        except TimeoutError:
            return False
        finally:
            waiting.remove(future)
            if not waiting and self._ended.get(job_uuid) is waiting:
                del self._ended[job_uuid]
        return True

    async def _has_ended(self, job_uuid: str) -> bool:
        """In the log, not only decided: who was told so may ask the read models at once."""
        job = await self.cloud.load(job_uuid)
        ended = isinstance(job, Job) and job.ended
        end = self.cloud.log.recorder.read_stream(job_uuid, after=job.version - 1) if job and ended else []
        return bool(end) and end[-1].position <= self.cloud.log.head

    # -- agents

    def pending_for(self, target: str) -> list[Sending]:
        """What an agent that has just connected must be sent (again)."""
        return self._pending.of(target)

    def agent_connected(self, target: str) -> None:
        """It is sent what is pending for it, also of jobs that other nodes drive."""
        if self._relay is None:
            self._send_again(target)
        else:
            self._relay.connected(target, waits=bool(self.pending_for(target)))

    def _send_again(self, target: str) -> None:
        for sending in self.pending_for(target):
            self.transport.send(sending)
            if sending.task_uuid in self._pending.unwanted:
                self.transport.abort(target, sending.task_uuid)

    async def _send_for(self, job_uuid: str, task_uuid: str, final: bool) -> None:
        """Another node's intent, for an agent that is connected here: what it wants now is this node's to say."""
        job = await self.cloud.load(job_uuid)
        if not isinstance(job, Job) or job.task_uuid != task_uuid:
            return
        sending = await self._made(job, fenced=False, final=final)
        if sending is not None and self._relay is not None and self._relay.waits(job_uuid, task_uuid):
            self._pending[task_uuid] = (job_uuid, sending)
            self.transport.send(sending)
            # It may have been cancelled since it was loaded.
            if (job.cancel_requested and not job.undoing) or self._relay.unwanted(job_uuid):
                self.transport.abort(job.target, task_uuid)

    def _forget(self, task_uuid: str) -> None:
        """Somebody has written down what came of it."""
        job_uuid = self._pending.take(task_uuid)
        self.progress.pop(job_uuid, None)

    def sent(self, task_uuid: str) -> Sending | None:
        """A task that is pending."""
        return self._pending.get(task_uuid, ("", None))[1]

    def _sent_to(self, source: str, task_uuid: str) -> str:
        """The job that waits for a task of this agent's; empty when there is none. Nobody speaks for another host."""
        job_uuid, sending = self._pending.get(task_uuid, ("", None))
        if job_uuid and (sending is None or sending.target != source):
            log.warning("the agent of host %s speaks of task %s, which is not its own", source, task_uuid)
            return ""
        return job_uuid

    def on_progress(self, task_uuid: str, percent: int, detail: str, source: str) -> None:
        """Throttled by the agent; kept in memory only. source: the host, or NODE, whose agent says so."""
        job_uuid = self._sent_to(source, task_uuid)
        if job_uuid:
            self.progress[job_uuid] = (percent, detail)

    async def on_report(self, task_uuid: str, report: Report, source: str) -> bool:
        """Record a report; returns when it is durable. One that nobody waits for (False), or another's, is dropped."""
        job_uuid = self._sent_to(source, task_uuid)
        if not job_uuid:
            return False
        failpoint.hit("report.before")
        # What a host's agent says is so, whoever hears it; this node's own agent may not be the only one at work.
        taken = await self._record(job_uuid, task_uuid, report, fenced=source == NODE)
        failpoint.hit("report.after")
        self._wake_up(job_uuid)
        return taken

    async def _record(self, job_uuid: str, task_uuid: str, report: Report, *, fenced: bool = True) -> bool:
        """Whether the job waited for it."""
        taken = True

        async def take(unit: Unit) -> bool:
            job = await unit.get(Job, job_uuid)
            if job.task_uuid != task_uuid:
                return False
            step = step_of(job)
            if not report.succeeded:
                fail_step(job, report.reason, report.error)
            elif job.undoing:
                job.trigger(Job.StepDone(index=job.index, undo=True, again=step.repeat))
                if step.undone is not None:
                    await step.undone(unit, job, report.result)
            else:
                job.trigger(Job.StepDone(index=job.index, result=facts(report.result), again=step.repeat))
                if step.done is not None:
                    await step.done(unit, job, report.result)
            return True

        try:
            context = await self._context(job_uuid, task_uuid)
            taken = (await self.cloud.decide(context, take, fenced=job_uuid if fenced else "")).value
        except Refused as refused:
            if not report.succeeded or refused.code in (Code.ABORTED, Code.UNAVAILABLE):
                raise
            refusal = Report(False, None, refused.reason.value, refused.message)
            await self._record(job_uuid, task_uuid, refusal, fenced=fenced)
        except NONSENSE as error:
            # Sent again it would be the same again: the step has failed, and is undone.
            if not report.succeeded:
                raise
            log.exception("job %s: the result of task %s could not be taken", job_uuid, task_uuid)
            wrong = Report(False, None, "BAD_RESULT", f"the result could not be taken: {type(error).__name__}")
            await self._record(job_uuid, task_uuid, wrong, fenced=fenced)
        self._pending.take(task_uuid)
        self.progress.pop(job_uuid, None)
        return taken

    # -- one job

    async def _context(self, job_uuid: str, cause: str = "") -> Context:
        """A job acts for whoever asked for it, and for the reason that was given."""
        job = await self.cloud.load(job_uuid)
        assert isinstance(job, Job)
        return Context(
            actor=job.requested_by,
            origin=job.workflow,
            reason=job.reason,
            causation_id=cause or job_uuid,
            correlation_id=job.correlation_id or job_uuid,
            job_uuid=job_uuid,
        )

    async def _run(self, job_uuid: str) -> None:
        wake = self._wake[job_uuid] = asyncio.Event()
        turns = Turns(job_uuid)
        try:
            while True:
                wake.clear()
                try:
                    if not await self._turn(job_uuid, wake):
                        return
                except Refused as refused:  # the store is away, or everybody writes the same: try again
                    if turns.broke(refused.message):  # there may be thousands
                        log.warning("job %s: %s", job_uuid, refused.message)
                    await self.cloud.clock.sleep(RETRY_SECONDS)
        except Exception:
            log.exception("job %s could not go on", job_uuid)
            work = partial(give_up, self.cloud, self._context, job_uuid)
            await keep(work, f"job-{job_uuid}", RETRY_SECONDS, self.cloud.clock.sleep)
        finally:
            self._wake.pop(job_uuid, None)

    async def _turn(self, job_uuid: str, wake: asyncio.Event) -> bool:
        """Do what is to be done next; False when nothing is, for now."""
        if not self.cloud.leases.owns(job_uuid):
            return False
        job = await self.cloud.load(job_uuid)
        if not isinstance(job, Job) or job.ended or job.state is JobState.WAITING:
            return False
        if job.task_uuid:
            await self._await_report(job, wake)
            return True
        if job.state is JobState.STUCK:
            return False
        try:
            context = await self._context(job_uuid)
            await self.cloud.decide(context, partial(advance, job_uuid), fenced=job_uuid)
        except Refused as refused:
            if refused.code in (Code.ABORTED, Code.UNAVAILABLE):
                raise
            await self.cloud.decide(await self._context(job_uuid), refusal_of(job_uuid, refused), fenced=job_uuid)
        return True

    async def _await_report(self, job: Job, wake: asyncio.Event) -> None:
        if job.target.startswith("job:"):
            self._pending[job.task_uuid] = (job.uuid, None)
            # Its end may be decided here, and never be written.
            child = await self.cloud.load(job.task_uuid) if await self._has_ended(job.task_uuid) else None
            if isinstance(child, Job) and child.ended:
                good = child.state is JobState.SUCCEEDED
                await self._record(job.uuid, job.task_uuid, Report(good, None, child.state.value, child.error))
                return
            self._drive(job.task_uuid)
            await self.ended(job.task_uuid, 3600)
            return
        sending = await self._made(job)
        if sending is None:
            return
        self._pending[job.task_uuid] = (job.uuid, sending)
        failpoint.hit("send.before")
        self.transport.send(sending)
        failpoint.hit("send.after")
        if job.cancel_requested and not job.undoing:
            self._pending.unwanted.add(job.task_uuid)
            self.transport.abort(job.target, job.task_uuid)
        left = (job.deadline - self.cloud.present()) / SECOND
        try:
            async with asyncio.timeout(max(left, 0.001)):
                await wake.wait()
        except TimeoutError:
            self.transport.abort(job.target, job.task_uuid)
            error = f"no report of {job.steps[job.index].name} in time: what it did is unknown"
            if job.target != NODE and not self.cloud.log.together() and not self.transport.reaches(job.target):
                error += f"; the agent of host {job.target} is not connected"
            await self._record(job.uuid, job.task_uuid, Report(False, None, "TIMEOUT", error))

    async def _made(self, job: Job, *, fenced: bool = True, final: bool = True) -> Sending | None:
        """The pending task; None when it can't be made, or need not be done any more, and that was written down.

        final: whether what refuses it now is believed to last; else the refusal is raised.
        """
        try:
            sending = await self._sending(job)
        except Refused as refused:
            if refused.code in (Code.ABORTED, Code.UNAVAILABLE) or not final:
                raise
            sending = None
        if sending is None:
            context = await self._context(job.uuid, job.task_uuid)
            if (await self.cloud.decide(context, not_sent(job), fenced=job.uuid if fenced else "")).value:
                self._forget(job.task_uuid)
        return sending

    async def _sending(self, job: Job) -> Sending | None:
        """The task of the recorded intent, made again from what is known: the log holds no arguments (no secrets)."""
        unit = Unit(self.cloud, await self._context(job.uuid), self.cloud.clock.now())
        task = await intended(unit, await unit.get(Job, job.uuid))
        if not isinstance(task, Task):
            return None
        return Sending(
            job.task_uuid,
            job.fence,
            task.resource_uuid or job.resource_uuid,
            task.target,
            task.args,
            step_of(job).timeout,
        )


__all__ = ["Report", "Runner", "Sending", "Transport"]
