"""What the management node does on image stores: make them, let their servers run, clean up, export (BS-23)."""

from __future__ import annotations

from typing import Any

from agents.node.sftp_storage import open_helper
from agents.runtime.self_signed import self_signed
from agents.runtime.task import Handler, Work
from agents.storage.remote_helper import call_helper
from zcloud.v1.backup_storage_task_pb2 import (
    CleanImageStoreResult,
    CleanImageStoreTask,
    ConnectImageStoreResult,
    ConnectImageStoreTask,
    DeleteExportedImageResult,
    DeleteExportedImageTask,
    ExportImageResult,
    ExportImageTask,
    StopImageStoreResult,
    StopImageStoreTask,
    StoredImage,
)

# It is pinned, and goes with the store's directory.
DAYS = 365 * 30


def image_store_handlers() -> list[Handler[Any, Any]]:
    """One for each task. None has a probe: each can be done again."""
    return [ConnectImageStore(), CleanImageStore(), ExportImage(), DeleteExportedImage(), StopImageStore()]


async def _call(args: Any, operation: str, work: Work | None, make_directory: bool = False, **request: Any) -> Any:
    async with open_helper(args.target, args.url, make_directory, store=True) as (session, program):
        done = await call_helper(session, program, {"operation": operation, "url": args.url, **request}, work)
        return {**done, "host_key": session.host_key} if operation == "connect" else done


class ConnectImageStore(
    Handler[ConnectImageStoreTask, ConnectImageStoreResult], task=ConnectImageStoreTask, result=ConnectImageStoreResult
):
    async def run(self, args: ConnectImageStoreTask, work: Work) -> ConnectImageStoreResult:
        # For a store that has none yet.
        key, certificate = self_signed("zcloud image store", DAYS, authority=True)
        asked = {"port": args.port or 8000, "token": args.token, "tls": (key + certificate).decode()}
        have = await _call(args, "connect", work, make_directory=True, **asked)
        names = StoredImage.DESCRIPTOR.fields_by_name
        images = [StoredImage(**{n: value for n, value in one.items() if n in names}) for one in have.pop("images")]
        return ConnectImageStoreResult(**have, images=images)


class CleanImageStore(
    Handler[CleanImageStoreTask, CleanImageStoreResult], task=CleanImageStoreTask, result=CleanImageStoreResult
):
    async def run(self, args: CleanImageStoreTask, work: Work) -> CleanImageStoreResult:
        return CleanImageStoreResult(**await _call(args, "clean", work))


class ExportImage(Handler[ExportImageTask, ExportImageResult], task=ExportImageTask, result=ExportImageResult):
    async def run(self, args: ExportImageTask, work: Work) -> ExportImageResult:
        done = await _call(args, "export", work, image_uuid=args.image_uuid, name=args.name)
        return ExportImageResult(**done)


class DeleteExportedImage(
    Handler[DeleteExportedImageTask, DeleteExportedImageResult],
    task=DeleteExportedImageTask,
    result=DeleteExportedImageResult,
):
    async def run(self, args: DeleteExportedImageTask, work: Work) -> DeleteExportedImageResult:
        await _call(args, "unexport", work, image_uuid=args.image_uuid)
        return DeleteExportedImageResult()


class StopImageStore(
    Handler[StopImageStoreTask, StopImageStoreResult], task=StopImageStoreTask, result=StopImageStoreResult
):
    async def run(self, args: StopImageStoreTask, work: Work) -> StopImageStoreResult:
        await _call(args, "stop", work)
        return StopImageStoreResult()
