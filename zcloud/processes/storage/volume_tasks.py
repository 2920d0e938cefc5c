"""What hosts do with the files of volumes: which host is asked, and how each task is made."""

from __future__ import annotations

from zcloud.domain.compute.data_volumes import alive, vm_of
from zcloud.domain.storage.volume import Volume, VolumeStatus
from zcloud.domain.storage.volume_chain import VolumeChain
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Task
from zcloud.processes.compute.hosts import must_reach
from zcloud.v1.vm_instance_task_pb2 import VmDisk
from zcloud.v1.volume_task_pb2 import (
    AttachVolumeTask,
    CreateDataVolumeTask,
    DeleteVolumeTask,
    DetachVolumeTask,
    ReadVolumeTask,
    ResizeVolumeTask,
)


async def files(unit: Unit, volume: Volume) -> VolumeStatus:
    """Where the volume lies, and how far it is."""
    return await unit.companion(VolumeStatus, volume)


async def user_of(unit: Unit, volume: Volume) -> str:
    """The VM that has the volume's file open; empty when none can have."""
    it = await vm_of(unit, volume)
    return it.vm.uuid if it is not None and alive(it) else ""


async def create_task(unit: Unit, volume: Volume) -> Task:
    """Make the empty file."""
    disk = await files(unit, volume)
    await must_reach(unit, disk.host_uuid, "create the volume")
    return Task(disk.host_uuid, CreateDataVolumeTask(volume_uuid=volume.uuid, path=disk.install_path, size=volume.size))


async def delete_task(unit: Unit, volume: Volume) -> Task:
    """Remove its files, snapshots and all; what is not there is removed already."""
    disk = await files(unit, volume)
    paths = (await unit.companion(VolumeChain, volume)).paths
    task = DeleteVolumeTask(volume_uuid=volume.uuid, path=disk.install_path, more_paths=paths)
    return Task(disk.host_uuid, task)


async def plug_task(unit: Unit, volume: Volume, platform: str) -> Task:
    """Let the VM that runs have it."""
    disk = await files(unit, volume)
    await must_reach(unit, disk.host_uuid, "attach the volume")
    plug = VmDisk(volume_uuid=volume.uuid, path=disk.install_path, format=volume.format, device_id=volume.device_id)
    return Task(
        disk.host_uuid, AttachVolumeTask(vm_instance_uuid=volume.vm_instance_uuid, disk=plug, platform=platform)
    )


async def unplug_task(unit: Unit, volume: Volume) -> Task:
    """Let the VM that runs have it no longer."""
    disk = await files(unit, volume)
    task = DetachVolumeTask(vm_instance_uuid=volume.vm_instance_uuid, volume_uuid=volume.uuid, path=disk.install_path)
    return Task(disk.host_uuid, task)


async def resize_task(unit: Unit, volume: Volume, size: int) -> Task:
    """Let it grow, with the VM that has it."""
    disk = await files(unit, volume)
    await must_reach(unit, disk.host_uuid, "resize the volume")
    task = ResizeVolumeTask(
        vm_instance_uuid=await user_of(unit, volume), volume_uuid=volume.uuid, path=disk.install_path, size=size
    )
    return Task(disk.host_uuid, task)


async def read_task(unit: Unit, volume: Volume) -> Task:
    """What is it really?"""
    disk = await files(unit, volume)
    return Task(disk.host_uuid, ReadVolumeTask(volume_uuid=volume.uuid, path=disk.install_path))
