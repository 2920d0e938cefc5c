"""Live migration of a VM to the hypervisor of another host, where its disks are seen as well (VM-38).

Its memory passes through the door that the other host's agent has opened, and so do the words of both hypervisors:
these listen on no network.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import libvirt

from agents.kvm.hypervisor import Hypervisor, find, read_state
from agents.kvm.migration_door import Door, Doors, Entry
from agents.network.command import run
from agents.runtime.task import TaskError, Work
from zcloud.v1.vm_instance_task_pb2 import MigrateVmTask, PrepareMigrationTask

# Of a libvirt as one daemon, or as many.
SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")
POLL_SECONDS = 0.2
# libvirt knows few shared file systems by name, and calls all others unsafe. That this one is shared was seen when its
# storage was prepared on the hosts, and guests' disks pass the host's cache by.
UNSAFE = libvirt.VIR_MIGRATE_UNSAFE
FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_TUNNELLED
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    | UNSAFE
)


def socket_of(uri: str) -> str:
    """Where the hypervisor that this host knows by a URI listens."""
    named = urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query).get("socket")
    return named[0] if named else next(filter(os.path.exists, SOCKETS), SOCKETS[0])


async def own_address(network: str) -> str:
    """This host's address in a network (CLU-18)."""
    try:
        wanted = ipaddress.ip_network(network)
    except ValueError:
        raise TaskError("INVALID", f"the migration network {network!r} is no network such as 10.0.0.0/8") from None
    for link in json.loads(await run("ip", "-json", "address", "show", "up")):
        for found in link.get("addr_info", ()):
            if ipaddress.ip_address(found["local"]) in wanted:
                return str(found["local"])
    raise TaskError("NOT_FOUND", f"this host has no address in the migration network {network}")


class Migrations:
    """Those that come here and those that leave. directory: of the agent's identity."""

    def __init__(self, hypervisor: Hypervisor, directory: Path) -> None:
        self._hypervisor, self._directory = hypervisor, directory
        self._doors = Doors(directory)

    async def expect(self, args: PrepareMigrationTask) -> Door:
        """Open the door."""
        socket = socket_of(self._hypervisor.uri)
        address = await own_address(args.network) if args.network else args.address
        return await self._doors.open(args.spec.vm_instance_uuid, address, args.source_host_uuid, socket)

    async def send(self, args: MigrateVmTask, work: Work) -> None:
        """Until it runs there; given up, it runs on here."""
        if not args.port:
            text = "the host that is to take it has an agent that knows no encrypted way; reconnect that host"
            raise TaskError("REFUSED", text)
        async with Entry(self._directory, args.address, args.port, args.certificate) as entry:
            await self._send(args.vm_instance_uuid, entry.uri, args.address, work)

    async def _send(self, vm: str, uri: str, address: str, work: Work) -> None:
        running = asyncio.ensure_future(self._hypervisor.call(lambda connection: _send(connection, vm, uri, address)))
        try:
            while not running.done():
                await asyncio.wait([running], timeout=POLL_SECONDS)
                work.check()
                await self._tell(vm, work.progress)
        except BaseException:
            with contextlib.suppress(TaskError):  # it may come to its end at any moment
                await asyncio.shield(self._hypervisor.call(lambda connection: _abort(connection, vm)))
            await asyncio.wait([running])
            raise
        running.result()

    async def _tell(self, vm: str, progress: Callable[[int, str], None]) -> None:
        try:
            total, done = await self._hypervisor.call(lambda connection: _progress(connection, vm))
        except TaskError:
            return  # it has just gone
        if total:
            progress(done * 100 // total, f"{done} of {total} bytes")


def _send(connection: libvirt.virConnect, vm: str, uri: str, address: str) -> None:
    try:
        other = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise TaskError("UNREACHABLE", f"the host at {address} does not let us in: {error}") from None
    try:
        domain = find(connection, vm)
        if domain is None:
            if read_state(other, vm) in ("Running", "Paused"):
                return
            raise TaskError("NOT_FOUND", f"VM {vm} does not run on this host")
        domain.migrateToURI3(uri, {}, FLAGS)
    finally:
        other.close()


def _progress(connection: libvirt.virConnect, vm: str) -> tuple[int, int]:
    domain = find(connection, vm)
    info = domain.jobInfo() if domain is not None else None
    return (info[3], info[4]) if info is not None and info[0] != libvirt.VIR_DOMAIN_JOB_NONE else (0, 0)


def _abort(connection: libvirt.virConnect, vm: str) -> None:
    domain = find(connection, vm)
    if domain is not None and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
        domain.abortJob()
