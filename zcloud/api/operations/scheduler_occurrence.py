"""Calls on occurrences: cancelling one, and the report of how they ended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from projections.query.viewer import visible
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.api.operations.scheduler import micros
from zcloud.domain.operations.recurrence import zone
from zcloud.domain.operations.scheduler_occurrence import OccurrenceState, SchedulerOccurrence
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import invalid
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.scheduling.closing import cancel
from zcloud.v1 import scheduler_pb2 as pb

Period = pb.GetSchedulerExecutionReportRequest.Period
# How far a report may reach, so that it has an end.
LONGEST = {
    Period.PERIOD_HOUR: timedelta(days=31),
    Period.PERIOD_DAY: timedelta(days=732),
    Period.PERIOD_MONTH: timedelta(days=3660),
}
COLUMNS = {
    OccurrenceState.WAITING: "running",
    OccurrenceState.RUNNING: "running",
    OccurrenceState.SUCCEEDED: "succeeded",
    OccurrenceState.FAILED: "failed",
    OccurrenceState.SKIPPED: "skipped",
    OccurrenceState.MISSED: "missed",
    OccurrenceState.CANCELED: "canceled",
}


@command("CancelSchedulerOccurrence")
async def cancel_scheduler_occurrence(call: Call, unit: Unit, request: Any) -> SchedulerOccurrence:
    """What is not yet called is not called, and jobs are asked to stop."""
    occurrence = await unit.get(SchedulerOccurrence, request.uuid)
    await cancel(unit, occurrence)
    return occurrence


@query("GetSchedulerExecutionReport")
async def report(call: Call, request: pb.GetSchedulerExecutionReportRequest) -> pb.GetSchedulerExecutionReportResponse:
    """By planned moment, of what the caller may see."""
    rules.check(request)
    node = call.node
    begin = micros(request.from_time)
    end = micros(request.to_time) if request.HasField("to_time") else node.cloud.clock.now()
    name = request.time_zone or "UTC"
    try:
        zone(name)
    except (ValueError, KeyError, OSError):
        raise invalid("time_zone", name, "must be a name of the IANA database, such as Europe/Berlin or UTC") from None
    if end <= begin:
        raise invalid("to_time", request.to_time.ToJsonString(), "must be later than from_time")
    longest = LONGEST[request.period]
    if end - begin > longest // timedelta(microseconds=1):
        raise invalid("from_time", request.from_time.ToJsonString(), f"must be within {longest.days} days of to_time")
    model = node.models["scheduler_occurrence"]
    table = model.table
    rows = select(table.c.planned_date, table.c.state, table.c.missed_count).where(
        table.c.planned_date >= begin, table.c.planned_date < end, visible(model, node.models, table, call.viewer)
    )
    for column in ("scheduler_uuid", "scheduler_job_uuid"):
        if getattr(request, column):
            rows = rows.where(table.c[column] == getattr(request, column))
    await node.follower.reached(node.cloud.log.head)

    def read() -> pb.GetSchedulerExecutionReportResponse:
        with node.engine.connect() as connection:
            return _report(connection.execute(rows), request.period, name)

    return await asyncio.to_thread(read)


def _report(rows: Any, period: int, name: str) -> pb.GetSchedulerExecutionReportResponse:
    found: dict[int, pb.SchedulerExecutionPeriod] = {}
    for planned, state, missed in rows:
        begin = _begin(planned, period, name)
        row = found.setdefault(begin, pb.SchedulerExecutionPeriod())
        column = COLUMNS[OccurrenceState(state)]
        number = (missed or 1) if column == "missed" else 1
        row.total += number
        setattr(row, column, getattr(row, column) + number)
    response = pb.GetSchedulerExecutionReportResponse()
    for begin in sorted(found):
        found[begin].begin.FromMicroseconds(begin)
        response.periods.append(found[begin])
    return response


def _begin(instant: int, period: int, name: str) -> int:
    local = datetime.fromtimestamp(instant // SECOND, UTC).astimezone(zone(name))
    if period == Period.PERIOD_HOUR:
        return (instant // SECOND - local.minute * 60 - local.second) * SECOND
    first = local.replace(hour=0, minute=0, second=0, fold=0, day=local.day if period == Period.PERIOD_DAY else 1)
    return int(first.timestamp()) * SECOND
