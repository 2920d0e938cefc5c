"""Room that making an image of a volume takes on the volume's own storage, until the file has been sent away."""

from __future__ import annotations

from zcloud.domain.storage import allocation
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.snapshots import Chained
from zcloud.domain.storage.volume_room import where
from zcloud.kernel.unit import Unit

# What a qcow2 file has beside the guest's bytes, and then some.
OVERHEAD = 1 << 20


def export_key(image: Image) -> str:
    """The key by which a file on its way to a backup storage claims room."""
    return f"export/{image.uuid}"


async def held_by(unit: Unit, it: Chained, snapshot_uuid: str) -> int:
    """At most so many bytes are written when the snapshot, or where that is not taken yet the volume, is copied."""
    total, uuid = 0, snapshot_uuid
    if uuid not in it.chain.nodes:
        total, uuid = it.disk.actual_size, it.chain.tip
    while uuid:
        total, uuid = total + it.chain.nodes[uuid].size, it.chain.nodes[uuid].parent
    base = await unit.find(Image, it.volume.image_uuid) if it.volume.image_uuid else None
    if base is not None:
        total += (await unit.companion(ImageFacts, base)).actual_size
    elif it.volume.image_uuid:
        total = it.volume.size  # of what it was made from nothing is known any more
    return min(total, it.volume.size) + OVERHEAD


async def claim_export(unit: Unit, it: Chained, image: Image, snapshot_uuid: str) -> None:
    """Raises RESOURCE_EXHAUSTED."""
    found = await where(unit, it.disk)
    if found is not None:
        await allocation.claim(unit, *found, export_key(image), await held_by(unit, it, snapshot_uuid))


async def release_export(unit: Unit, it: Chained, image: Image) -> None:
    """The file is there no longer; what is not claimed needs no event."""
    found = await where(unit, it.disk)
    if found is not None:
        await allocation.release(unit, *found, export_key(image))
