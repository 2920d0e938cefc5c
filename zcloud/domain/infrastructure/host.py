"""Host: a server that runs VMs (HST-01). Its status and its capacity lie in streams of their own."""

from __future__ import annotations

import enum
from typing import Any

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Code, Reason, Refused, invalid
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Resource

# What host/cpu.overProvisioning.ratio is by default; what was measured before the ratio was recorded had this one.
CPU_RATIO = 10
# kvm/reservedMemory of the reference, bytes.
RESERVED_MEMORY = 1 << 30


class HostState(enum.Enum):
    """The administrator's decision; scheduling needs Enabled (HST-05)."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PRE_MAINTENANCE = "PreMaintenance"
    MAINTENANCE = "Maintenance"


class Status(enum.Enum):
    """Health of the command channel; only a completed connect makes it Connected."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"


class Host(Resource, kind="host", abstract=True):
    """What all kinds of host have in common."""

    parents = {"cluster": "cluster_uuid"}  # noqa: RUF012
    delete_workflow = "delete_resource"

    state: HostState = HostState.ENABLED
    cluster_uuid: str = ""
    hypervisor_type: str = ""
    management_ip: str = ""

    class StateChanged(Event):
        """Enabled or Disabled by an administrator."""

        state: HostState

    def change_state(self, state_event: str) -> None:
        """state_event: enable or disable, from every state."""
        wanted = {"enable": HostState.ENABLED, "disable": HostState.DISABLED}[state_event]
        if wanted is not self.state:
            self.trigger(self.StateChanged(state=wanted))


class HostStatus(Companion, of="host", role="status"):
    """What is known of a host's command channel and hardware."""

    status: Status = Status.CONNECTING
    status_reason: str = ""
    hypervisor_version: str = ""
    os_version: str = ""
    nfs_client: str = ""

    class Connecting(Event):
        """A connect has begun."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.status_reason = Status.CONNECTING, ""

    class Connected(Event):
        """The connect is complete: the host may be given work."""

        hypervisor_version: str = ""
        os_version: str = ""
        nfs_client: str = ""

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.status_reason = Status.CONNECTED, ""
            aggregate.hypervisor_version, aggregate.os_version = self.hypervisor_version, self.os_version
            aggregate.nfs_client = self.nfs_client

    class Disconnected(Event):
        """The command channel was lost, or the connect failed."""

        reason: str

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.status_reason = Status.DISCONNECTED, self.reason

    def connecting(self) -> None:
        """A connect begins; it may begin again."""
        if self.status is not Status.CONNECTING or self.version == 0:
            self.trigger(self.Connecting())

    def connected(self, hypervisor_version: str, os_version: str, nfs_client: str = "") -> None:
        """Only the workflow that completed the connect may say so; a ping never does."""
        self.trigger(
            self.Connected(hypervisor_version=hypervisor_version, os_version=os_version, nfs_client=nfs_client)
        )

    def disconnected(self, reason: str) -> None:
        """Lost; saying so again is no event."""
        if self.status is not Status.DISCONNECTED:
            self.trigger(self.Disconnected(reason=reason))


class HostCapacity(Companion, of="host", role="capacity"):
    """CPU and memory of a host, and who has claimed how much; claims are keyed by VM, so that each counts once."""

    cpu_num: int = 0
    total_memory_capacity: int = 0
    cpu_ratio: int = CPU_RATIO
    claims: dict[str, tuple[int, int]] = {}  # noqa: RUF012 - replaced by folds

    class Measured(Event):
        """What the host has: physical CPUs, and bytes of memory. cpu_ratio: vCPUs given out for each CPU."""

        cpu_num: int
        total_memory_capacity: int
        cpu_ratio: int = CPU_RATIO

    class Claimed(Event):
        """A VM will use this much. cpu: vCPUs. memory: bytes."""

        vm_instance_uuid: str
        cpu_num: int
        memory_size: int

        def apply(self, aggregate: Any) -> None:
            aggregate.claims = {**aggregate.claims, self.vm_instance_uuid: (self.cpu_num, self.memory_size)}

    class Released(Event):
        """The VM uses nothing here any more."""

        vm_instance_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.claims = {k: v for k, v in aggregate.claims.items() if k != self.vm_instance_uuid}

    @property
    def total_cpu_capacity(self) -> int:
        """vCPUs after over-provisioning."""
        return self.cpu_num * self.cpu_ratio

    @property
    def available_cpu_capacity(self) -> int:
        """vCPUs not claimed."""
        return max(0, self.total_cpu_capacity - sum(cpu for cpu, _ in self.claims.values()))

    @property
    def available_memory_capacity(self) -> int:
        """Bytes not claimed, the reserve included."""
        return max(0, self.total_memory_capacity - sum(memory for _, memory in self.claims.values()))

    def measured(self, cpu_num: int, memory: int, cpu_ratio: int = CPU_RATIO) -> None:
        """The host has said what it has; the same again is no event."""
        if (cpu_num, memory, cpu_ratio) != (self.cpu_num, self.total_memory_capacity, self.cpu_ratio):
            self.trigger(self.Measured(cpu_num=cpu_num, total_memory_capacity=memory, cpu_ratio=cpu_ratio))

    def overprovisioned(self, cpu_ratio: int) -> None:
        """So many vCPUs for each CPU from now on; what is claimed stays, also when that is more."""
        if self.cpu_num:
            self.measured(self.cpu_num, self.total_memory_capacity, cpu_ratio)

    def lacks(self, cpu_num: int, memory_size: int, reserved: int = RESERVED_MEMORY) -> str:
        """Why a VM of this size does not fit; empty when it does. reserved: bytes that no VM may have."""
        if cpu_num > self.available_cpu_capacity:
            return f"{self.available_cpu_capacity} vCPUs left of {self.total_cpu_capacity}, {cpu_num} wanted"
        left = self.available_memory_capacity - reserved
        if memory_size > left:
            return f"{max(0, left)} bytes of memory left beside the reserve of {reserved}, {memory_size} wanted"
        return ""

    def claim(self, vm_instance_uuid: str, cpu_num: int, memory_size: int, reserved: int = RESERVED_MEMORY) -> None:
        """Reserve; claiming the same again is no event. Raises RESOURCE_EXHAUSTED."""
        if self.claims.get(vm_instance_uuid) == (cpu_num, memory_size):
            return
        lack = self.lacks(cpu_num, memory_size, reserved)
        if lack:
            text = f"host {self.uuid} has not enough room: {lack}"
            raise Refused(Code.RESOURCE_EXHAUSTED, Reason.NO_HOST_AVAILABLE, text)
        self.trigger(self.Claimed(vm_instance_uuid=vm_instance_uuid, cpu_num=cpu_num, memory_size=memory_size))

    def occupy(self, vm_instance_uuid: str, cpu_num: int, memory_size: int) -> None:
        """It uses this much, as a fact: booked whether or not there was thought to be room."""
        if self.claims.get(vm_instance_uuid) != (cpu_num, memory_size):
            self.trigger(self.Claimed(vm_instance_uuid=vm_instance_uuid, cpu_num=cpu_num, memory_size=memory_size))

    def release(self, vm_instance_uuid: str) -> None:
        """Give back; what is not claimed needs no event."""
        if vm_instance_uuid in self.claims:
            self.trigger(self.Released(vm_instance_uuid=vm_instance_uuid))


def must_be_address(field: str, value: str) -> None:
    """An address that other hosts can have as well is none."""
    if value in ("0.0.0.0", "255.255.255.255"):  # noqa: S104
        raise invalid(field, value, "must be the address of one host")
