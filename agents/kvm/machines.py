"""The VMs of this host: start, stop, pause, resume, each of which may be asked for again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import libvirt

from agents.kvm import disks, domain_xml
from agents.kvm.hypervisor import Hypervisor, find, has_ended, read_state, state_of
from agents.kvm.virtualization import virtualization
from agents.runtime.task import TaskError
from agents.storage.volumes import publish
from zcloud.v1.vm_instance_task_pb2 import VmCdDrive, VmSpec

POLL_SECONDS = 0.2
# A guest that still boots misses the button and has to be asked again.
ASK_SECONDS = 5.0
# QEMU writes back what it holds before it goes.
POWER_OFF_SECONDS = 60.0


class Machines:
    """VMs by uuid. directory holds a folder for each: its serial log, and the mark of a reboot under way."""

    def __init__(self, hypervisor: Hypervisor, directory: Path) -> None:
        self._hypervisor = hypervisor
        self._directory = directory
        self._asking: set[asyncio.Task[Any]] = set()

    def folder(self, vm: str) -> Path:
        """Where a VM's files lie."""
        return self._directory / domain_xml.checked_uuid("vm_instance_uuid", vm)

    def serial_log(self, vm: str) -> Path:
        """What the guest wrote to its first serial port since its last start."""
        return self.folder(vm) / "serial.log"

    async def state(self, vm: str) -> str:
        """Running, Paused, Stopped, Crashed or NoState."""
        domain_xml.checked_uuid("vm_instance_uuid", vm)
        return await self._hypervisor.call(lambda connection: read_state(connection, vm))

    async def start(self, spec: VmSpec, paused: bool) -> str:
        """Start it unless it is there; returns its state."""
        folder = self.folder(spec.vm_instance_uuid)
        _check_parts(spec)
        # Not private: QEMU runs as a user of its own on many hosts.
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        await asyncio.to_thread(_move_variables, spec, folder)
        return await self._hypervisor.call(lambda connection: self._start(connection, spec, paused))

    def _start(self, connection: libvirt.virConnect, spec: VmSpec, paused: bool) -> str:
        domain = find(connection, spec.vm_instance_uuid)
        if domain is not None and state_of(domain) in ("Crashed", "NoState"):
            domain.destroy()
            domain = None
        if domain is None:
            architecture = platform.machine()
            place = domain_xml.Place(
                virtualization(connection, architecture),
                architecture,
                self.serial_log(spec.vm_instance_uuid),
                uuid.uuid4().hex,
            )
            flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
            domain = connection.createXML(domain_xml.build(spec, place), flags)
        elif state_of(domain) == "Paused" and not paused:
            # An earlier start was broken off between making the guest and letting it run.
            domain.resume()
        return state_of(domain)

    async def stop(self, vm: str, grace_seconds: float, check: Callable[[], None]) -> bool:
        """Stop it, gently for as long as grace_seconds; True when its power was taken away. check may give up."""
        if await self.state(vm) == "Stopped":
            return False
        if grace_seconds > 0 and await self._shut_down(vm, grace_seconds, check):
            return False
        await self._power_off(vm)
        return True

    async def _shut_down(self, vm: str, seconds: float, check: Callable[[], None]) -> bool:
        """Ask by power button and guest agent until it is gone; False when it did not go in time."""
        # A guest whose CPUs stand still hears nothing.
        await _quietly(self._hypervisor.call(lambda connection: _resume(connection, vm)))
        end = time.monotonic() + seconds
        ask_at = 0.0
        while (state := await self.state(vm)) != "Stopped":
            check()
            now = time.monotonic()
            if now >= end or state == "Crashed":
                return False
            if now >= ask_at and not self._asking_vm(vm):
                ask_at = now + ASK_SECONDS
                # Neither is waited for: an agent that hangs takes a minute to say so.
                self._ask(vm, libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
                self._ask(vm, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
            await asyncio.sleep(min(POLL_SECONDS, end - now))
        return True

    def _asking_vm(self, vm: str) -> bool:
        return sum(task.get_name() == f"ask {vm}" for task in self._asking) > 1

    def _ask(self, vm: str, how: int) -> None:
        def action(connection: libvirt.virConnect) -> None:
            domain = find(connection, vm)
            if domain is not None:
                domain.shutdownFlags(how)

        task = asyncio.create_task(_quietly(self._hypervisor.call(action)), name=f"ask {vm}")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _power_off(self, vm: str) -> None:
        def action(connection: libvirt.virConnect) -> None:
            domain = find(connection, vm)
            if domain is not None:
                try:
                    domain.destroy()
                except libvirt.libvirtError as error:
                    if not has_ended(error):  # by itself, in the meantime
                        raise

        end = time.monotonic() + POWER_OFF_SECONDS
        while True:
            try:
                await self._hypervisor.call(action)
            except TaskError as error:
                # On a host that is very busy QEMU may take longer than libvirt waits.
                if error.reason != "FAILED" or time.monotonic() > end:
                    raise
            if await self.state(vm) == "Stopped":
                return
            if time.monotonic() > end:
                raise TaskError("TIMEOUT", f"VM {vm} did not end in {POWER_OFF_SECONDS:.0f} s after its power was cut")
            await asyncio.sleep(POLL_SECONDS)

    async def pause(self, vm: str) -> None:
        """Stop its CPUs; NOT_FOUND when it does not run here."""
        await self._hypervisor.call(lambda connection: _pause(connection, vm))

    async def resume(self, vm: str) -> None:
        """Let its CPUs go on; NOT_FOUND when it does not run here."""
        if not await self._hypervisor.call(lambda connection: _resume(connection, vm)):
            raise _not_here(vm)

    def expect(self, spec: VmSpec) -> None:
        """A VM is to come here while it runs: all that it needs has to be here."""
        folder = self.folder(spec.vm_instance_uuid)
        _check_parts(spec)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)

    async def change_cd(self, vm: str, drive: VmCdDrive) -> None:
        """Put an ISO into a drive, or take out what lies there."""
        _check_iso(drive)
        await self._hypervisor.call(lambda connection: disks.change_cd(connection, vm, drive))

    async def boot_id(self, vm: str) -> str:
        """Which start of the VM this is; empty when it does not run."""
        return await self._hypervisor.call(lambda connection: _boot_id(connection, vm))


def _move_variables(spec: VmSpec, folder: Path) -> None:
    """Agents of the past kept UEFI variables on the host where the VM was."""
    old, now = folder / "uefi-variables.fd", domain_xml.variables_path(spec, folder)
    if spec.boot_mode == domain_xml.UEFI and old != now and old.is_file():
        if not now.exists():
            part = now.with_name(now.name + ".part")
            shutil.copyfile(old, part)
            publish(part, now)
        old.unlink()


def _check_parts(spec: VmSpec) -> None:
    """What has to be there already, named plainly: libvirt's own words would not name the volume."""
    for disk in spec.disks:
        if not Path(disk.path).is_file():
            raise TaskError("NOT_FOUND", f"volume {disk.volume_uuid} is not at {disk.path!r}")
    for drive in spec.cd_drives:
        _check_iso(drive)
    for interface in spec.interfaces:
        name = interface.bridge
        if domain_xml.INTERFACE.fullmatch(name) and not os.path.isdir(f"/sys/class/net/{name}/bridge"):
            raise TaskError(
                "NOT_FOUND", f"there is no bridge {name} for NIC {interface.nic_uuid}; apply its L2 network"
            )


def _check_iso(drive: VmCdDrive) -> None:
    if drive.path and not Path(drive.path).is_file():
        raise TaskError("NOT_FOUND", f"the ISO for CD drive {drive.device_id} is not at {drive.path!r}")


def _pause(connection: libvirt.virConnect, vm: str) -> None:
    domain = find(connection, domain_xml.checked_uuid("vm_instance_uuid", vm))
    if domain is None:
        raise _not_here(vm)
    if state_of(domain) != "Paused":
        domain.suspend()


def _resume(connection: libvirt.virConnect, vm: str) -> bool:
    domain = find(connection, domain_xml.checked_uuid("vm_instance_uuid", vm))
    if domain is not None and state_of(domain) == "Paused":
        domain.resume()
    return domain is not None


def _boot_id(connection: libvirt.virConnect, vm: str) -> str:
    domain = find(connection, domain_xml.checked_uuid("vm_instance_uuid", vm))
    return (
        domain_xml.boot_id(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, domain_xml.NAMESPACE)) if domain else ""
    )


def _not_here(vm: str) -> TaskError:
    return TaskError("NOT_FOUND", f"VM {vm} does not run on this host; start it first")


async def _quietly(call: Coroutine[Any, Any, Any]) -> None:
    """Asking a guest to stop may fail (it has no agent, it has just ended); what counts is whether it stops."""
    with contextlib.suppress(TaskError):
        await call
