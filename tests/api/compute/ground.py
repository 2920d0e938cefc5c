"""A small cloud on simulated hosts, all that a VM needs, and its books to be compared with the simulated world."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.task import TaskError
from agents.simulator.directory import Directory
from agents.simulator.fleet import Fleet
from agents.simulator.host import SimulatedHost
from tests.support.cloud import (
    Api,
    ApiError,
    add_simulator,
    host_connected,
    running_node,
    simulated_hosts,
    simulator_cluster,
    until,
)
from zcloud.domain.infrastructure.host import Host, HostCapacity
from zcloud.domain.network.ip_pool import IpPool
from zcloud.domain.storage.backup_storage import BackupStorageStatus
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit

GIB = 1 << 30
IMAGE_BYTES, DISK_BYTES = 64 << 20, GIB


@dataclass
class Ground:
    """hosts: in the order in which they were added, all connected."""

    api: Api
    zone: str
    cluster: str
    hosts: list[SimulatedHost]
    fleet: Fleet
    storage: str = ""
    backup: str = ""
    image: str = ""
    l2: str = ""
    l3: str = ""
    ip_range: str = ""
    vm_fields: dict[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> SimulatedHost:
        """The only host, or the first."""
        return self.hosts[0]

    def fields(self, **changes: Any) -> dict[str, Any]:
        """Of a CreateVmInstance that works."""
        made = {
            "name": "web",
            "cpu_num": 1,
            "memory_size": GIB,
            "image_uuid": self.image,
            "l3_network_uuids": [self.l3],
            **changes,
        }
        return {name: value for name, value in made.items() if value is not None}

    async def create(self, **changes: Any) -> Any:
        """A VM that runs (or what was asked for); its inventory when the job has succeeded."""
        made = await self.api.done("CreateVmInstance", **self.fields(**changes))
        return await self.vm(made.inventory.uuid)

    async def vm(self, uuid: str) -> Any:
        """As a caller sees it."""
        return (await self.api.call("GetVmInstance", uuid=uuid)).inventory

    async def state(self, uuid: str) -> str:
        """In short."""
        vm = await self.vm(uuid)
        return str(type(vm).State.Name(vm.state)).removeprefix("STATE_")

    async def becomes(self, uuid: str, state: str) -> Any:
        """The VM, once it is in this state."""

        async def look() -> bool:
            return await self.state(uuid) == state

        await until(look)
        return await self.vm(uuid)

    async def failed(self, rpc: str, **fields: Any) -> Any:
        """The job of a call that is accepted, and whose job fails."""
        answer = await self.api.call(rpc, **fields)
        job = await self.api.wait(answer.job_uuid)
        assert job.state == job.STATE_FAILED, job
        return job

    async def books(self) -> dict[str, Any]:
        """What is claimed, by whom: CPU and memory, bytes of storage, addresses."""
        unit = Unit(self.api.node.cloud, Context(), 0)
        pool = await unit.companion_of(IpPool, self.ip_range)
        cpu: dict[str, Any] = {}
        disk: dict[str, Any] = {}
        for simulated in self.hosts:
            host = await unit.find(Host, simulated.host_uuid)
            if host is not None:
                for vm, claim in (await unit.companion(HostCapacity, host)).claims.items():
                    cpu[vm] = (simulated.host_uuid, *claim)
                share = (await unit.companion(HostStorage, host)).shares.get(self.storage)
                for key, size in (share.claims if share is not None else {}).items():
                    disk[key] = (simulated.host_uuid, size)
        nics = {holder for holder in pool.holders() if holder != self.l3}
        return {"cpu": cpu, "disk": disk, "nics": nics}

    async def volumes(self) -> list[str]:
        """What has claimed room on storages, cached images left out."""
        return [key for key in (await self.books())["disk"] if "/" not in key]

    async def assert_nothing_left(self, cached: bool | None = None) -> None:
        """Neither on a host nor in a book, the image cache apart."""
        for host in self.hosts:
            world = host.world
            assert not world.vms
            assert not world.volumes
            assert not any(server.entries for server in world.dhcp.values())
            if cached is not None:
                assert bool(world.cache) is cached
        books = await self.books()
        assert (books["cpu"], books["nics"], await self.volumes()) == ({}, set(), [])
        storage = (await self.api.call("GetPrimaryStorage", uuid=self.storage)).inventory
        free = storage.total_capacity - sum(size for _, size in books["disk"].values())
        assert storage.available_capacity == free

    def order(self, task: str, reason: str = "FAILED", words: str = "as ordered", times: int = 1) -> None:
        """Let the next tasks of this name fail on every host."""
        for host in self.hosts:
            host.pace.faults.order(task, TaskError(reason, words), times)


@contextlib.asynccontextmanager
async def ground(directory: Path, hosts: int = 1, *, shared: bool = False) -> AsyncIterator[Ground]:
    """A cloud with all that a VM needs. The backup storage and its image exist in the log only: nothing is fetched."""
    async with running_node(directory) as api:
        zone, cluster = await simulator_cluster(api)
        simulated = [await add_simulator(api, cluster, f"host-{n + 1}") for n in range(hosts)]
        mounted = Directory()
        for host in simulated if shared else ():
            host.world.mounts["/smp"] = mounted
        async with simulated_hosts(api, *simulated) as fleet:
            yield await furnish(Ground(api, zone, cluster, simulated, fleet), shared=shared)


async def furnish(here: Ground, *, shared: bool = False) -> Ground:
    """Once its hosts have dialled in: storage, network, and an image."""
    api, zone, cluster = here.api, here.zone, here.cluster
    for host in here.hosts:
        await host_connected(api, host.host_uuid)
    rpc, url = ("AddSharedMountPointPrimaryStorage", "/smp") if shared else ("AddLocalPrimaryStorage", "/zcloud/ps")
    storage = await api.call(rpc, name="storage", zone_uuid=zone, url=url)
    here.storage = storage.inventory.uuid
    await api.done("AttachPrimaryStorageToCluster", primary_storage_uuid=here.storage, cluster_uuid=cluster)
    await _network(here)
    await _image(here)
    return here


async def _network(here: Ground) -> None:
    api = here.api
    l2 = await api.call("CreateL2NoVlanNetwork", name="l2", zone_uuid=here.zone, physical_interface="eth1")
    here.l2 = l2.inventory.uuid
    await api.done("AttachL2NetworkToCluster", l2_network_uuid=here.l2, cluster_uuid=here.cluster)
    here.l3 = (await api.call("CreateL3Network", name="flat", l2_network_uuid=here.l2)).inventory.uuid
    made = await api.call("AddIpRangeByNetworkCidr", name="r", l3_network_uuid=here.l3, network_cidr="10.0.0.0/24")
    here.ip_range = made.inventory.uuid


async def _image(here: Ground) -> None:
    admin = (await here.api.call("GetZone", uuid=here.zone)).inventory.account_uuid

    async def seed(unit: Unit) -> None:
        storage = await unit.new(SftpBackupStorage, account_uuid=admin)
        storage.create(
            name="sftp",
            url="/zcloud/bs",
            hostname="sftp.invalid",
            username="root",
            password=here.api.node.vault.seal("-"),
        )
        storage.attach(here.zone)
        (await unit.companion(BackupStorageStatus, storage)).connected()
        here.backup = storage.uuid

    # However long a test takes on a busy machine, nobody finds out that there is no such storage.
    await here.api.call("UpdateGlobalConfig", category="backupStorage", name="ping.interval", value="86400")
    await here.api.node.cloud.decide(Context(actor=SYSTEM), seed)
    here.image = await add_image(here, "linux")


async def add_image(here: Ground, name: str, *, size: int = DISK_BYTES, format: str = "Qcow2", **fields: Any) -> str:
    """An image that is Ready, in the log only."""
    admin = (await here.api.call("GetZone", uuid=here.zone)).inventory.account_uuid

    async def seed(unit: Unit) -> str:
        image = await unit.new(Image, account_uuid=admin)
        image.create(name=name, url=f"http://images.invalid/{name}", format=format, **fields)
        facts = await unit.companion(ImageFacts, image)
        facts.downloading(here.backup)
        facts.ready(here.backup, install_path="/zcloud/bs/i", size=size, actual_size=IMAGE_BYTES, sha256="0" * 64)
        return image.uuid

    return str((await here.api.node.cloud.decide(Context(actor=SYSTEM), seed)).value)


def on_ground(
    directory: Path, body: Callable[[Ground], Awaitable[Any]], hosts: int = 1, *, shared: bool = False
) -> None:
    """Run a test in a cloud of its own."""

    async def main() -> None:
        async with ground(directory, hosts, shared=shared) as here:
            await body(here)

    asyncio.run(main())


async def refused(call: Awaitable[Any]) -> ApiError:
    """The refusal of a call that must be refused."""
    with pytest.raises(ApiError) as error:
        await call
    return error.value
