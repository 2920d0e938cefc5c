"""Records what stays on hosts that can't be reached: what a deletion passed over, and what lies on hosts that are gone.

Others add to a host's debt with owe(); who reads it is collect_host_debt.
"""

from __future__ import annotations

from zcloud.domain.compute.vm_status import VmInstanceStatus
from zcloud.domain.infrastructure.host import Host
from zcloud.domain.infrastructure.host_debt import AGENT, HostDebt, OwedItem, debt_uuids
from zcloud.domain.infrastructure.kvm_host import KvmHost
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import bridge_of
from zcloud.domain.storage.volume import Volume, VolumeStatus
from zcloud.domain.storage.volume_chain import VolumeChain
from zcloud.kernel.job import Job, StepState
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.deletion import CLEANUP

UNREACHED = "the host could not be reached"


async def owe(unit: Unit, host_uuid: str, item: OwedItem) -> None:
    """Let the host owe it; of a host that was never ours nobody will collect anything."""
    host = await unit.last(Host, host_uuid)
    if host is None:
        return
    uuids = debt_uuids(host_uuid)
    debt = await unit.find(HostDebt, *uuids)
    if debt is None:
        debt = await unit.new(HostDebt, uuids.uuid, account_uuid=host.account_uuid)
        debt.create(name=host.name, zone_uuid=host.zone_uuid, host_uuid=host_uuid, management_ip=host.management_ip)
    debt.owe(item)


def passed_over(job: Job, *names: str) -> str:
    """Why one of these steps was given up; empty when none was."""
    return next((s.error for s in job.steps if s.name in names and s.state is StepState.SKIPPED and s.error), "")


async def owe_stop(unit: Unit, job: Job, status: VmInstanceStatus) -> None:
    """A VM whose stop was given up may still run where it was."""
    why = passed_over(job, "stop")
    if why and status.host_uuid:
        await owe(unit, status.host_uuid, OwedItem("vm_instance", job.resource_uuid, reason=why))


async def owe_files(unit: Unit, job: Job, volume: Volume) -> None:
    """Files that were not removed, since their host was away or is gone; before the books forget where they lie."""
    disk = await unit.companion(VolumeStatus, volume)
    if not disk.install_path or not disk.host_uuid:
        return
    why = passed_over(job, "delete_files", "delete_root_volume")
    if not why and await unit.find(Host, disk.host_uuid) is None:
        why = "the host was deleted before"
    if why:
        paths = (disk.install_path, *(await unit.companion(VolumeChain, volume)).paths)
        await owe(unit, disk.host_uuid, OwedItem("volume", volume.uuid, paths=paths, reason=why))


async def host_goes(unit: Unit, host: Resource) -> None:
    """Networks that are still recorded were not removed, and neither was the agent if its step was passed over."""
    if not isinstance(host, Host) or not host.deleting_job:
        return  # one that could not be added takes back what it made
    job = await unit.get(Job, host.deleting_job)
    networks = await unit.companion(HostNetworks, host)
    for l2_uuid, bridge in sorted(networks.bridges.items()):
        for l3_uuid in await unit.port("views").where("l3_network", l2_network_uuid=l2_uuid):
            if networks.cleared_by.get(l3_uuid) != job.uuid:
                await owe(unit, host.uuid, OwedItem("l3_network", l3_uuid, bridge_of(l2_uuid), reason=UNREACHED))
        item = OwedItem("l2_network", l2_uuid, bridge.physical_interface, reason=UNREACHED)
        await owe(unit, host.uuid, item)
    for l3_uuid in networks.stale_dhcp:
        await owe(unit, host.uuid, OwedItem("l3_network", l3_uuid, reason=UNREACHED))
    why = passed_over(job, "remove_agent")
    if why and isinstance(host, KvmHost):
        await owe(unit, host.uuid, OwedItem(AGENT, host.uuid, reason=why))


# Before the others forget what there was.
CLEANUP.setdefault("host", []).insert(0, host_goes)
