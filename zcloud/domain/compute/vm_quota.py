"""What a VM counts towards its account's quotas (ACC-06): deleted ones no more, CPU and memory while it has a host."""

from __future__ import annotations

from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_state import AT_REST, VmState
from zcloud.domain.compute.vm_status import VmInstanceStatus
from zcloud.domain.identity.quotas import measures, quota

TOTAL = quota("vm.totalNum", "20", "VMs that are not deleted.")
RUNNING = quota("vm.num", "20", "VMs that run.")
CPU = quota("vm.cpuNum", "80", "vCPUs of VMs that run.")
MEMORY = quota("vm.memorySize", "85899345920", "bytes of memory of VMs that run.")


@measures("vm_instance", VmInstanceStatus)
def vm_uses(vm: VmInstance, status: VmInstanceStatus) -> dict[str, int]:
    """A VM counts as running in every state in which a host may have something of it."""
    used = {} if status.state in (VmState.DESTROYED, VmState.EXPUNGING) else {TOTAL: 1}
    waits = status.state is VmState.STARTING and not status.host_uuid
    if status.state in AT_REST or status.state is VmState.DESTROYING or waits:
        return used
    return {**used, RUNNING: 1, CPU: vm.cpu_num, MEMORY: vm.memory_size}
