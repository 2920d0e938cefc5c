"""What there is on one simulated host, and the rules of a real one about it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from agents.runtime.task import TaskError
from agents.simulator.directory import THIN_BYTES, Directory, Files
from zcloud.v1.agent_pb2 import HostInventory, ObservedVm
from zcloud.v1.network_task_pb2 import DhcpEntry
from zcloud.v1.primary_storage_task_pb2 import StorageMountSeen, StorageNetwork, StorageNetworkSeen
from zcloud.v1.vm_instance_task_pb2 import VmSpec

GIB = 1 << 30


@dataclass
class Vm:
    """A VM that the hypervisor knows: Running, Paused or Crashed. One that is stopped is not there."""

    spec: VmSpec
    state: str


@dataclass
class Volume:
    """A qcow2 file. data: what a guest wrote to it; what it did not is found in the file below."""

    uuid: str
    backing_path: str
    size: int
    data: dict[str, str] = field(default_factory=dict, compare=False)


@dataclass
class DhcpServer:
    """The DHCP server of one L3 network, with its entries by MAC address."""

    bridge: str
    entries: dict[str, DhcpEntry] = field(default_factory=dict)


@dataclass
class World:
    """Files by path, bridges by name, VMs by uuid. Lives in memory: it ends with the process, as its VMs do."""

    cpu_num: int = 64
    memory_size: int = 256 * GIB
    disk_size: int = 1024 * GIB
    hypervisor_error: str = ""
    vms: dict[str, Vm] = field(default_factory=dict)
    # Directories that the operator has mounted, by path.
    mounts: dict[str, Directory] = field(default_factory=dict)
    # What NFS servers offer, by server and path.
    exports: dict[str, Directory] = field(default_factory=dict)
    # Of backup storages, that are on a share of the host.
    shared_files: set[str] = field(default_factory=set)
    # Of the host, on all its networks, and those that do not answer it.
    addresses: tuple[str, ...] = ()
    silent: set[str] = field(default_factory=set)
    # By storage.
    storage_networks: dict[str, StorageNetwork] = field(default_factory=dict)
    # What is mounted for storages that several hosts share, and why it cannot be used.
    storage_mounts: dict[str, str] = field(default_factory=dict)
    mount_errors: dict[str, str] = field(default_factory=dict)
    # Processes that had it mounted and have ended, the last of each.
    mount_ended: dict[str, str] = field(default_factory=dict)
    volumes: Files[Volume] = field(init=False)
    cache: Files[int] = field(init=False)
    storages: set[str] = field(default_factory=set)
    # Bridge to its physical device.
    bridges: dict[str, str] = field(default_factory=dict)
    dhcp: dict[str, DhcpServer] = field(default_factory=dict)
    # Whether backup storages are real, and get what is sent to them.
    sends: bool = False
    # By which addresses VMs left for other hosts.
    left_by: dict[str, str] = field(default_factory=dict)
    changes: asyncio.Queue[HostInventory] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.volumes = Files("volumes", self.mounts)
        self.cache = Files("cache", self.mounts)

    @property
    def disk_available(self) -> int:
        """Bytes that are left on the only disk."""
        return self.disk_size - sum(self.cache.own.values()) - THIN_BYTES * len(self.volumes.own)

    def memory_available(self) -> int:
        """Bytes that no VM has."""
        return self.memory_size - sum(vm.spec.memory_size for vm in self.vms.values() if vm.state != "Crashed")

    def need_disk(self, size: int, what: str) -> None:
        """Raise NO_SPACE when it does not fit."""
        if size > self.disk_available:
            raise TaskError("NO_SPACE", f"{what} needs {size} bytes, and {self.disk_available} are left")

    def need_hypervisor(self) -> None:
        """Raise UNREACHABLE while the hypervisor is told to be dead."""
        if self.hypervisor_error:
            raise TaskError("UNREACHABLE", self.hypervisor_error)

    def users_of_path(self, path: str) -> list[str]:
        """VMs that have this file open."""
        return [uuid for uuid, vm in self.vms.items() if any(disk.path == path for disk in vm.spec.disks)]

    def users_of_bridge(self, bridge: str) -> list[str]:
        """VMs that are plugged into this bridge."""
        return [uuid for uuid, vm in self.vms.items() if any(nic.bridge == bridge for nic in vm.spec.interfaces)]

    def inventory(self) -> HostInventory:
        """All that is really there."""
        self.need_hypervisor()
        return HostInventory(
            vms=[ObservedVm(vm_instance_uuid=uuid, state=vm.state) for uuid, vm in self.vms.items()],
            local_storage_total=self.disk_size,
            local_storage_available=max(0, self.disk_available),
            complete=True,
            storage_networks=[
                self.storage_network(uuid) for uuid, network in self.storage_networks.items() if network.cidr
            ],
            storage_mounts=[self.storage_mount(uuid) for uuid in self.storage_mounts],
        )

    def storage_network(self, primary_storage_uuid: str) -> StorageNetworkSeen:
        """What is to be seen of it; nothing where there is none."""
        network = self.storage_networks.get(primary_storage_uuid)
        if network is None or not network.cidr:
            return StorageNetworkSeen()
        return StorageNetworkSeen(
            primary_storage_uuid=primary_storage_uuid,
            cidr=network.cidr,
            addresses=self.addresses,
            answering=[peer for peer in network.peers if peer not in self.silent],
            silent=[peer for peer in network.peers if peer in self.silent],
            peers=network.peers,
        )

    def storage_mount(self, primary_storage_uuid: str) -> StorageMountSeen:
        """How what is mounted for it is."""
        error = self.mount_errors.get(primary_storage_uuid, "")
        ended = self.mount_ended.get(primary_storage_uuid, "")
        seen = StorageMountSeen(primary_storage_uuid=primary_storage_uuid, error=error, ended_process=ended)
        directory = self.mounts.get(self.storage_mounts[primary_storage_uuid])
        if directory is not None and not error:
            seen.total_capacity, seen.available_capacity = directory.size, directory.available
        return seen

    def mount_breaks(self, primary_storage_uuid: str, error: str) -> None:
        """What is mounted for a storage cannot be used, or can be again, and the host says so."""
        self.mount_errors[primary_storage_uuid] = error
        self.changes.put_nowait(HostInventory(storage_mounts=[self.storage_mount(primary_storage_uuid)]))

    def guest_powers_off(self, vm_instance_uuid: str) -> None:
        """The guest ends by itself, and the host says so."""
        self.vms.pop(vm_instance_uuid)
        self._changed(vm_instance_uuid, "Stopped")

    def guest_crashes(self, vm_instance_uuid: str) -> None:
        """The guest panics, and the host says so."""
        self.vms[vm_instance_uuid].state = "Crashed"
        self._changed(vm_instance_uuid, "Crashed")

    def _changed(self, vm_instance_uuid: str, state: str) -> None:
        change = HostInventory(vms=[ObservedVm(vm_instance_uuid=vm_instance_uuid, state=state)])
        self.changes.put_nowait(change)
