"""A guest under a real QEMU goes on under another libvirtd, by a door that opens for its host alone (VM-38)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.kvm import migration, migration_door
from agents.kvm.hypervisor import Hypervisor
from agents.kvm.main import kvm_handlers
from agents.kvm.migration import SOCKETS, Migrations, socket_of
from agents.kvm.migration_door import Entry
from agents.runtime import identity as ids
from agents.runtime.task import TaskError
from tests.agents.kvm.conftest import Host, eventually
from tests.support import tasks
from tests.support.libvirtd import running_libvirtd
from zcloud.api.pki import Authority
from zcloud.v1.vm_instance_task_pb2 import (
    MigrateVmTask,
    PrepareMigrationTask,
    ReadVmTask,
    StartVmTask,
    StopVmTask,
    VmDisk,
    VmSpec,
)

pytestmark = pytest.mark.real
ADDRESS = "127.0.0.1"


def enrol(directory: Path, authority: Authority, host_uuid: str) -> None:
    """As the node lets an agent in."""
    key = ids.load_or_make_key(directory)
    certificate, _ = authority.sign_request(ids.certificate_request(key, "agent").decode(), f"host/{host_uuid}")
    ids.store(directory, ids.Identity(key, certificate.encode(), authority.pem))


class Other:
    """One more host: a libvirtd and an agent's handlers of its own."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.hypervisor = Hypervisor(uri, ping_seconds=0.5)
        self.handlers = {handler.task: handler for handler in kvm_handlers(self.hypervisor, "b" * 32, folder)}

    async def run(self, task: Any) -> Any:
        return await self.handlers[type(task)].run(task, tasks.new_work())

    async def state(self, vm: str) -> str:
        return str((await self.run(ReadVmTask(vm_instance_uuid=vm))).state)

    async def opens(self, host: Host, spec: VmSpec) -> MigrateVmTask:
        """What the other one is told to come in."""
        task = PrepareMigrationTask(spec=spec, address=ADDRESS, source_host_uuid=host.uuid)
        door = await self.run(task)
        vm = spec.vm_instance_uuid
        return MigrateVmTask(vm_instance_uuid=vm, address=ADDRESS, port=door.port, certificate=door.certificate)


@pytest.fixture
def other(host: Host, tmp_path: Path) -> Iterator[Other]:
    authority = Authority(tmp_path / "authority")
    enrol(host.folder, authority, host.uuid)
    enrol(tmp_path / "stranger", authority, "c" * 32)
    enrol(tmp_path / "foreigner", Authority(tmp_path / "other authority"), host.uuid)
    with running_libvirtd() as daemon:
        enrol(tmp_path, authority, "b" * 32)
        made = Other(daemon.uri, tmp_path)
        made.hypervisor.start()
        with contextlib.closing(made.hypervisor):
            eventually(lambda: not made.hypervisor.error(), "the other libvirt answers")
            yield made


async def sent(host: Host, task: MigrateVmTask) -> None:
    await host.handlers[MigrateVmTask].run(task, tasks.new_work())


async def refused(action: Callable[[], Awaitable[Any]]) -> str:
    with pytest.raises(TaskError) as caught:
        await action()
    return caught.value.reason


def test_it_runs_on_there(host: Host, other: Other, tmp_path: Path) -> None:
    """Nobody but its host is let in: no other host of the cloud, none of another cloud, and none without a name."""
    spec = host.blank(boot_mode="Uefi")
    vm = spec.vm_instance_uuid
    variables = host.folder / f"{vm}.nvram"

    async def body() -> None:
        missing = PrepareMigrationTask(spec=spec, address=ADDRESS)
        missing.spec.disks.append(VmDisk(volume_uuid="e" * 32, path="/nowhere.qcow2", format="qcow2", device_id=1))
        assert await refused(lambda: other.run(missing)) == "NOT_FOUND"
        elsewhere = PrepareMigrationTask(spec=spec, address="10.0.0.7", network="203.0.113.0/24")
        assert await refused(lambda: other.run(elsewhere)) == "NOT_FOUND"
        elsewhere.network = "127.0.0.0/8"  # CLU-18
        assert (await other.run(elsewhere)).address == ADDRESS
        send = await other.opens(host, spec)
        assert await refused(lambda: sent(host, send)) == "NOT_FOUND"
        await host.handlers[StartVmTask].run(StartVmTask(spec=spec), tasks.new_work())
        for name in ("stranger", "foreigner"):
            assert await answer(tmp_path / name, send) == b"", name
        assert await nameless(send) == b""
        assert await answer(host.folder, send) != b""
        impostor = MigrateVmTask()
        impostor.CopyFrom(send)
        impostor.certificate = (await other.opens(host, host.blank())).certificate
        assert await refused(lambda: sent(host, impostor)) == "UNREACHABLE"
        old = MigrateVmTask(vm_instance_uuid=vm, uri="qemu+tcp://127.0.0.1/system", address=ADDRESS)
        assert await refused(lambda: sent(host, old)) == "REFUSED"
        assert await other.state(vm) == "Stopped"
        for _ in range(2):  # done again, it is done
            await sent(host, send)
            assert await other.state(vm) == "Running"
        await other.opens(host, spec)  # the earlier door is shut
        assert await refused(lambda: sent(host, send)) == "UNREACHABLE"
        # VM-07: started there anew, it has the variables that it had here.
        await other.run(StopVmTask(vm_instance_uuid=vm, cold=True))
        variables.write_bytes(variables.read_bytes()[:-4] + b"mark")
        await other.run(StartVmTask(spec=spec, paused=True))
        assert variables.read_bytes().endswith(b"mark")

    try:
        asyncio.run(body())
        assert host.state(vm) == "Stopped"
    finally:
        host.run(StopVmTask(vm_instance_uuid=vm, cold=True))
        asyncio.run(other.run(StopVmTask(vm_instance_uuid=vm, cold=True)))


# What a client of libvirt says first: the length, then a call without arguments.
HELLO = bytes.fromhex("0000001c 20008086 00000001 00000042 00000000 00000001 00000000")


async def answer(directory: Path, to: MigrateVmTask) -> bytes:
    """What the hypervisor behind the door says to somebody with this identity."""
    async with Entry(directory, ADDRESS, to.port, to.certificate) as entry:
        reader, writer = await asyncio.open_unix_connection(entry.uri.partition("socket=")[2])
        writer.write(HELLO)
        with contextlib.suppress(ConnectionError):
            return await reader.read(4)
    return b""


async def nameless(to: MigrateVmTask) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=to.certificate)
    try:
        reader, writer = await asyncio.open_connection(ADDRESS, to.port, ssl=context)
        writer.write(HELLO)
        return await reader.read(4)
    except OSError:
        return b""


def test_a_door_that_nobody_uses_is_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration_door, "OPEN_SECONDS", 0.05)
    enrol(tmp_path, Authority(tmp_path / "authority"), "b" * 32)

    async def body() -> None:
        door = await migration_door.Doors(tmp_path).open("a" * 32, ADDRESS, "c" * 32, "/nowhere")
        assert door.port in migration_door.PORTS
        await asyncio.wait_for(door.server.wait_closed(), 60)
        with socket.socket() as client:
            assert client.connect_ex((ADDRESS, door.port)) != 0

    asyncio.run(body())


def test_where_a_hypervisor_listens() -> None:
    assert socket_of("qemu:///system") in SOCKETS
    assert socket_of("qemu+unix:///system?socket=/run/x") == "/run/x"


def test_one_that_has_ended_when_it_is_given_up_is_still_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing left to break off then; what it came to is known before the task reports."""
    ended: list[str] = []

    class Libvirt:
        async def call(self, action: Any) -> Any:
            if "_send" in action.__code__.co_names:
                await asyncio.sleep(0.01)
                return ended.append("migration")
            raise TaskError("FAILED", "libvirt: no job is active on the domain")

    def given_up() -> None:
        raise TaskError("ABORTED", "given up")

    monkeypatch.setattr(migration, "POLL_SECONDS", 0.0)
    work = tasks.new_work()
    work.check = given_up  # type: ignore[method-assign]
    migrations = Migrations(Libvirt(), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="given up"):
        asyncio.run(migrations._send("a" * 32, "qemu:///x", ADDRESS, work))
    assert ended == ["migration"]
