"""What is not standard about images: they are fetched by jobs, and deleted by way of the recycle bin."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments
from zcloud.domain.operations.global_config import setting
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.image_copies import choose, must_have_room
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.storage.expunge_image import expunge


@command("AddImage")
async def add_image(call: Call, unit: Unit, request: Any) -> Image:
    """Onto the backup storage that is named, else the one with the most room (BS-31)."""
    given = arguments(call, request)
    wanted = given.pop("backup_storage_uuid", "")
    image = await unit.new(Image, request.resource_uuid)
    image.create(**given)
    if wanted:
        storage = await unit.usable(BackupStorage, wanted)
        await must_have_room(unit, storage)
    else:
        storage = await choose(unit, await unit.port("views").where("backup_storage"))
    (await unit.companion(ImageFacts, image)).downloading(storage.uuid)
    (await unit.companion(BackupStorageCapacity, storage)).expect(image.uuid)
    await submit(unit, "add_image", image, {"backup_storage_uuid": storage.uuid})
    return image


@command("DeleteImage")
async def delete_image(call: Call, unit: Unit, request: Any) -> Image:
    """Into the recycle bin; image/deletionPolicy Direct expunges it at once."""
    image = await unit.get(Image, request.uuid)
    facts = await unit.companion(ImageFacts, image)
    image.delete(facts)
    if await setting(unit, "image", "deletionPolicy") == "Direct":
        await expunge(unit, image)
    return image


@command("RecoverImage")
async def recover_image(call: Call, unit: Unit, request: Any) -> Image:
    """Out of the recycle bin (IMG-09)."""
    image = await unit.get(Image, request.uuid)
    image.recover(await unit.companion(ImageFacts, image))
    return image


@command("ExpungeImage")
async def expunge_image(call: Call, unit: Unit, request: Any) -> Image:
    """Removes it for good, with its files on backup storages."""
    image = await unit.get(Image, request.uuid)
    await expunge(unit, image)
    return image
