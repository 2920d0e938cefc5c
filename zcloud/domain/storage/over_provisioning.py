"""How much more than it has is given out on a primary storage, by the virtual size of volumes (PS-18).

Volumes count by their share; what is written as it is (cached images, snapshots, files on their way) counts in full.
"""

from __future__ import annotations

from zcloud.domain.operations.global_config import on_change, setting
from zcloud.domain.operations.settings import percent_of
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity
from zcloud.kernel.unit import Unit

RATIO = ("primaryStorage", "overProvisioning.ratio")


async def percent(unit: Unit, storage: PrimaryStorage) -> int:
    """Of its size; 100 where nothing is over-provisioned."""
    return percent_of(await setting(unit, *RATIO, storage)) if storage.overprovisions else 100


@on_change(*RATIO)
async def overprovision(unit: Unit, value: str) -> None:
    """All storages, in the append that changes the setting; one that is added meanwhile follows when it is measured."""
    del value  # a storage may have one of its own
    for uuid in await unit.port("views").where("primary_storage"):
        storage = await unit.find(PrimaryStorage, uuid)
        if storage is not None:
            (await unit.companion(PrimaryStorageCapacity, storage)).overprovisioned(await percent(unit, storage))
