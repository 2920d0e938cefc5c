"""What is not standard about host debts: they are written off."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.domain.infrastructure.host_debt import HostDebt
from zcloud.kernel.unit import Unit


@command("WriteOffHostDebt")
async def write_off_host_debt(call: Call, unit: Unit, request: Any) -> HostDebt:
    """What is owed there stays there (HST-04)."""
    debt = await unit.get(HostDebt, request.uuid)
    debt.write_off()
    return debt
