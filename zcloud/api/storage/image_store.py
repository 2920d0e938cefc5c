"""Image stores: added like other backup storages; what they hold, give away and take back."""

from __future__ import annotations

import asyncio
from typing import Any

from agents.storage.helper import HelperError
from agents.storage.imagestore.client import image_list
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.api.standard import arguments
from zcloud.api.storage.backup_storage import changed, must_be_alone
from zcloud.domain.storage.backup_storage import BackupStorageStatus, must_move_bits
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.domain.storage.image_copies import must_have_room
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.kernel.errors import Code, Reason, Refused, precondition
from zcloud.kernel.ids import token
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.storage.reach import store_access
from zcloud.v1.backup_storage_task_pb2 import StoredImage
from zcloud.v1.image_store_backup_storage_pb2 import GetImagesFromImageStoreBackupStorageResponse


@command("AddImageStoreBackupStorage")
async def add_image_store(call: Call, unit: Unit, request: Any) -> ImageStoreBackupStorage:
    """Kept when its first connect succeeds; its images are taken in then, where that was asked for (BS-26)."""
    storage = await unit.new(ImageStoreBackupStorage, request.resource_uuid)
    secret = call.node.vault.seal(token())
    storage.create(**arguments(call, request), token=secret)
    await must_be_alone(unit, storage)
    await submit(unit, "add_backup_storage", storage)
    return storage


@command("UpdateImageStoreBackupStorage")
async def update_image_store(call: Call, unit: Unit, request: Any) -> ImageStoreBackupStorage:
    """Another way to reach it is tried at once."""
    storage = await unit.usable(ImageStoreBackupStorage, request.uuid)
    if await changed(unit, storage, arguments(call, request)):
        await submit(unit, "reconnect_backup_storage", storage)
    return storage


async def _at_work(unit: Unit, uuid: str) -> ImageStoreBackupStorage:
    storage = await unit.usable(ImageStoreBackupStorage, uuid)
    must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))
    return storage


@query("GetImagesFromImageStoreBackupStorage")
async def get_images(call: Call, request: Any) -> GetImagesFromImageStoreBackupStorageResponse:
    """The store itself is asked."""
    rules.check(request)
    unit = Unit(call.node.cloud, call.context, call.node.cloud.clock.now())
    to = store_access(unit, await _at_work(unit, request.uuid))
    access = {"url": to.url, "token": to.token, "certificate": to.certificate}
    try:
        images = await asyncio.to_thread(image_list, access)
    except HelperError as error:
        raise Refused(Code.UNAVAILABLE, Reason.STORAGE_UNREACHABLE, str(error)) from None
    names = StoredImage.DESCRIPTOR.fields_by_name
    found = [StoredImage(**{name: value for name, value in one.items() if name in names}) for one in images]
    return GetImagesFromImageStoreBackupStorageResponse(images=found)


@command("RecoveryImageFromImageStoreBackupStorage")
async def recover_images(call: Call, unit: Unit, request: Any) -> ImageStoreBackupStorage:
    """IMG-13."""
    storage = await _at_work(unit, request.uuid)
    await submit(unit, "recover_images", storage, {"image_uuids": list(request.image_uuids)})
    return storage


@command("SetImageStoreBackupStorageQuota")
async def set_quota(call: Call, unit: Unit, request: Any) -> ImageStoreBackupStorage:
    """BS-24: nothing more comes where it is reached."""
    storage = await unit.usable(ImageStoreBackupStorage, request.uuid)
    storage.set_quota(request.quota)
    return storage


@command("ReclaimSpaceFromImageStore")
async def reclaim_space(call: Call, unit: Unit, request: Any) -> ImageStoreBackupStorage:
    """BS-25."""
    storage = await _at_work(unit, request.uuid)
    await submit(unit, "reclaim_space", storage)
    return storage


async def _copy(unit: Unit, image_uuid: str, storage_uuid: str) -> tuple[Image, ImageStoreBackupStorage]:
    image, storage = await unit.usable(Image, image_uuid), await _at_work(unit, storage_uuid)
    copy = (await unit.companion(ImageFacts, image)).copy_on(storage.uuid)
    if copy is None or copy.status is not ImageStatus.READY:
        text = f'image store "{storage.name}" has no image "{image.name}" that is Ready'
        raise precondition(Reason.WRONG_STATUS, text, image_uuid=image.uuid)
    return image, storage


@command("SyncImageFromImageStoreBackupStorage")
async def sync_image(call: Call, unit: Unit, request: Any) -> Image:
    """BS-24, IMG-12."""
    image, _ = await _copy(unit, request.image_uuid, request.src_backup_storage_uuid)
    target = await _at_work(unit, request.dst_backup_storage_uuid)
    await must_have_room(unit, target)
    args = {"backup_storage_uuid": target.uuid, "source_uuid": request.src_backup_storage_uuid}
    await submit(unit, "copy_image", image, args)
    return image


@command("ExportImageFromBackupStorage")
async def export_image(call: Call, unit: Unit, request: Any) -> Image:
    """IMG-11."""
    image, storage = await _copy(unit, request.image_uuid, request.backup_storage_uuid)
    await submit(unit, "export_image", image, {"backup_storage_uuid": storage.uuid})
    return image


@command("DeleteExportedImageFromBackupStorage")
async def delete_exported_image(call: Call, unit: Unit, request: Any) -> Image:
    """The image stays."""
    image, storage = await _copy(unit, request.image_uuid, request.backup_storage_uuid)
    await submit(unit, "delete_exported_image", image, {"backup_storage_uuid": storage.uuid})
    return image
