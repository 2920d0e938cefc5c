"""A VM's life over a socket, on simulated hosts: after each step the world and all books agree (VM-01, 04, 05)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.compute.ground import DISK_BYTES, GIB, IMAGE_BYTES, Ground, on_ground, refused


def test_a_whole_life(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api, world, host = here.api, here.host.world, here.host.host_uuid
        vm = await here.create()
        uuid, nic = vm.uuid, vm.vm_nics[0]
        assert await here.state(uuid) == "RUNNING"
        assert (vm.host_uuid, vm.cluster_uuid, vm.zone_uuid) == (host, here.cluster, here.zone)
        assert (vm.cpu_num, vm.memory_size, vm.platform, vm.hypervisor_type) == (1, GIB, "Linux", "Simulator")
        assert vm.version == 1
        assert nic.ip.startswith("10.0.0.")
        assert world.vms[uuid].state == "Running"
        assert [entry.ip for entry in world.dhcp[here.l3].entries.values()] == [nic.ip]
        books = await here.books()
        assert books["cpu"] == {uuid: (host, 1, GIB)}
        assert books["nics"] == {nic.uuid}
        assert books["disk"][vm.root_volume_uuid] == (host, DISK_BYTES)
        assert sum(size for _, size in books["disk"].values()) == DISK_BYTES + IMAGE_BYTES
        volume = (await api.call("GetVolume", uuid=vm.root_volume_uuid)).inventory
        assert (volume.status, volume.type, volume.device_id) == (volume.STATUS_READY, volume.TYPE_ROOT, 0)
        assert volume.install_path in world.volumes
        assert volume.vm_instance_uuid == uuid

        await api.done("PauseVmInstance", uuid=uuid)
        assert (await here.state(uuid), world.vms[uuid].state) == ("PAUSED", "Paused")
        await api.done("ResumeVmInstance", uuid=uuid)
        assert (await here.state(uuid), world.vms[uuid].state) == ("RUNNING", "Running")
        await api.done("RebootVmInstance", uuid=uuid)
        assert (await here.state(uuid), world.vms[uuid].state) == ("RUNNING", "Running")
        assert (await here.books()) == books

        await api.done("StopVmInstance", uuid=uuid)
        stopped = await here.vm(uuid)
        assert (stopped.host_uuid, stopped.last_host_uuid, stopped.cluster_uuid) == ("", host, here.cluster)
        assert world.vms == {}
        assert not world.dhcp[here.l3].entries
        assert (await here.books()) == {**books, "cpu": {}}
        assert (await api.call("StopVmInstance", uuid=uuid)).job_uuid == ""

        await api.done("StartVmInstance", uuid=uuid)
        again = await here.vm(uuid)
        assert again.vm_nics[0] == nic
        assert (await here.books()) == books
        assert (await api.call("StartVmInstance", uuid=uuid)).job_uuid == ""

        await api.done("DeleteVmInstance", uuid=uuid)
        assert await here.state(uuid) == "DESTROYED"
        gone = await here.vm(uuid)
        assert (gone.vm_nics[0].ip, gone.vm_nics[0].uuid, gone.host_uuid) == ("", nic.uuid, "")
        assert world.vms == {}
        books_deleted = await here.books()
        assert (books_deleted["cpu"], books_deleted["nics"]) == ({}, set())
        assert books_deleted["disk"] == books["disk"], "what lies in the recycle bin still takes room"
        volume = (await api.call("GetVolume", uuid=vm.root_volume_uuid)).inventory
        assert volume.status == volume.STATUS_DELETED

        await api.call("RecoverVmInstance", uuid=uuid)
        assert await here.state(uuid) == "STOPPED"
        await api.done("StartVmInstance", uuid=uuid)
        assert (await here.vm(uuid)).vm_nics[0].ip.startswith("10.0.0.")
        assert (await here.books())["nics"] == {nic.uuid}

        await api.done("DeleteVmInstance", uuid=uuid)
        await api.done("ExpungeVmInstance", uuid=uuid)
        assert (await refused(here.vm(uuid))).code == "NOT_FOUND"
        assert (await refused(api.call("GetVolume", uuid=vm.root_volume_uuid))).code == "NOT_FOUND"
        await here.assert_nothing_left(cached=True)

    on_ground(tmp_path, body)


def test_strategies(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api, world = here.api, here.host.world
        stopped = await here.create(name="s", strategy="CREATE_STOPPED")
        assert await here.state(stopped.uuid) == "STOPPED"
        assert not world.vms
        assert len(world.volumes) == 1
        assert not world.dhcp[here.l3].entries

        paused = await here.create(name="p", strategy="CREATED_PAUSED")
        assert (await here.state(paused.uuid), world.vms[paused.uuid].state) == ("PAUSED", "Paused")
        assert (await here.books())["cpu"].keys() == {paused.uuid}

        made = await api.call("CreateVmInstance", **here.fields(name="j", strategy="JUST_CREATE"))
        just = made.inventory
        assert made.job_uuid == ""
        assert await here.state(just.uuid) == "CREATED"
        assert just.vm_nics[0].ip
        volume = (await api.call("GetVolume", uuid=just.root_volume_uuid)).inventory
        assert volume.status == volume.STATUS_NOT_INSTANTIATED
        assert len(world.volumes) == 2
        await api.done("StartVmInstance", uuid=just.uuid)
        assert await here.state(just.uuid) == "RUNNING"
        assert (await here.vm(just.uuid)).vm_nics[0] == just.vm_nics[0]

        never = (await api.call("CreateVmInstance", **here.fields(name="n", strategy="JUST_CREATE"))).inventory
        await api.done("DeleteVmInstance", uuid=never.uuid)
        assert (await refused(here.vm(never.uuid))).code == "NOT_FOUND", "no host ever knew it"
        for uuid in (stopped.uuid, paused.uuid, just.uuid):
            await api.done("DeleteVmInstance", uuid=uuid)
            await api.done("ExpungeVmInstance", uuid=uuid)
        await here.assert_nothing_left()

    on_ground(tmp_path, body)


def test_static_addresses_and_a_second_network(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        other = (await api.call("CreateL3Network", name="other", l2_network_uuid=here.l2)).inventory.uuid
        await api.call("AddIpRangeByNetworkCidr", name="o", l3_network_uuid=other, network_cidr="10.1.0.0/24")
        static = [{"l3_network_uuid": here.l3, "ip": "10.0.0.77"}]
        changes: dict[str, Any] = {"l3_network_uuids": [here.l3, other], "default_l3_network_uuid": other}
        vm = await here.create(static_ips=static, **changes)
        assert [nic.device_id for nic in vm.vm_nics] == [0, 1]
        assert vm.vm_nics[0].ip == "10.0.0.77"
        assert vm.default_l3_network_uuid == other
        dhcp = here.host.world.dhcp
        (first,), (second,) = dhcp[here.l3].entries.values(), dhcp[other].entries.values()
        assert (first.gateway, second.gateway) == ("", "10.1.0.1"), "only the default network leads out"
        error = await refused(api.call("CreateVmInstance", **here.fields(name="two", static_ips=static)))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "ADDRESS_TAKEN")

        await api.done("DeleteVmInstance", uuid=vm.uuid)
        await api.call("RecoverVmInstance", uuid=vm.uuid)
        await api.done("StartVmInstance", uuid=vm.uuid)
        assert (await here.vm(vm.uuid)).vm_nics[0].ip == "10.0.0.77"

    on_ground(tmp_path, body)


def test_what_makes_no_sense_now_is_refused(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        vm = await here.create()
        for rpc in ("ResumeVmInstance", "RecoverVmInstance", "ExpungeVmInstance"):
            error = await refused(api.call(rpc, uuid=vm.uuid))
            assert (error.code, error.reason, error.facts["state"]) == ("FAILED_PRECONDITION", "WRONG_STATE", "Running")
        await api.done("StopVmInstance", uuid=vm.uuid, type="COLD")
        for rpc in ("PauseVmInstance", "RebootVmInstance", "ResumeVmInstance", "RecoverVmInstance"):
            assert (await refused(api.call(rpc, uuid=vm.uuid))).reason == "WRONG_STATE"

        here.host.pace.delay = 0.5
        job = (await api.call("StartVmInstance", uuid=vm.uuid)).job_uuid
        error = await refused(api.call("StopVmInstance", uuid=vm.uuid))
        assert (error.facts["state"], error.facts["job_uuid"]) == ("Starting", job)
        deletion = await api.call("DeleteVmInstance", uuid=vm.uuid)  # waits its turn
        assert await here.state(vm.uuid) == "STARTING"
        here.host.pace.delay = 0
        assert (await api.wait(job)).state == (await api.wait(deletion.job_uuid)).state
        assert await here.state(vm.uuid) == "DESTROYED"
        assert not here.host.world.vms

    on_ground(tmp_path, body)


def test_a_caller_sees_its_own_changes_in_the_version(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        vm = await here.create()
        await api.call("UpdateVmInstance", uuid=vm.uuid, name="db")
        read = await here.vm(vm.uuid)
        assert (read.name, read.version) == ("db", 2)
        await api.done("StopVmInstance", uuid=vm.uuid)
        assert (await here.vm(vm.uuid)).version == 3, "one for what the caller asked for, none for what came of it"
        error = await refused(api.call("UpdateVmInstance", {"zcloud-if-version": "2"}, uuid=vm.uuid, name="x"))
        assert error.code == "ABORTED"
        await api.call("UpdateVolume", uuid=vm.root_volume_uuid, name="root of db")
        listed = await api.call(
            "QueryVolume", filter=f'vm_instance.name = "db" AND primary_storage_uuid = "{here.storage}"'
        )
        assert [volume.name for volume in listed.inventories] == ["root of db"]

    on_ground(tmp_path, body)
