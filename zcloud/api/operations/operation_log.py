"""QueryOperationLog and ExportOperationLog: the calls that were made, by the query language, and as CSV."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import Connection

from projections.query.errors import QueryError
from projections.query.query import Page, run
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import query, stream
from zcloud.api.operations.job import job_of
from zcloud.api.operations.operation_scope import scope_of
from zcloud.api.reading import refusal_of
from zcloud.kernel.errors import Refused
from zcloud.v1 import job_pb2 as pb_job
from zcloud.v1 import operation_log_pb2 as pb

NEWEST = "create_date desc"
PAGE = 1000
COLUMNS = tuple(field.name for field in pb.OperationLog.DESCRIPTOR.fields)
# What a spreadsheet would take for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def _page(call: Call, **asked: Any) -> Page:
    log = call.node.calls.log

    def read(connection: Connection) -> Page:
        now = call.node.cloud.clock.now()
        return run(connection, log.model, log.models, viewer=call.viewer, now=now, **asked)

    try:
        return await asyncio.to_thread(log.read, read)
    except QueryError as error:
        raise refusal_of(error) from error


@query("QueryOperationLog")
async def query_operation_log(call: Call, request: pb.QueryOperationLogRequest) -> pb.QueryOperationLogResponse:
    """All calls that ended before this one began, with their jobs as they are now."""
    rules.check(request)
    await call.node.calls.flush()
    within = await scope_of(call, request.about_uuid, ongoing=request.ongoing)
    mask: FieldMask | None = request.read_mask if request.HasField("read_mask") else None
    page = await _page(
        call,
        filter=request.filter,
        order_by=request.order_by or NEWEST,
        page_size=request.page_size,
        page_token=request.page_token,
        read_mask=mask,
        count=request.count,
        within=within,
        scope=f"{request.about_uuid} {request.ongoing}",
    )
    response = pb.QueryOperationLogResponse(next_page_token=page.next_page_token, total=page.total or 0)
    response.inventories.extend(page.messages)  # type: ignore[arg-type]
    response.jobs.extend(await _jobs(call, page))
    return response


async def _jobs(call: Call, page: Page) -> list[pb_job.Job]:
    calls = [pb.OperationLog.FromString(document) for document in page.documents]
    found = []
    for uuid in dict.fromkeys(made.job_uuid for made in calls if made.job_uuid):
        with contextlib.suppress(Refused):  # of a call that wrote nothing, to see what it would do
            found.append(await job_of(call, uuid))
    return found


@stream("ExportOperationLog")
async def export_operation_log(
    call: Call, request: pb.ExportOperationLogRequest
) -> AsyncIterator[pb.ExportOperationLogResponse]:
    """Page by page, so that its length does not matter."""
    rules.check(request)
    await call.node.calls.flush()
    within = await scope_of(call, request.about_uuid)
    lines, token = [list(COLUMNS)], ""
    while True:
        page = await _page(
            call, filter=request.filter, order_by=NEWEST, page_size=PAGE, page_token=token, within=within
        )
        lines += [[_cell(message, name) for name in COLUMNS] for message in page.messages]
        text = io.StringIO()
        csv.writer(text).writerows(lines)
        yield pb.ExportOperationLogResponse(csv=text.getvalue())
        lines, token = [], page.next_page_token
        if not token:
            return


def _cell(message: Any, name: str) -> str:
    value = getattr(message, name)
    text = value.ToJsonString() if hasattr(value, "ToJsonString") else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
