"""GetAllocationReport: the whole chain of filters over all hosts, for a VM that is only thought of (user-ask 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from projections.render import render
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.compute.new_vm import order_of
from zcloud.api.handlers import query
from zcloud.api.pipeline import check_references
from zcloud.domain.compute.candidates import candidates
from zcloud.domain.compute.host_allocator import AllocationReport
from zcloud.domain.compute.placement import survey
from zcloud.kernel.unit import Unit
from zcloud.v1 import common_pb2, vm_instance_pb2


@query("GetAllocationReport")
async def get_allocation_report(
    call: Call, request: vm_instance_pb2.GetAllocationReportRequest
) -> vm_instance_pb2.GetAllocationReportResponse:
    """Judged as CreateVmInstance would, short of opening the books; no host is no error here."""
    rules.check(request)

    async def look(unit: Unit) -> AllocationReport:
        await check_references(call, unit, request)
        order = await order_of(unit, request)
        report, best_first, _ = await survey(unit, order.need(), await candidates(unit))
        return replace(report, host_uuid=best_first[0].uuid) if best_first else report

    decision = await call.node.cloud.decide(call.context, look, dry_run=True)
    report: Any = render(common_pb2.AllocationReport, decision.value)
    return vm_instance_pb2.GetAllocationReportResponse(report=report)
