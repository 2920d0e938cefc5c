"""Where VMs go, and what is told when they can go nowhere (VM-02, OFR-03, HST-05, user-asks 5, 6 and 15)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import GIB, Ground, on_ground, refused
from zcloud.domain.storage.backup_storage import BackupStorageStatus
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.unit import Unit

FILTERS = [
    "AttachedL2Network",
    "Designated",
    "HostStateAndHypervisor",
    "ImageBackupStorage",
    "HostCapacity",
    "HostPrimaryStorage",
]


def test_no_host_names_every_filter(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        head = api.node.cloud.log.head
        error = await refused(api.call("CreateVmInstance", **here.fields(memory_size=500 * GIB)))
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "NO_HOST_AVAILABLE")
        assert [name for name in FILTERS if f"{name} left" in error.message] == FILTERS
        assert error.facts["HostCapacity"] == "0"
        assert error.facts["HostStateAndHypervisor"] == "2"
        assert all(f"host {host.host_uuid}" in error.facts for host in here.hosts)
        assert "bytes of memory" in error.message
        assert api.node.cloud.log.head == head

        fields = {k: v for k, v in here.fields(memory_size=500 * GIB).items() if k != "name"}
        report = (await api.call("GetAllocationReport", **fields)).report
        assert [step.name for step in report.filters] == FILTERS
        assert [step.left for step in report.filters] == [2, 2, 2, 2, 0, 0]
        assert {fell.host_name for fell in report.filters[4].rejected} == {"host-1", "host-2"}
        assert report.host_uuid == ""

    on_ground(tmp_path, body, hosts=2)


def test_each_filter_over_the_wire(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api

        async def fell(**changes: Any) -> tuple[str, str]:
            """The first filter that left nobody, and its reason."""
            fields = {k: v for k, v in here.fields(**changes).items() if k != "name"}
            report = (await api.call("GetAllocationReport", **fields)).report
            step = next(step for step in report.filters if step.left == 0)
            return step.name, step.rejected[0].reason

        other_l2 = await api.call("CreateL2NoVlanNetwork", name="o", zone_uuid=here.zone, physical_interface="eth9")
        l3 = await api.call("CreateL3Network", name="o", l2_network_uuid=other_l2.inventory.uuid)
        assert (await fell(l3_network_uuids=[l3.inventory.uuid]))[0] == "AttachedL2Network"
        empty = await api.call("CreateCluster", name="e", zone_uuid=here.zone, hypervisor_type="Simulator")
        assert (await fell(cluster_uuid=empty.inventory.uuid))[0] == "Designated"
        await api.call("ChangeHostState", uuid=here.host.host_uuid, state_event="disable")
        assert await fell() == ("HostStateAndHypervisor", "it is Disabled")
        await api.call("ChangeHostState", uuid=here.host.host_uuid, state_event="enable")
        for rpc, uuid in (("ChangeClusterState", here.cluster), ("ChangeZoneState", here.zone)):
            await api.call(rpc, uuid=uuid, state_event="disable")
            assert (await fell())[0] == "HostStateAndHypervisor"
            await api.call(rpc, uuid=uuid, state_event="enable")
        await api.call("ChangeBackupStorageState", uuid=here.backup, state_event="disable")
        assert (await fell())[0] == "ImageBackupStorage"
        await api.call("ChangeBackupStorageState", uuid=here.backup, state_event="enable")
        assert (await fell(cpu_num=81))[0] == "HostCapacity"
        await api.call("ChangePrimaryStorageState", uuid=here.storage, state_event="disable")
        assert (await fell())[0] == "HostPrimaryStorage"
        error = await refused(api.call("CreateVmInstance", **here.fields()))
        assert error.facts[f"host {here.host.host_uuid}"].startswith("HostPrimaryStorage: ")
        await api.call("ChangePrimaryStorageState", uuid=here.storage, state_event="enable")
        await here.create()
        # a host that has the image cached needs no backup storage for it
        await api.call("ChangeBackupStorageState", uuid=here.backup, state_event="disable")
        await here.create(name="second")
        await api.call("ChangeBackupStorageState", uuid=here.backup, state_event="enable")
        await _lose(here)
        await here.create(name="third")
        # the ratio holds for hosts that are there already
        await api.call("UpdateGlobalConfig", category="host", name="cpu.overProvisioning.ratio", value="1")
        assert (await fell(cpu_num=6))[1] == "5 vCPUs are left, 6 are wanted"

    on_ground(tmp_path, body)


async def _lose(here: Ground) -> None:
    """The backup storage answers no pings any more."""

    async def lose(unit: Unit) -> None:
        storage = await unit.get(SftpBackupStorage, here.backup)
        (await unit.companion(BackupStorageStatus, storage)).disconnected("no route to host")

    await here.api.node.cloud.decide(Context(actor=SYSTEM), lose)


def test_validate_only_shows_the_placement_and_writes_nothing(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api, only = here.api, {"zcloud-validate-only": "true"}
        head = api.node.cloud.log.head
        answer = await api.call("CreateVmInstance", only, **here.fields(host_uuid=here.hosts[1].host_uuid))
        assert api.node.cloud.log.head == head
        plan = answer.plan
        assert plan.placement.host_uuid == here.hosts[1].host_uuid
        assert [step.name for step in plan.placement.filters] == FILTERS
        assert [fell.host_uuid for fell in plan.placement.filters[1].rejected] == [here.host.host_uuid]
        types = [event.type for event in plan.events]
        assert {"vm_instance.Created", "volume.Created", "host_capacity.Claimed", "host_storage.Claimed"} <= set(types)
        assert {"ip_range_pool.Claimed", "job.Created", "vm_instance_status.Starting"} <= set(types)
        assert answer.job_uuid == ""
        await here.assert_nothing_left(cached=False)
        assert (await api.call("QueryVmInstance", count=True)).total == 0

        vm = await here.create()
        await api.done("StopVmInstance", uuid=vm.uuid)
        head = api.node.cloud.log.head
        plan = (await api.call("StartVmInstance", only, uuid=vm.uuid)).plan
        assert plan.placement.host_uuid == vm.host_uuid
        assert api.node.cloud.log.head == head

    on_ground(tmp_path, body, hosts=2)


def test_offering_or_size_and_what_else_must_go_together(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        made = await api.call(
            "CreateInstanceOffering", name="small", cpu_num=2, memory_size=GIB, allocator_strategy="MostVmPreferred"
        )
        offering = made.inventory.uuid
        by_offering = {"instance_offering_uuid": offering, "cpu_num": None, "memory_size": None}
        vm = await here.create(**by_offering)
        assert (vm.cpu_num, vm.memory_size, vm.allocator_strategy) == (2, GIB, "MostVmPreferred")
        assert vm.instance_offering_uuid == offering
        system = await api.call("CreateL3Network", name="s", l2_network_uuid=here.l2, category="SYSTEM", system=True)
        zone = (await api.call("CreateZone", name="elsewhere")).inventory.uuid
        cluster = (await api.call("CreateCluster", name="c", zone_uuid=zone)).inventory.uuid
        mate = (await api.call("CreateCluster", name="c", zone_uuid=here.zone)).inventory.uuid
        other = "b" * 32
        for changes, field in (
            ({"instance_offering_uuid": offering}, "cpu_num"),
            ({**by_offering, "memory_size": GIB}, "memory_size"),
            ({"cpu_num": None}, "cpu_num"),
            ({"memory_size": None}, "memory_size"),
            ({"memory_size": 1024}, "memory_size"),
            ({"l3_network_uuids": []}, "l3_network_uuids"),
            ({"l3_network_uuids": [here.l3, here.l3]}, "l3_network_uuids"),
            ({"default_l3_network_uuid": system.inventory.uuid}, "default_l3_network_uuid"),
            ({"static_ips": [{"l3_network_uuid": system.inventory.uuid, "ip": "10.0.0.9"}]}, None),
            ({"static_ips": [{"l3_network_uuid": here.l3, "ip": "172.16.0.1"}]}, "ip"),
        ):
            error = await refused(api.call("CreateVmInstance", **here.fields(**changes)))
            assert error.code == "INVALID_ARGUMENT", (changes, error)
            assert field is None or error.fields == [field], (changes, error)
        for changes, reason in (
            ({"l3_network_uuids": [system.inventory.uuid]}, "NOT_SUPPORTED"),
            ({"zone_uuid": zone}, "NOT_SAME_ZONE"),
            ({"cluster_uuid": cluster}, "NOT_SAME_ZONE"),
            ({"cluster_uuid": mate, "host_uuid": here.host.host_uuid}, "NOT_ATTACHED"),
        ):
            error = await refused(api.call("CreateVmInstance", **here.fields(**changes)))
            assert (error.code, error.reason) == ("FAILED_PRECONDITION", reason), (changes, error)
        assert (await refused(api.call("CreateVmInstance", **here.fields(image_uuid=other)))).code == "NOT_FOUND"
        for rpc, uuid, changes in (
            ("ChangeInstanceOfferingState", offering, by_offering),
            ("ChangeImageState", here.image, {}),
            ("ChangeL3NetworkState", here.l3, {}),
        ):
            await api.call(rpc, uuid=uuid, state_event="disable")
            error = await refused(api.call("CreateVmInstance", **here.fields(**changes)))
            assert (error.code, error.reason) == ("FAILED_PRECONDITION", "WRONG_STATE"), rpc
            await api.call(rpc, uuid=uuid, state_event="enable")
        assert (await here.books())["cpu"].keys() == {vm.uuid}
        assert len((await here.books())["nics"]) == 1

        await api.done("DeleteInstanceOffering", uuid=offering)
        read = await here.vm(vm.uuid)
        assert (read.instance_offering_uuid, read.cpu_num, read.version) == ("", 2, 2)

    on_ground(tmp_path, body)


def test_many_at_a_time_fill_the_hosts_and_no_more(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        async def one(number: int) -> str:
            made = await here.api.call("CreateVmInstance", **here.fields(name=f"vm-{number}", memory_size=4 * GIB))
            job = await here.api.wait(made.job_uuid)
            assert job.state == job.STATE_SUCCEEDED, str(job.error)
            return str(made.inventory.uuid)

        answers = await asyncio.gather(*(one(n) for n in range(20)), return_exceptions=True)
        made = [answer for answer in answers if isinstance(answer, str)]
        # 31 of 32 GiB may be given away on each of two hosts, in pieces of four
        assert len(made) == 14, answers
        codes = {getattr(answer, "code", answer) for answer in answers if not isinstance(answer, str)}
        assert codes == {"RESOURCE_EXHAUSTED"}
        books = await here.books()
        assert books["cpu"].keys() == set(made)
        assert len(books["nics"]) == 14
        assert [len(host.world.vms) for host in here.hosts] == [7, 7]
        for host in here.hosts:
            found = (await here.api.call("GetHost", uuid=host.host_uuid)).inventory
            assert found.available_memory_capacity == 4 * GIB

    on_ground(tmp_path, body, hosts=2)


@pytest.mark.parametrize(("strategy", "spread"), [("LeastVmPreferred", {2}), ("MostVmPreferred", {4})])
def test_strategies_over_hosts(tmp_path: Path, strategy: str, spread: set[int]) -> None:
    async def body(here: Ground) -> None:
        made = await here.api.call(
            "CreateInstanceOffering", name="o", cpu_num=1, memory_size=GIB, allocator_strategy=strategy
        )
        fields = {"instance_offering_uuid": made.inventory.uuid, "cpu_num": None, "memory_size": None}
        for number in range(4):
            await here.create(name=f"vm-{number}", **fields)
        assert {len(host.world.vms) for host in here.hosts} - {0} == spread

    on_ground(tmp_path, body, hosts=2)


def test_a_volume_on_a_hosts_own_disk_pins_the_vm(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        vm = await here.create()
        await api.done("StopVmInstance", uuid=vm.uuid)
        await api.call("ChangeHostState", uuid=vm.host_uuid, state_event="disable")
        error = await refused(api.call("StartVmInstance", uuid=vm.uuid))
        assert error.reason == "NO_HOST_AVAILABLE"
        assert "root volume lies on the disk of host" in error.message
        assert await here.state(vm.uuid) == "STOPPED"
        # what runs on a disabled host is not touched
        await api.call("ChangeHostState", uuid=vm.host_uuid, state_event="enable")
        await api.done("StartVmInstance", uuid=vm.uuid)
        await api.call("ChangeHostState", uuid=vm.host_uuid, state_event="disable")
        assert await here.state(vm.uuid) == "RUNNING"
        other = await here.create(name="other")
        assert other.host_uuid != vm.host_uuid

    on_ground(tmp_path, body, hosts=2)
