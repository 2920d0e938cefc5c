"""Primary storages that are disabled or in maintenance, over a socket: what goes on there and what does not (PS-01)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.compute.ground import GIB, Ground, on_ground, refused
from zcloud.kernel.clock import SECOND
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit
from zcloud.processes.compute import vm_expunge
from zcloud.processes.storage import expunge_volume
from zcloud.processes.storage.maintain_primary_storage import MaintenanceWatch


async def change(here: Ground, event: str) -> Any:
    answer = await here.api.call("ChangePrimaryStorageState", uuid=here.storage, state_event=event)
    if answer.job_uuid:
        job = await here.api.wait(answer.job_uuid)
        assert job.state == job.STATE_SUCCEEDED, job.error
    return (await here.api.call("GetPrimaryStorage", uuid=here.storage)).inventory


async def outcome(here: Ground, rpc: str, **fields: Any) -> str:
    """What is said against it, at once or by its job."""
    try:
        answer = await here.api.call(rpc, **fields)
    except Exception as error:
        return str(error)
    job = await here.api.wait(answer.job_uuid)
    return str(job.error)


async def expunged_later(here: Ground, expunge: Any, uuid: str) -> bool:
    """Whether it would be, long after its time is over; nothing is written."""
    cloud = here.api.node.cloud
    unit = Unit(cloud, Context(), cloud.clock.now() + 10**9 * SECOND)
    await expunge(unit, uuid)
    return any(True for _ in unit.changed())


def test_maintenance_stops_vms_and_keeps_files_as_they_are(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api, vm = here.api, await here.create()
        other = await here.create(name="other", strategy="create_stopped")
        made = await api.done("CreateDataVolume", name="free", disk_size=GIB, primary_storage_uuid=here.storage)
        data = made.inventory.uuid
        made = await api.done("CreateDataVolume", name="binned", disk_size=GIB, primary_storage_uuid=here.storage)
        binned = made.inventory.uuid
        await api.call("DeleteDataVolume", uuid=binned)
        gone = (await here.create(name="gone", strategy="create_stopped")).uuid
        await api.done("DeleteVmInstance", uuid=gone)

        dry = {"zcloud-validate-only": "true"}
        plan = (await api.call("ChangePrimaryStorageState", dry, uuid=here.storage, state_event="maintain")).plan
        assert "local_primary_storage.StateChanged" in str(plan)
        assert await here.state(vm.uuid) == "RUNNING"
        storage = await change(here, "maintain")
        assert storage.state == storage.STATE_MAINTENANCE
        assert [await here.state(uuid) for uuid in (vm.uuid, other.uuid)] == ["STOPPED", "STOPPED"]
        assert not [v for v in here.host.world.vms.values() if v.state == "Running"]
        assert "maintenance" in (await here.vm(vm.uuid)).state_reason

        files = set(here.host.world.volumes)
        for rpc, fields in (
            ("StartVmInstance", {"uuid": vm.uuid}),
            ("CreateVmInstance", here.fields(name="new")),
            ("CreateDataVolume", {"name": "n", "disk_size": GIB, "primary_storage_uuid": here.storage}),
            ("AttachDataVolumeToVm", {"volume_uuid": data, "vm_instance_uuid": vm.uuid}),
            ("ResizeDataVolume", {"uuid": data, "size": 2 * GIB}),
            ("CreateVolumeSnapshot", {"volume_uuid": data, "name": "s"}),
            ("ReimageVmInstance", {"vm_instance_uuid": vm.uuid}),
            ("ExpungeVmInstance", {"uuid": gone}),
            ("CleanUpImageCacheOnPrimaryStorage", {"uuid": here.storage}),
        ):
            assert "Maintenance" in await outcome(here, rpc, **fields), rpc
        assert set(here.host.world.volumes) == files

        # what empties the recycle bins waits, and is not held up by what has to
        assert not await expunged_later(here, vm_expunge.expunge, gone)
        assert not await expunged_later(here, expunge_volume.expunge, binned)
        await api.call("UpdateGlobalConfig", category="vm", name="deletionPolicy", value="Direct")
        await api.done("DeleteVmInstance", uuid=other.uuid)
        assert await here.state(other.uuid) == "DESTROYED"
        await api.call("ResetGlobalConfig", category="vm", name="deletionPolicy")

        await change(here, "enable")
        assert await here.state(vm.uuid) == "STOPPED"
        assert await expunged_later(here, vm_expunge.expunge, gone)
        assert await expunged_later(here, expunge_volume.expunge, binned)
        await api.done("StartVmInstance", uuid=vm.uuid)
        await api.done("AttachDataVolumeToVm", volume_uuid=data, vm_instance_uuid=vm.uuid)
        await api.done("ExpungeVmInstance", uuid=gone)

        # where a VM cannot be stopped the storage is what it was, and the job says which one it was
        here.order("StopVmTask", times=99)
        answer = await api.call("ChangePrimaryStorageState", uuid=here.storage, state_event="maintain")
        job = await api.wait(answer.job_uuid)
        assert job.state == job.STATE_FAILED
        assert "as ordered" in job.error
        storage = (await api.call("GetPrimaryStorage", uuid=here.storage)).inventory
        assert storage.state == storage.STATE_ENABLED

    on_ground(tmp_path, body)


def test_maintenance_goes_on_past_vms_that_cannot_be_stopped(tmp_path: Path) -> None:
    """Behaviours 4: where that was asked for; what still runs is stopped when it can be."""

    async def body(here: Ground) -> None:
        api, stuck, vm = here.api, await here.create(name="stuck"), await here.create()
        here.order("StopVmTask")
        fields = {"uuid": here.storage, "state_event": "maintain", "ignore_error": True}
        await api.done("ChangePrimaryStorageState", **fields)
        storage = (await api.call("GetPrimaryStorage", uuid=here.storage)).inventory
        assert storage.state == storage.STATE_MAINTENANCE
        assert sorted([await here.state(vm.uuid), await here.state(stuck.uuid)]) == ["RUNNING", "STOPPED"]
        watch = next(w for w in api.node.watches if isinstance(w, MaintenanceWatch))
        await watch.look()
        for one in (vm, stuck):
            await here.becomes(one.uuid, "STOPPED")
        before = api.node.cloud.log.head
        await watch.look()
        assert api.node.cloud.log.head == before

    on_ground(tmp_path, body)


def test_disabled_takes_nothing_new_and_lets_go_on_what_is_there(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api, vm = here.api, await here.create()
        storage = await change(here, "disable")
        assert storage.state == storage.STATE_DISABLED
        assert "Disabled" in await outcome(here, "CreateVmInstance", **here.fields(name="new"))
        assert "Disabled" in await outcome(
            here, "CreateDataVolume", name="n", disk_size=GIB, primary_storage_uuid=here.storage
        )
        await api.done("StopVmInstance", uuid=vm.uuid)
        await api.done("StartVmInstance", uuid=vm.uuid)
        await api.done("CreateVolumeSnapshot", volume_uuid=vm.root_volume_uuid, name="s")
        await api.done("ResizeRootVolume", uuid=vm.root_volume_uuid, size=2 * GIB)

        # other kinds do not know the event
        for rpc, uuid in (("ChangeZoneState", here.zone), ("ChangeHostState", here.host.host_uuid)):
            error = await refused(api.call(rpc, uuid=uuid, state_event="maintain"))
            assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
            text = 'is "STATE_EVENT_MAINTAIN", but must be one of STATE_EVENT_ENABLE, STATE_EVENT_DISABLE'
            assert text in error.message

    on_ground(tmp_path, body)
