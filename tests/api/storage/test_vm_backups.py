"""Periodic backups of a server: rows by backup type, rotation, and schedules that deleted images do not end (T-16)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.node.private_sshd import PrivateSshd
from tests.api.compute.ground import Ground, refused
from tests.api.operations.scheduled import in_seconds, turn
from tests.api.operations.test_scheduler_job import becomes, run_now
from tests.api.storage.test_image_from_volume import on_real
from tests.api.storage.world import image_of
from tests.support.cloud import until

pytestmark = pytest.mark.real
HOUR, DAY = 3600, 86_400


async def backups(here: Ground) -> list[Any]:
    """Those that are not in the recycle bin, oldest first."""
    answer = await here.api.call("QueryImage", filter="type = Backup", order_by="create_date")
    return [image for image in answer.inventories if image.status != type(image).STATUS_DELETED]


def test_the_newest_of_each_type_are_kept(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(here: Ground, backup: Any) -> None:
        vm = await here.create()
        fields = {"vm_instance_uuid": vm.uuid, "backup_storage_uuid": backup.uuid, "rotation": 1}
        rpc = "CreateBackupImageFromVmInstance"
        weekly = await here.api.done(rpc, name="w", backup_type="weekly", **fields)
        made = [(await here.api.done(rpc, name=f"d{n}", **fields)).inventory.uuid for n in range(2)]
        image = await image_of(here.api, made[1])
        assert (image.type, image.backup_type, image.vm_instance_uuid) == (type(image).TYPE_BACKUP, "daily", vm.uuid)

        async def rotated() -> bool:
            """The oldest is gone with its file, and no other."""
            there = {i.uuid for i in (await here.api.call("QueryImage", filter="type = Backup")).inventories}
            return there == {weekly.inventory.uuid, *made[1:]}

        await until(rotated)
        assert not list((tmp_path / "store" / "images").glob(f"{made[0]}*"))
        # One that is not made makes none go.
        here.order("ExportVolumeTask")
        await here.failed(rpc, name="never", **fields)
        assert {i.uuid for i in await backups(here)} == {weekly.inventory.uuid, made[1]}
        template = await here.api.call("QueryImage", filter="type = Template")
        assert [i.uuid for i in template.inventories] == [here.image]

    on_real(tmp_path, sshd, body)


def test_the_next_is_made_when_the_newest_is_old_enough(tmp_path: Path, sshd: PrivateSshd) -> None:
    async def body(here: Ground, backup: Any) -> None:
        vm = await here.create()
        fields = {"vm_instance_uuid": vm.uuid, "backup_storage_uuid": backup.uuid, "if_due": True}
        rpc = "CreateBackupImageFromVmInstance"
        first = await here.api.done(rpc, name="b", **fields)
        again = await here.api.call(rpc, name="b", **fields)
        assert (again.inventory.uuid, again.job_uuid) == (first.inventory.uuid, "")
        fields["backup_type"] = "hourly"
        error = await refused(here.api.call(rpc, name="b", **fields))
        assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["period"])
        fields["period"] = HOUR
        other = await here.api.done(rpc, name="b", **fields)
        assert other.inventory.uuid != first.inventory.uuid
        clock = turn(here.api)
        clock.turned = HOUR - 600
        assert (await here.api.call(rpc, name="b", **fields)).inventory.uuid == other.inventory.uuid
        # A schedule of once an hour comes a moment before the newest, which took its time, is an hour old.
        clock.turned = HOUR - 60
        answer = await here.api.call(rpc, name="b", **fields)
        assert answer.inventory.uuid not in (first.inventory.uuid, other.inventory.uuid)

    on_real(tmp_path, sshd, body)


def test_deleting_its_images_does_not_end_a_schedule(tmp_path: Path, sshd: PrivateSshd) -> None:
    """T-16: ending it is said to the schedule."""

    async def body(here: Ground, backup: Any) -> None:
        vm = await here.create()
        arguments = f'{{"backupStorageUuid": "{backup.uuid}", "rotation": 2, "ifDue": true}}'
        scheduler = await here.api.call("CreateScheduler", name="s", start_time=in_seconds(here.api, DAY))
        job = await here.api.call(
            "CreateSchedulerJob",
            name="nightly",
            type="image_backup",
            resource_uuids=[vm.uuid],
            arguments=arguments,
            scheduler_uuids=[scheduler.inventory.uuid],
        )
        assert job.inventory.action == "CreateBackupImageFromVmInstance"

        async def run() -> str:
            await becomes(here.api, await run_now(here.api, scheduler.inventory.uuid), "SUCCEEDED")
            return str((await backups(here))[-1].uuid)

        first = await run()
        assert await run() == first
        await here.api.call("DeleteImage", uuid=first)
        second = await run()
        assert second != first
        await here.api.call("DeleteImage", uuid=second)
        await here.api.done("ExpungeImage", uuid=second)
        assert await run() not in (first, second)
        assert (await here.api.call("QuerySchedulerJob")).inventories[0].state == 1

    on_real(tmp_path, sshd, body)
