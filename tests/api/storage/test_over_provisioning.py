"""Over-provisioning and the reserve of primary storages, over a socket: shown, and heeded (PS-18, UI-04)."""

from __future__ import annotations

from pathlib import Path

from tests.api.compute.ground import GIB, Ground, on_ground, refused

RATIO = {"category": "primaryStorage", "name": "overProvisioning.ratio"}
RESERVE = {"category": "primaryStorage", "name": "reservedCapacity"}


def test_a_storage_has_its_own_ratio_and_reserve(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api

        async def left() -> int:
            storage = (await api.call("GetPrimaryStorage", uuid=here.storage)).inventory
            assert storage.total_capacity == here.host.world.disk_size
            return int(storage.total_capacity - storage.available_capacity)

        async def make(size: int) -> None:
            await api.done("CreateDataVolume", name="d", disk_size=size, primary_storage_uuid=here.storage)

        disk = here.host.world.disk_size
        first = (disk // 2) >> 30 << 30
        await make(first)
        assert await left() == first
        error = await refused(api.call("CreateDataVolume", name="d", disk_size=disk, primary_storage_uuid=here.storage))
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "NO_STORAGE_AVAILABLE")
        await api.call("UpdateGlobalConfig", **RATIO, value="2")
        assert await left() == first // 2
        await api.call("UpdateResourceConfig", **RATIO, resource_uuid=here.storage, value="4")
        assert await left() == first // 4
        await make(disk)  # as large as the whole disk
        assert await left() == (first + disk) // 4
        await api.call("UpdateResourceConfig", **RESERVE, resource_uuid=here.storage, value=str(disk))
        error = await refused(api.call("CreateDataVolume", name="d", disk_size=GIB, primary_storage_uuid=here.storage))
        assert f"the reserve of {disk}" in error.message
        # what is there stays, also when it is more than there is to give
        await api.call("DeleteResourceConfig", **RATIO, resource_uuid=here.storage)
        await api.call("UpdateGlobalConfig", **RATIO, value="1")
        assert await left() == disk
        for wrong in ("0.5", "0", "-1", "1e3", "1.234"):
            error = await refused(api.call("UpdateGlobalConfig", **RATIO, value=wrong))
            assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")

    on_ground(tmp_path, body)
