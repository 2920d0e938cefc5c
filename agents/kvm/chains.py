"""Chains of files of a guest that runs: frozen, merged and put back by its hypervisor (VOL-10)."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import libvirt

from agents.kvm.disks import description, disk_of_guest, disk_with, live
from agents.kvm.hypervisor import Hypervisor
from agents.runtime.task import TaskError, Work
from zcloud.v1.volume_snapshot_task_pb2 import SnapshotDisk

T = TypeVar("T")
POLL_SECONDS = 0.1
AGENT = "org.qemu.guest_agent.0"


class Chains:
    """What can be done to the files that a guest has open."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    async def disk(self, vm: str, path: str) -> str:
        """The name of the disk of a guest that writes to this file; empty when none does."""
        return await self._hypervisor.call(lambda connection: disk_of_guest(connection, vm, path))

    async def runs(self, vm: str) -> bool:
        """Whether the guest is there."""
        return await self._hypervisor.call(lambda connection: live(connection, vm) is not None)

    async def take(self, vm: str, disks: Sequence[SnapshotDisk], quiesce: bool) -> bool:
        """Freeze the files of some disks at one moment; whether the guest's agent took part."""
        return await self._hypervisor.call(lambda connection: _take(connection, vm, disks, quiesce))

    async def pull(self, vm: str, path: str, base: str, work: Work) -> bool:
        """Let the file that a guest writes to hold all down to the base; False when no guest has it."""
        name = await self.disk(vm, path)
        if not name:
            return False

        def begin(domain: libvirt.virDomain) -> None:
            if base:
                domain.blockRebase(name, base, 0, 0)
            else:
                domain.blockPull(name, 0, 0)

        await self._run(vm, name, begin, work)
        return True

    async def commit(self, vm: str, active: str, path: str, base: str, work: Work) -> bool:
        """Let a file below the one that a guest writes to go into the one below itself; False when no guest has it."""
        name = await self.disk(vm, active)
        if not name:
            return False

        def begin(domain: libvirt.virDomain) -> None:
            if path in chain_of(domain, name):  # else it was done, and the report was lost
                domain.blockCommit(name, base, path, 0, 0)

        await self._run(vm, name, begin, work)
        return True

    async def put_back(self, vm: str, new: str, path: str, work: Work) -> bool:
        """Let the guest write to the file below again, with all that it wrote since; False when it does not run."""
        name = await self.disk(vm, new)
        if not name:
            return False
        active = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE

        def pivot(domain: libvirt.virDomain) -> bool:
            info = domain.blockJobInfo(name, 0)
            if not info or info["cur"] != info["end"] or not is_ready(domain, name):
                return False
            domain.blockJobAbort(name, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
            return True

        await self.on(vm, lambda domain: _start_job(domain, name, lambda d: d.blockCommit(name, path, new, 0, active)))
        while not await self.on(vm, pivot):
            work.check()
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def _run(self, vm: str, name: str, begin: Callable[[libvirt.virDomain], None], work: Work) -> None:
        """A job of the hypervisor from begin to end; one that is under way already is waited for."""
        await self.on(vm, lambda domain: _start_job(domain, name, begin))
        try:
            while info := await self.on(vm, lambda domain: domain.blockJobInfo(name, 0)):
                work.check()
                work.progress(100 * info["cur"] // max(1, info["end"]), "merging")
                await asyncio.sleep(POLL_SECONDS)
        except BaseException:
            await asyncio.shield(self._abort(vm, name))
            raise

    async def _abort(self, vm: str, name: str) -> None:
        def stop(domain: libvirt.virDomain) -> None:
            if domain.blockJobInfo(name, 0):
                domain.blockJobAbort(name, 0)

        try:
            await self.on(vm, stop)
        except TaskError:
            return  # the guest has ended, and the job with it

    async def on(self, vm: str, action: Callable[[libvirt.virDomain], T]) -> T:
        """Run a blocking action on the guest; FAILED when it does not run."""

        def call(connection: libvirt.virConnect) -> T:
            domain = live(connection, vm)
            if domain is None:
                raise TaskError("FAILED", f"VM {vm} ended meanwhile; try again")
            return action(domain)

        return await self._hypervisor.call(call)


def chain_of(domain: libvirt.virDomain, name: str) -> list[str]:
    """The files of a disk, from the one that is written to down."""
    for disk in description(domain).iterfind("devices/disk"):
        target = disk.find("target")
        if target is not None and target.get("dev") == name:
            return [str(source.get("file")) for source in disk.iter("source")]
    return []


def _start_job(domain: libvirt.virDomain, name: str, begin: Callable[[libvirt.virDomain], None]) -> None:
    if not domain.blockJobInfo(name, 0):
        begin(domain)


def is_ready(domain: libvirt.virDomain, name: str) -> bool:
    """Whether the copy that the hypervisor makes of a disk follows it now."""
    for disk in description(domain).iterfind("devices/disk"):
        target, mirror = disk.find("target"), disk.find("mirror")
        if target is not None and target.get("dev") == name:
            return mirror is not None and mirror.get("ready") == "yes"
    return False


def _take(connection: libvirt.virConnect, vm: str, disks: Sequence[SnapshotDisk], quiesce: bool) -> bool:
    domain = live(connection, vm)
    if domain is None:
        raise TaskError("FAILED", f"VM {vm} ended meanwhile; try again")
    wanted = {disk_with(domain, disk.path): disk for disk in disks}
    if "" in wanted:
        raise TaskError("NOT_FOUND", f"VM {vm} does not write to {wanted[''].path}")
    for disk in disks:
        # Left by a try that was broken off: nothing has written to it.
        Path(disk.new_path).unlink(missing_ok=True)
    text = _snapshot_xml(domain, {name: disk.new_path for name, disk in wanted.items()})
    flags = (
        libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
    )
    if quiesce and _agent_answers(domain):
        try:
            domain.snapshotCreateXML(text, flags | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE)
            return True
        except libvirt.libvirtError:
            for disk in disks:
                if not disk_with(domain, disk.new_path):
                    Path(disk.new_path).unlink(missing_ok=True)
    domain.snapshotCreateXML(text, flags)
    return False


def _snapshot_xml(domain: libvirt.virDomain, paths: dict[str, str]) -> str:
    root = ET.Element("domainsnapshot")
    disks = ET.SubElement(root, "disks")
    for disk in description(domain).iterfind("devices/disk"):
        target = disk.find("target")
        name = str(target.get("dev")) if target is not None else ""
        if name in paths:
            node = ET.SubElement(disks, "disk", name=name, snapshot="external", type="file")
            ET.SubElement(node, "driver", type="qcow2")
            ET.SubElement(node, "source", file=paths[name])
        elif name:
            ET.SubElement(disks, "disk", name=name, snapshot="no")
    return ET.tostring(root, encoding="unicode")


def _agent_answers(domain: libvirt.virDomain) -> bool:
    """Whether the guest has opened its agent's channel; asking one that has not would take a minute."""
    for target in description(domain).iterfind("devices/channel/target"):
        if target.get("name") == AGENT:
            return target.get("state") == "connected"
    return False
