"""What is not standard about images: they are fetched by jobs, and deleted by way of the recycle bin."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.standard import arguments, delete_mode
from zcloud.domain.operations.global_config import setting
from zcloud.domain.storage import image_bin
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageCapacity, BackupStorageLeftovers
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.domain.storage.image_copies import choose, must_have_room
from zcloud.domain.storage.image_url import scheme_of, source_of
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.storage.add_image import install_path
from zcloud.processes.storage.expunge_image import expunge
from zcloud.processes.storage.image_store import end_exports
from zcloud.processes.storage.iso_drives import holders


@command("AddImage")
async def add_image(call: Call, unit: Unit, request: Any) -> Image:
    """Onto the backup storage that is named, else the one with the most room (BS-31)."""
    source = source_of(request.url, request.username, request.password, has_key=bool(request.private_key))
    given = arguments(call, request)
    wanted = given.pop("backup_storage_uuid", "")
    given.update(url=source.url, username=source.username, password=call.node.vault.seal(source.password))
    # The storage's own keys open whatever trusts it: that is for those whose storage it is (IMG-04).
    own_keys = call.actor.is_admin and not source.password and not request.private_key
    image = await unit.new(Image, request.resource_uuid)
    image.create(**given, own_keys=own_keys and scheme_of(source.url) == "sftp")
    size = image.upload_size or 1
    if wanted:
        storage = await unit.usable(BackupStorage, wanted)
        await must_have_room(unit, storage, size)
    else:
        storage = await choose(unit, await unit.port("views").where("backup_storage"), size)
    facts, capacity = await unit.companion(ImageFacts, image), await unit.companion(BackupStorageCapacity, storage)
    (await unit.companion(BackupStorageLeftovers, storage)).clear(install_path(storage, image))
    if image.uploaded:
        facts.uploading(storage.uuid)
        capacity.store(image.uuid, image.upload_size)
        return image
    facts.downloading(storage.uuid)
    capacity.expect(image.uuid)
    await submit(unit, "add_image", image, {"backup_storage_uuid": storage.uuid})
    return image


@command("CopyImageToBackupStorage")
async def copy_image(call: Call, unit: Unit, request: Any) -> Image:
    """Straight from a storage that has it (IMG-12)."""
    image = await unit.usable(Image, request.uuid)
    storage = await unit.usable(BackupStorage, request.backup_storage_uuid)
    facts = await unit.companion(ImageFacts, image)
    await must_have_room(unit, storage, facts.actual_size)
    await submit(unit, "copy_image", image, {"backup_storage_uuid": storage.uuid})
    return image


@command("DeleteImage")
async def delete_image(call: Call, unit: Unit, request: Any) -> Image:
    """Into the recycle bin, whole or by copies; image/deletionPolicy Direct expunges it at once."""
    image, uuids = await unit.get(Image, request.uuid), tuple(request.backup_storage_uuids)
    facts = await unit.companion(ImageFacts, image)
    direct = await setting(unit, "image", "deletionPolicy", image) == "Direct"
    if facts.status is ImageStatus.CREATING and facts.copies:
        image.must_not_be_deleting()
        await submit(unit, "drop_image_upload", image, {"backup_storage_uuid": facts.copies[0].backup_storage_uuid})
        return image
    if image_bin.takes_all(image, facts, uuids) and await holders(unit, image):
        args = {"backup_storage_uuids": list(uuids), "mode": delete_mode(request), "direct": direct}
        await submit(unit, "delete_image", image, args)
        return image
    image_bin.delete(image, facts, uuids)
    if direct:
        await expunge(unit, image, uuids)
    else:
        await end_exports(unit, image)
    return image


@command("RecoverImage")
async def recover_image(call: Call, unit: Unit, request: Any) -> Image:
    """Out of the recycle bin (IMG-09)."""
    image = await unit.get(Image, request.uuid)
    image_bin.recover(image, await unit.companion(ImageFacts, image), tuple(request.backup_storage_uuids))
    return image


@command("ExpungeImage")
async def expunge_image(call: Call, unit: Unit, request: Any) -> Image:
    """Removes it for good, with its files on backup storages."""
    image = await unit.get(Image, request.uuid)
    await expunge(unit, image, tuple(request.backup_storage_uuids))
    return image
