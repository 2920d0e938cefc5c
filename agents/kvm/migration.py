"""Live migration of a VM to the hypervisor of another host, where its disks are seen as well (VM-38)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import libvirt

from agents.kvm.hypervisor import Hypervisor, find, read_state
from agents.runtime.task import TaskError

LOCAL = "qemu:///system"
POLL_SECONDS = 0.2
# libvirt knows few shared file systems by name, and calls all others unsafe. That this one is shared was seen when its
# storage was prepared on the hosts, and guests' disks pass the host's cache by.
UNSAFE = libvirt.VIR_MIGRATE_UNSAFE
FLAGS = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_AUTO_CONVERGE | libvirt.VIR_MIGRATE_ABORT_ON_ERROR | UNSAFE


def reached_by(uri: str, address: str) -> str:
    """How another host reaches the hypervisor that this one knows by a URI; one with a socket of its own by that."""
    return f"qemu+tls://{address}/system" if uri == LOCAL else uri


async def send(hypervisor: Hypervisor, vm: str, uri: str, address: str, check: Callable[[], None]) -> None:
    """Until it runs there; given up, it runs on here."""
    running = asyncio.ensure_future(hypervisor.call(lambda connection: _send(connection, vm, uri, address)))
    try:
        while not running.done():
            await asyncio.wait([running], timeout=POLL_SECONDS)
            check()
    except BaseException:
        await asyncio.shield(hypervisor.call(lambda connection: _abort(connection, vm)))
        await asyncio.wait([running])
        raise
    running.result()


def _send(connection: libvirt.virConnect, vm: str, uri: str, address: str) -> None:
    try:
        other = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise TaskError("UNREACHABLE", f"the hypervisor at {uri} does not answer: {error}") from None
    try:
        domain = find(connection, vm)
        if domain is None:
            if read_state(other, vm) in ("Running", "Paused"):
                return
            raise TaskError("NOT_FOUND", f"VM {vm} does not run on this host")
        domain.migrate3(other, {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{address}"}, FLAGS)
    finally:
        other.close()


def _abort(connection: libvirt.virConnect, vm: str) -> None:
    domain = find(connection, vm)
    if domain is not None and domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
        domain.abortJob()
