"""Keeps the newest of what a job has made of each target: the oldest goes first, never what others made (SCH-08)."""

from __future__ import annotations

import logging

from zcloud.domain.operations.scheduler_job import SchedulerJob, SchedulerJobRuns
from zcloud.domain.operations.scheduler_occurrence import SchedulerOccurrence, TargetState
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Actor, Context
from zcloud.kernel.errors import Refused
from zcloud.kernel.ids import derive
from zcloud.kernel.job import JobQueue
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.scheduling.order import Answer, Order

log = logging.getLogger(__name__)


async def keep_newest(cloud: Cloud, occurrence: SchedulerOccurrence) -> None:
    """After a run that went well. What could not be removed now is tried again after the next one."""
    for target in occurrence.targets:
        if target.state is not TargetState.SUCCEEDED:
            continue
        job, surplus = await _surplus(cloud, occurrence, target.target_uuid)
        for uuid in surplus:
            if job is not None:
                await _remove(cloud, occurrence, job, uuid)


async def _surplus(cloud: Cloud, occurrence: SchedulerOccurrence, target: str) -> tuple[SchedulerJob | None, list[str]]:
    """What is too much, oldest first; what is gone by itself is forgotten."""

    async def look(unit: Unit) -> tuple[SchedulerJob | None, list[str]]:
        job = await unit.find(SchedulerJob, occurrence.scheduler_job_uuid)
        if job is None or not job.reserved_snapshots:
            return None, []
        runs = await unit.companion(SchedulerJobRuns, job)
        made = runs.products.get(target, ())
        there = [uuid for uuid in made if await unit.find(Resource, uuid) is not None]
        gone = tuple(uuid for uuid in made if uuid not in there)
        if gone:
            runs.trigger(SchedulerJobRuns.Forgotten(resource_uuid=target, product_uuids=gone))
        return job, [uuid for uuid in there[: -job.reserved_snapshots] if not await _is_going(unit, uuid)]

    context = Context(
        actor=Actor(account_uuid=occurrence.account_uuid, account_name="scheduler"),
        origin="scheduler",
        causation_id=occurrence.uuid,
        correlation_id=occurrence.uuid,
    )
    found: tuple[SchedulerJob | None, list[str]] = (await cloud.decide(context, look)).value
    return found


async def _is_going(unit: Unit, uuid: str) -> bool:
    resource = await unit.get(Resource, uuid)
    return bool(resource.deleting_job or (await unit.companion(JobQueue, resource)).jobs)


def camel(kind: str) -> str:
    """volume_snapshot -> VolumeSnapshot."""
    return "".join(part.capitalize() for part in kind.split("_"))


async def _remove(cloud: Cloud, occurrence: SchedulerOccurrence, job: SchedulerJob, uuid: str) -> None:
    async def answered(unit: Unit, answer: Answer) -> None:
        del unit, answer

    product = await cloud.load(uuid)
    names = [f"Delete{camel(kind)}" for kind in product.kinds] if isinstance(product, Resource) else []
    name = next((name for name in names if cloud.ports["actions"].knows(name)), "")
    if not name:
        return
    order = Order(
        action=name,
        field="uuid",
        target=uuid,
        arguments="",
        made_by=job.acts_as,
        source=f"scheduler:{occurrence.scheduler_uuid}",
        request_id=derive(occurrence.uuid, "remove", uuid),
        reason=f'scheduled job "{job.name}" keeps the newest {job.reserved_snapshots}',
        cause=occurrence.uuid,
        name="",
        answered=answered,
    )
    try:
        await cloud.ports["actions"].act(order)
    except Refused as refused:
        log.warning("scheduled job %s cannot remove %s: %s", job.uuid, uuid, refused.message)
