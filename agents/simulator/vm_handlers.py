"""VMs of a simulated host."""

from __future__ import annotations

import ipaddress

from agents.runtime.task import TaskError
from agents.simulator.simulated import Simulated
from agents.simulator.world import Vm, World
from zcloud.v1.vm_instance_task_pb2 import (
    ChangeCdResult,
    ChangeCdTask,
    MigrateVmResult,
    MigrateVmTask,
    PauseVmResult,
    PauseVmTask,
    PrepareMigrationResult,
    PrepareMigrationTask,
    ReadVmResult,
    ReadVmTask,
    RebootVmResult,
    RebootVmTask,
    ResumeVmResult,
    ResumeVmTask,
    StartVmResult,
    StartVmTask,
    StopVmResult,
    StopVmTask,
    VmCdDrive,
    VmSpec,
)

ALIVE = ("Running", "Paused")


def boot(world: World, spec: VmSpec, state: str) -> Vm:
    """Start a VM if all that it needs is there."""
    uuid = spec.vm_instance_uuid
    need_all(world, spec)
    world.vms[uuid] = Vm(VmSpec.FromString(spec.SerializeToString()), state)
    return world.vms[uuid]


def need_all(world: World, spec: VmSpec) -> None:
    """Raise when something that the VM needs is not there."""
    uuid = spec.vm_instance_uuid
    world.need_hypervisor()
    if not spec.disks:
        raise TaskError("INVALID", f"VM {uuid} has no disk to boot from")
    for disk in spec.disks:
        if disk.path not in world.volumes:
            raise TaskError("NOT_FOUND", f"VM {uuid}: volume {disk.volume_uuid} is not at {disk.path}")
        backing = world.volumes[disk.path].backing_path
        while backing in world.volumes:
            backing = world.volumes[backing].backing_path
        if backing and backing not in world.cache:
            raise TaskError("NOT_FOUND", f"VM {uuid}: volume {disk.path} lacks its backing file {backing}")
        others = [user for user in world.users_of_path(disk.path) if user != uuid]
        if others:
            raise TaskError("REFUSED", f"VM {uuid}: volume {disk.path} is in use by VM {others[0]}")
    for drive in spec.cd_drives:
        need_iso(world, drive)
    for nic in spec.interfaces:
        if nic.bridge not in world.bridges:
            raise TaskError("NOT_FOUND", f"VM {uuid}: there is no bridge {nic.bridge}")
    if spec.memory_size > world.memory_available():
        raise TaskError(
            "NO_SPACE",
            f"VM {uuid} needs {spec.memory_size} bytes of memory, and {max(0, world.memory_available())} are left",
        )


def need_iso(world: World, drive: VmCdDrive) -> None:
    """Raise NOT_FOUND when the host lacks what is to lie in a drive."""
    if drive.path and drive.path not in world.cache:
        raise TaskError("NOT_FOUND", f"the ISO for CD drive {drive.device_id} is not at {drive.path}")


def switch(world: World, uuid: str, state: str) -> None:
    """Pause or resume a VM that is alive."""
    world.need_hypervisor()
    vm = world.vms.get(uuid)
    if vm is None:
        raise TaskError("NOT_FOUND", f"VM {uuid} does not run on this host")
    if vm.state not in ALIVE:
        raise TaskError("REFUSED", f"VM {uuid} is {vm.state}")
    vm.state = state


class StartVm(Simulated[StartVmTask, StartVmResult], task=StartVmTask, result=StartVmResult):
    def apply(self, args: StartVmTask) -> StartVmResult:
        self.world.need_hypervisor()
        vm = self.world.vms.get(args.spec.vm_instance_uuid)
        if vm is None or vm.state not in ALIVE:
            vm = boot(self.world, args.spec, "Paused" if args.paused else "Running")
        return StartVmResult(state=vm.state)


class StopVm(Simulated[StopVmTask, StopVmResult], task=StopVmTask, result=StopVmResult):
    def apply(self, args: StopVmTask) -> StopVmResult:
        self.world.need_hypervisor()
        vm = self.world.vms.pop(args.vm_instance_uuid, None)
        # A guest whose CPUs stand still, or which has crashed, cannot follow a request to shut down.
        return StopVmResult(forced=vm is not None and not args.cold and vm.state != "Running")


class RebootVm(Simulated[RebootVmTask, RebootVmResult], task=RebootVmTask, result=RebootVmResult):
    def apply(self, args: RebootVmTask) -> RebootVmResult:
        self.world.need_hypervisor()
        self.world.vms.pop(args.spec.vm_instance_uuid, None)
        boot(self.world, args.spec, "Running")
        return RebootVmResult()


class PauseVm(Simulated[PauseVmTask, PauseVmResult], task=PauseVmTask, result=PauseVmResult):
    def apply(self, args: PauseVmTask) -> PauseVmResult:
        switch(self.world, args.vm_instance_uuid, "Paused")
        return PauseVmResult()


class ResumeVm(Simulated[ResumeVmTask, ResumeVmResult], task=ResumeVmTask, result=ResumeVmResult):
    def apply(self, args: ResumeVmTask) -> ResumeVmResult:
        switch(self.world, args.vm_instance_uuid, "Running")
        return ResumeVmResult()


class ReadVm(Simulated[ReadVmTask, ReadVmResult], task=ReadVmTask, result=ReadVmResult):
    def apply(self, args: ReadVmTask) -> ReadVmResult:
        self.world.need_hypervisor()
        vm = self.world.vms.get(args.vm_instance_uuid)
        return ReadVmResult(state=vm.state if vm else "Stopped")


class ChangeCd(Simulated[ChangeCdTask, ChangeCdResult], task=ChangeCdTask, result=ChangeCdResult):
    def apply(self, args: ChangeCdTask) -> ChangeCdResult:
        self.world.need_hypervisor()
        need_iso(self.world, args.drive)
        vm = self.world.vms.get(args.vm_instance_uuid)
        for drive in vm.spec.cd_drives if vm is not None else ():
            if drive.device_id == args.drive.device_id:
                drive.path = args.drive.path
        return ChangeCdResult()


class PrepareMigration(
    Simulated[PrepareMigrationTask, PrepareMigrationResult], task=PrepareMigrationTask, result=PrepareMigrationResult
):
    """The host waits in the directory where the VM's volumes are."""

    def apply(self, args: PrepareMigrationTask) -> PrepareMigrationResult:
        vm = args.spec.vm_instance_uuid
        if vm not in self.world.vms:
            need_all(self.world, args.spec)
        for place, directory in self.world.mounts.items():
            if any(disk.path.startswith(f"{place}/") for disk in args.spec.disks):
                directory.waiting[vm] = self.world
        # The first of a network is this host's, as good as any other.
        address = str(ipaddress.ip_network(args.network)[1]) if args.network else args.address
        return PrepareMigrationResult(uri=f"simulator://{args.address}", address=address)


class MigrateVm(Simulated[MigrateVmTask, MigrateVmResult], task=MigrateVmTask, result=MigrateVmResult):
    """The VM is on one host or on the other, never on both."""

    def apply(self, args: MigrateVmTask) -> MigrateVmResult:
        self.world.need_hypervisor()
        vm = self.world.vms.get(args.vm_instance_uuid)
        found = [
            d.waiting[args.vm_instance_uuid] for d in self.world.mounts.values() if args.vm_instance_uuid in d.waiting
        ]
        if vm is None:
            if any(args.vm_instance_uuid in other.vms for other in found):
                return MigrateVmResult()
            raise TaskError("NOT_FOUND", f"VM {args.vm_instance_uuid} does not run on this host")
        if not found:
            raise TaskError("UNREACHABLE", f"no host at {args.address} waits for VM {args.vm_instance_uuid}")
        found[0].need_hypervisor()
        found[0].vms[args.vm_instance_uuid] = self.world.vms.pop(args.vm_instance_uuid)
        self.world.left_by[args.vm_instance_uuid] = args.address
        return MigrateVmResult()


HANDLERS = (StartVm, StopVm, RebootVm, PauseVm, ResumeVm, ReadVm, ChangeCd, PrepareMigration, MigrateVm)
