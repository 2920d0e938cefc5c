"""What the management node does to know an image better: its size and digest, where it lies on a backup storage."""

from __future__ import annotations

from agents.node.sftp_storage import open_helper
from agents.runtime.task import Handler, Work
from agents.storage.remote_helper import call_helper
from zcloud.v1.backup_storage_task_pb2 import MeasureImageResult, MeasureImageTask


class MeasureImage(Handler[MeasureImageTask, MeasureImageResult], task=MeasureImageTask, result=MeasureImageResult):
    """Only reads, so that it has no probe."""

    async def run(self, args: MeasureImageTask, work: Work) -> MeasureImageResult:
        request = {
            "operation": "digest",
            "url": args.storage_url,
            "install_path": args.install_path,
            "algorithm": args.algorithm,
        }
        async with open_helper(args.target, args.storage_url, store=args.image_store) as (session, program):
            return MeasureImageResult(**await call_helper(session, program, request, work))
