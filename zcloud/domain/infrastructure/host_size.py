"""How much hosts can take: what was measured, and the over-provisioning that the cloud is set to."""

from __future__ import annotations

from zcloud.domain.infrastructure.host import Host, HostCapacity
from zcloud.domain.operations.global_config import on_change, setting_int
from zcloud.kernel.unit import Unit

RATIO = ("host", "cpu.overProvisioning.ratio")


async def measured(unit: Unit, host: Host, cpu_num: int, memory: int) -> None:
    """The host has so many CPUs and bytes of memory."""
    (await unit.companion(HostCapacity, host)).measured(cpu_num, memory, await setting_int(unit, *RATIO, of=host))


@on_change(*RATIO)
async def overprovision(unit: Unit, value: str) -> None:
    """All hosts, in the append that changes the setting; one that is added meanwhile follows when it connects."""
    del value  # a host may have one of its own
    for uuid in await unit.port("views").where("host"):
        host = await unit.find(Host, uuid)
        if host is not None:
            (await unit.companion(HostCapacity, host)).overprovisioned(await setting_int(unit, *RATIO, of=host))
