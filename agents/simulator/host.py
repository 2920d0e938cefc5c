"""One simulated host: a world, a pace, and a handler for each task that a real host does."""

from __future__ import annotations

import asyncio
from typing import Any

from agents.runtime.task import Handler
from agents.simulator import (
    export_handlers,
    network_handlers,
    snapshot_handlers,
    storage_handlers,
    vm_handlers,
    volume_handlers,
)
from agents.simulator.faults import Faults, Pace
from agents.simulator.simulated import Simulated
from agents.simulator.world import GIB, World
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.host_task_pb2 import ConnectHostResult, ConnectHostTask, RunningVm


class ConnectHost(Simulated[ConnectHostTask, ConnectHostResult], task=ConnectHostTask, result=ConnectHostResult):
    """Says what there is."""

    def apply(self, args: ConnectHostTask) -> ConnectHostResult:
        del args
        self.world.need_hypervisor()
        return ConnectHostResult(
            cpu_num=self.world.cpu_num,
            memory_size=self.world.memory_size,
            hypervisor_version="simulator 1",
            os_version="simulator",
            vms=[RunningVm(vm_instance_uuid=uuid, state=vm.state) for uuid, vm in self.world.vms.items()],
        )


HANDLERS: tuple[type[Simulated[Any, Any]], ...] = (
    ConnectHost,
    *storage_handlers.HANDLERS,
    *network_handlers.HANDLERS,
    *vm_handlers.HANDLERS,
    *volume_handlers.HANDLERS,
    *snapshot_handlers.HANDLERS,
    *export_handlers.HANDLERS,
)
TASK_NAMES = frozenset(handler.task.DESCRIPTOR.name for handler in HANDLERS)


class SimulatedHost:
    """What an agent needs of a host, in memory; of use in tests without any agent, too."""

    def __init__(
        self,
        host_uuid: str,
        cpu_num: int = 64,
        memory_size: int = 256 * GIB,
        disk_size: int = 1024 * GIB,
        delay: float = 0.0,
        faults: Faults | None = None,
    ) -> None:
        self.host_uuid = host_uuid
        self.world = World(cpu_num=cpu_num, memory_size=memory_size, disk_size=disk_size)
        self.pace = Pace(delay, faults)

    def handlers(self) -> list[Handler[Any, Any]]:
        """All tasks of hosts."""
        return [handler(self.world, self.pace) for handler in HANDLERS]

    async def inventory(self) -> HostInventory:
        """What is really there."""
        return self.world.inventory()

    def hypervisor_error(self) -> str:
        """Empty, unless the hypervisor was told to be dead."""
        return self.world.hypervisor_error

    @property
    def changes(self) -> asyncio.Queue[HostInventory]:
        """What guests did by themselves."""
        return self.world.changes
