"""Copies of volumes as they are at one moment, whether a guest runs with them or not (VM-24, VM-25)."""

from __future__ import annotations

import asyncio
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import libvirt

from agents.kvm.chains import POLL_SECONDS, Chains, is_ready
from agents.kvm.disks import disk_of
from agents.kvm.hypervisor import Hypervisor
from agents.runtime.task import Handler, TaskError, Work
from agents.storage.local_storage import storage_error
from agents.storage.paths import checked_path, regular_file, remove_empty_parent, variables_of
from agents.storage.volumes import publish, qemu_img, taken, volume_path
from zcloud.v1.volume_task_pb2 import CopiedVolume, CopyVolumesResult, CopyVolumesTask, VolumeCopy


class CopyVolumes(Handler[CopyVolumesTask, CopyVolumesResult], task=CopyVolumesTask, result=CopyVolumesResult):
    """Under names of their own until all are whole; copies that are there are left alone."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._chains = Chains(hypervisor)

    async def run(self, args: CopyVolumesTask, work: Work) -> CopyVolumesResult:
        work.check()
        done = await self.probe(args)
        if done is not None:
            return done
        for one in args.copies:
            volume_path(one.source_path, one.source_uuid)
        try:
            for one in args.copies:
                path = volume_path(one.path, one.volume_uuid)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)  # of a try that was broken off, when another moment was copied
                _part(one).unlink(missing_ok=True)
            if args.vm_instance_uuid and await self._chains.runs(args.vm_instance_uuid):
                await self._mirror(args.vm_instance_uuid, args.copies, work)
            else:
                for one in args.copies:
                    work.check()
                    await qemu_img("convert", "-q", "-f", "qcow2", "-O", "qcow2", one.source_path, str(_part(one)))
            for one in args.copies:
                await asyncio.to_thread(_copy_variables, one)
                await asyncio.to_thread(publish, _part(one), Path(one.path))
        except BaseException as error:
            for one in args.copies:
                _part(one).unlink(missing_ok=True)
                remove_empty_parent(Path(one.path), one.volume_uuid)
            if isinstance(error, OSError):
                raise storage_error("the volumes cannot be copied", error) from None
            raise
        return _result(args)

    async def probe(self, args: CopyVolumesTask) -> CopyVolumesResult | None:
        paths = [volume_path(one.path, one.volume_uuid) for one in args.copies]
        return _result(args) if all(regular_file("the copy", path) for path in paths) else None

    async def _mirror(self, vm: str, copies: Sequence[VolumeCopy], work: Work) -> None:
        """Let the hypervisor keep copies that follow the guest, and cut all of them off at one moment."""
        try:
            names = await self._chains.on(vm, lambda domain: _begin(domain, copies))
            while not await self._chains.on(vm, lambda domain: all(is_ready(domain, name) for name in names)):
                work.check()
                info = await self._chains.on(vm, lambda domain: [domain.blockJobInfo(name, 0) for name in names])
                if not all(info):
                    raise TaskError("FAILED", "the hypervisor gave up the copy; is there room for it?")
                current, end = sum(one["cur"] for one in info), sum(one["end"] for one in info)
                work.progress(100 * current // max(1, end), "copying")
                await asyncio.sleep(POLL_SECONDS)
            await self._chains.on(vm, lambda domain: _cut_off(domain, names))
        except BaseException:
            await asyncio.shield(self._give_up(vm, copies))
            raise

    async def _give_up(self, vm: str, copies: Sequence[VolumeCopy]) -> None:
        def stop(domain: libvirt.virDomain) -> None:
            for one in copies:
                _end_job(domain, disk_of(domain, one.source_uuid))

        try:
            await self._chains.on(vm, stop)
        except TaskError:
            return  # the guest has ended, and the copy with it


def _part(one: VolumeCopy) -> Path:
    path = checked_path("the copy's path", one.path)
    return path.with_name(path.name + ".part")


def _copy_variables(one: VolumeCopy) -> None:
    """A VM that boots by UEFI boots from the copy as it did from the original."""
    source = variables_of(Path(one.source_path), one.source_uuid)
    if regular_file("the UEFI variables", source):
        copy = variables_of(Path(one.path), one.volume_uuid)
        part = copy.with_name(copy.name + ".part")
        shutil.copyfile(source, part)
        publish(part, copy)


def _result(args: CopyVolumesTask) -> CopyVolumesResult:
    copied = [CopiedVolume(volume_uuid=one.volume_uuid, actual_size=taken(Path(one.path))) for one in args.copies]
    return CopyVolumesResult(volumes=copied)


def _end_job(domain: libvirt.virDomain, name: str) -> None:
    if name and domain.blockJobInfo(name, 0):
        domain.blockJobAbort(name, 0)


def _begin(domain: libvirt.virDomain, copies: Sequence[VolumeCopy]) -> list[str]:
    names = []
    for one in copies:
        name = disk_of(domain, one.source_uuid)
        if not name:
            raise TaskError("NOT_FOUND", f"the guest does not have volume {one.source_uuid}")
        _end_job(domain, name)  # of a try that was broken off
        target = ET.Element("disk", type="file")
        ET.SubElement(target, "driver", type="qcow2")
        ET.SubElement(target, "source", file=str(_part(one)))
        domain.blockCopy(name, ET.tostring(target, encoding="unicode"), None, 0)
        names.append(name)
    return names


def _cut_off(domain: libvirt.virDomain, names: Sequence[str]) -> None:
    """Several at one moment: the guest's CPUs stand still meanwhile."""
    runs = len(names) > 1 and domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    if runs:
        domain.suspend()
    try:
        for name in names:
            domain.blockJobAbort(name, 0)
    finally:
        if runs:
            domain.resume()
