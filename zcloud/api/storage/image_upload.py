"""Uploads of images: the bytes go to the backup storage as they come, and a job checks them when all are there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from agents.runtime.task import TaskError
from agents.storage.image_upload import upload, uploaded
from zcloud.api import access, pipeline, rules
from zcloud.api.call import Call
from zcloud.api.handlers import query
from zcloud.api.taking import takes
from zcloud.domain.operations.global_config import current
from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageStatus, must_move_bits
from zcloud.domain.storage.image import Image, ImageFacts, ImageStatus
from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Code, Reason, Refused, not_found
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import submit
from zcloud.processes.storage.reach import reach
from zcloud.v1.host_task_pb2 import SshTarget
from zcloud.v1.image_pb2 import GetImageUploadResponse, UploadImageResponse

_CODES = {
    "NO_SPACE": (Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE),
    "INVALID": (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD),
    "UNREACHABLE": (Code.UNAVAILABLE, Reason.STORAGE_UNREACHABLE),
}


async def _open(call: Call, unit: Unit, uuid: str) -> tuple[Image, BackupStorage]:
    """An image of the caller that waits for its file, and the storage that may have it now."""
    image = await unit.find(Image, uuid)
    if image is None:
        raise not_found("image", uuid)
    access.must_own(call.actor, image, "image")
    image.must_not_be_deleting()
    facts = await unit.companion(ImageFacts, image)
    facts.must_be(image, ImageStatus.CREATING, "uploaded")
    storage = await unit.get(BackupStorage, facts.copies[0].backup_storage_uuid)
    must_move_bits(storage, await unit.companion(BackupStorageStatus, storage))
    return image, storage


def _refused(error: TaskError) -> Refused:
    code, reason = _CODES.get(error.reason, (Code.FAILED_PRECONDITION, Reason.WRONG_STATE))
    return Refused(code, reason, error.message)


@query("GetImageUpload")
async def get_image_upload(call: Call, request: Any) -> GetImageUploadResponse:
    """The storage is asked: what it has is what counts."""
    rules.check(request)
    unit = Unit(call.node.cloud, call.context, call.node.cloud.clock.now())
    image, storage = await _open(call, unit, request.uuid)
    try:
        offset, _ = await uploaded(reach(unit, storage), storage.url, image.uuid)
    except TaskError as error:
        raise _refused(error) from None
    return GetImageUploadResponse(offset=offset, size=image.upload_size)


@takes("UploadImage")
async def upload_image(call: Call, requests: AsyncIterator[Any]) -> UploadImageResponse:
    """One stream of an upload. Two streams for one image at a time would mix their bytes: the second is refused."""
    first = await anext(requests, None)
    if first is None:
        text = "the stream is empty; its first message has the uuid of the image"
        raise Refused(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, text)
    rules.check(first)
    uuid = first.uuid
    if uuid in _under_way:
        text = f"image {uuid} is being uploaded by another call; wait for that to end"
        raise Refused(Code.FAILED_PRECONDITION, Reason.WRONG_STATE, text, image_uuid=uuid)
    _under_way.add(uuid)
    try:
        target, url, size = (await call.node.cloud.decide(call.context, _begun(call, uuid))).value
        at = await upload(target, url, uuid, first.offset, size, _blocks(call, first, requests))
    except TaskError as error:
        raise _refused(error) from None
    finally:
        _under_way.discard(uuid)
    return await _uploaded(call, uuid, at)


def _begun(call: Call, uuid: str) -> Callable[[Unit], Awaitable[tuple[SshTarget, str, int]]]:
    async def body(unit: Unit) -> tuple[SshTarget, str, int]:
        image, storage = await _open(call, unit, uuid)
        (await unit.companion(ImageFacts, image)).begin_upload()
        return reach(unit, storage), storage.url, image.upload_size

    return body


# Images that streams of this node write; another node's stream for the same image is found out by its bytes.
_under_way: set[str] = set()


async def _blocks(call: Call, first: Any, requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Said to go on from time to time: one stream may take longer than an idle upload is kept."""
    clock = call.node.cloud.clock
    idle = int(await current(call.node.cloud, "image", "upload.idleLimit")) * SECOND
    said = clock.now()
    if first.data:
        yield first.data
    async for request in requests:
        if clock.now() - said > idle // 2:
            said = clock.now()
            await call.node.cloud.decide(call.context, _begun(call, first.uuid))
        if request.uuid not in ("", first.uuid):
            text = "one stream is for one image: only its first message names it"
            raise Refused(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, text, fields=[("uuid", text)], field="uuid")
        if request.data:
            yield request.data


async def _uploaded(call: Call, uuid: str, at: int) -> UploadImageResponse:
    """When all bytes are there the job follows that checks them."""

    async def body(unit: Unit) -> UploadImageResponse:
        image, storage = await _open(call, unit, uuid)
        if at == image.upload_size:
            (await unit.companion(ImageFacts, image)).downloading(storage.uuid)
            await submit(unit, "add_image", image, {"backup_storage_uuid": storage.uuid})
        response: UploadImageResponse = await pipeline.respond(call, unit, image)  # type: ignore[assignment]
        response.offset = at
        return response

    decision = await call.node.cloud.decide(call.context, body)
    made: UploadImageResponse = decision.value
    return made
