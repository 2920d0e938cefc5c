"""QueryOperationLog and ExportOperationLog: the calls that were made, by the query language, and as CSV."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from projections.query.errors import QueryError
from projections.query.query import Page, run
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import query, stream
from zcloud.api.reading import refusal_of
from zcloud.v1 import operation_log_pb2 as pb

NEWEST = "create_date desc"
PAGE = 1000
COLUMNS = tuple(field.name for field in pb.OperationLog.DESCRIPTOR.fields)
# What a spreadsheet would take for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def _page(call: Call, **asked: Any) -> Page:
    log = call.node.calls.log

    def read() -> Page:
        with log.engine.connect() as connection:
            now = call.node.cloud.clock.now()
            return run(connection, log.model, log.models, viewer=call.viewer, now=now, **asked)

    try:
        return await asyncio.to_thread(read)
    except QueryError as error:
        raise refusal_of(error) from error


@query("QueryOperationLog")
async def query_operation_log(call: Call, request: pb.QueryOperationLogRequest) -> pb.QueryOperationLogResponse:
    """All calls that ended before this one began."""
    rules.check(request)
    await call.node.calls.flush()
    mask: FieldMask | None = request.read_mask if request.HasField("read_mask") else None
    page = await _page(
        call,
        filter=request.filter,
        order_by=request.order_by or NEWEST,
        page_size=request.page_size,
        page_token=request.page_token,
        read_mask=mask,
        count=request.count,
    )
    response = pb.QueryOperationLogResponse(next_page_token=page.next_page_token, total=page.total or 0)
    response.inventories.extend(page.messages)  # type: ignore[arg-type]
    return response


@stream("ExportOperationLog")
async def export_operation_log(
    call: Call, request: pb.ExportOperationLogRequest
) -> AsyncIterator[pb.ExportOperationLogResponse]:
    """Page by page, so that its length does not matter."""
    rules.check(request)
    await call.node.calls.flush()
    lines, token = [list(COLUMNS)], ""
    while True:
        page = await _page(call, filter=request.filter, order_by=NEWEST, page_size=PAGE, page_token=token)
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
