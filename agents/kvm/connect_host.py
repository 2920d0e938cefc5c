"""The task that brings a host into the cloud: what hypervisor there is, and how large the machine."""

from __future__ import annotations

import asyncio
import platform

import libvirt

from agents.kvm.hypervisor import Hypervisor
from agents.kvm.virtualization import operating_system, version, virtualization
from agents.runtime.task import Handler, TaskError, Work
from agents.storage.nfs import client as nfs
from zcloud.v1.host_task_pb2 import ConnectHostResult, ConnectHostTask, RunningVm

KIB = 1024
# libvirt that was started a moment ago, as at boot, may not answer yet.
PATIENCE_SECONDS = 15.0


class ConnectHost(Handler[ConnectHostTask, ConnectHostResult], task=ConnectHostTask, result=ConnectHostResult):
    """Reads only, so after a crash it is simply done again."""

    def __init__(self, hypervisor: Hypervisor, host_uuid: str, patience: float = PATIENCE_SECONDS) -> None:
        self._hypervisor = hypervisor
        self._host_uuid = host_uuid
        self._patience = patience

    async def run(self, args: ConnectHostTask, work: Work) -> ConnectHostResult:
        if args.host_uuid != self._host_uuid:
            raise TaskError("REFUSED", f"this is the agent of host {self._host_uuid}, not of {args.host_uuid}")
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        while (error := self._hypervisor.error()) and loop.time() < end:
            work.check()
            await asyncio.sleep(0.1)
        if error:
            raise TaskError("UNREACHABLE", error)
        result = await self._hypervisor.call(_capabilities)
        for vm in (await self._hypervisor.inventory()).vms:
            result.vms.append(RunningVm(vm_instance_uuid=vm.vm_instance_uuid, state=vm.state))
        result.nfs_client = await nfs.find()
        return result


def _capabilities(connection: libvirt.virConnect) -> ConnectHostResult:
    _model, _memory, cpu_num, *_topology = connection.getInfo()
    # Not getInfo's memory: that is the sum of the NUMA nodes, which leaves out what was plugged in later.
    memory = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)["total"]
    kind = "KVM" if virtualization(connection, platform.machine()) == "kvm" else "emulation"
    return ConnectHostResult(
        cpu_num=cpu_num,
        memory_size=memory * KIB,
        hypervisor_version=f"QEMU {version(connection.getVersion())} ({kind})",
        os_version=operating_system(),
    )
