"""What networks leave on a host is removed when the host is deleted, before its agent goes (HST-04)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.network.host_networks import HostNetworks
from zcloud.kernel.job import Job
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, Task
from zcloud.processes.infrastructure import delete_host  # noqa: F401 - its steps are there before these
from zcloud.processes.network import bridges
from zcloud.processes.operations.deletion import STEPS, on_delete


async def following(unit: Unit, job: Job) -> Task | None:
    """Network by network: DHCP servers, then the bridge."""
    networks = await unit.companion_of(HostNetworks, job.resource_uuid)
    for l2_uuid, bridge in sorted(networks.bridges.items()):
        l3_uuids = await unit.port("views").where("l3_network", l2_network_uuid=l2_uuid)
        return await bridges.next_removal(unit, job, job.resource_uuid, l2_uuid, bridge.physical_interface, l3_uuids)
    return None


async def do(unit: Unit, job: Job) -> Task | None:
    """A host that can't be reached keeps what it has; whoever has it now is told by the job."""
    return await following(unit, job) if await bridges.reachable(unit, job, job.resource_uuid) else None


async def done(unit: Unit, job: Job, result: Any) -> None:
    """It is gone."""
    await bridges.record(unit, job, await following(unit, job))


CLEAR = Step("networks", do, done, timeout=120, repeat=True, tolerant=True)
# The agent goes last.
STEPS["kvm_host"] = (CLEAR, *STEPS["kvm_host"])
STEPS["simulator_host"] = (CLEAR, *STEPS.get("simulator_host", ()))


@on_delete("host")
async def host_gone(unit: Unit, host: Resource) -> None:
    """Nothing is known of it any more."""
    (await unit.companion(HostNetworks, host)).close()
