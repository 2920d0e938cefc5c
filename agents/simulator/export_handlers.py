"""Images of simulated volumes: an empty disk of the same size is what a backup storage that is real gets of them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncIterator

from agents.runtime.task import Work
from agents.simulator.simulated import Simulated
from agents.simulator.volume_handlers import volume_at
from agents.storage.image_upload import upload
from zcloud.v1.image_task_pb2 import ExportVolumeResult, ExportVolumeTask

CLUSTER = 1 << 16
# Bytes of the disk that one entry of the first table covers.
COVERED = CLUSTER * CLUSTER // 8


def empty_qcow2(size: int) -> bytes:
    """An image in which nothing was written: header, reference counts, an empty table."""
    entries = max(1, -(-size // COVERED))
    tables = -(-entries * 8 // CLUSTER)
    header = struct.pack(
        ">IIQIIQIIQQIIQQQQII",
        *(0x514649FB, 3, 0, 0, 16, size, 0, entries, 3 * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104),
    )
    counts = struct.pack(">Q", 2 * CLUSTER)
    block = struct.pack(">H", 1) * (3 + tables)
    return b"".join(part.ljust(CLUSTER, b"\0") for part in (header, counts, block)) + bytes(CLUSTER * tables)


class ExportVolume(Simulated[ExportVolumeTask, ExportVolumeResult], task=ExportVolumeTask, result=ExportVolumeResult):
    """Sends, where the host is told that there is somebody to send to."""

    async def run(self, args: ExportVolumeTask, work: Work) -> ExportVolumeResult:
        result = await super().run(args, work)
        if self.world.sends:
            content = empty_qcow2(volume_at(self.world, args.path).size)

            async def blocks() -> AsyncIterator[bytes]:
                yield content

            await upload(args.target, args.storage_url, args.image_uuid, 0, len(content), blocks())
        return result

    def apply(self, args: ExportVolumeTask) -> ExportVolumeResult:
        content = empty_qcow2(volume_at(self.world, args.path).size)
        self.world.need_disk(len(content), f"image {args.part_path}")
        return ExportVolumeResult(actual_size=len(content), sha256=hashlib.sha256(content).hexdigest())


HANDLERS = (ExportVolume,)
