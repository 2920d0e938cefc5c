"""The tasks on volumes that a guest may have open: attach, detach, resize."""

from __future__ import annotations

import asyncio
from typing import Any

from agents.kvm import disks
from agents.kvm.copying import CopyVolumes
from agents.kvm.hypervisor import Hypervisor
from agents.runtime.task import Handler, Work
from agents.storage.data_volumes import read
from agents.storage.volumes import qemu_img, volume_path
from zcloud.v1.volume_task_pb2 import (
    AttachVolumeResult,
    AttachVolumeTask,
    DetachVolumeResult,
    DetachVolumeTask,
    ResizeVolumeResult,
    ResizeVolumeTask,
)


def volume_handlers(hypervisor: Hypervisor) -> list[Handler[Any, Any]]:
    """One handler for each."""
    return [AttachVolume(hypervisor), DetachVolume(hypervisor), ResizeVolume(hypervisor), CopyVolumes(hypervisor)]


class AttachVolume(Handler[AttachVolumeTask, AttachVolumeResult], task=AttachVolumeTask, result=AttachVolumeResult):
    """A disk that is plugged in already is success."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    async def run(self, args: AttachVolumeTask, work: Work) -> AttachVolumeResult:
        work.check()
        volume_path(args.disk.path, args.disk.volume_uuid)
        await self._hypervisor.call(
            lambda connection: disks.attach(connection, args.vm_instance_uuid, args.disk, args.platform)
        )
        return AttachVolumeResult()


class DetachVolume(Handler[DetachVolumeTask, DetachVolumeResult], task=DetachVolumeTask, result=DetachVolumeResult):
    """A disk that is not there is success."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    async def run(self, args: DetachVolumeTask, work: Work) -> DetachVolumeResult:
        await self._hypervisor.call(
            lambda connection: disks.detach(connection, args.vm_instance_uuid, args.path, work.check)
        )
        return DetachVolumeResult()


class ResizeVolume(Handler[ResizeVolumeTask, ResizeVolumeResult], task=ResizeVolumeTask, result=ResizeVolumeResult):
    """By the hypervisor while a guest runs with it; it is never made smaller."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    async def run(self, args: ResizeVolumeTask, work: Work) -> ResizeVolumeResult:
        work.check()
        path = volume_path(args.path, args.volume_uuid)
        now = await asyncio.to_thread(read, path)
        if now.size < args.size:
            running = await self._hypervisor.call(
                lambda connection: disks.resize(connection, args.vm_instance_uuid, args.path, args.size)
            )
            if not running:
                await qemu_img("resize", "-q", "-f", "qcow2", "--", str(path), str(args.size))
            now = await asyncio.to_thread(read, path)
        return ResizeVolumeResult(size=now.size, actual_size=now.actual_size)
