"""What volumes and images count towards their account's quotas: until they are expunged, they take room (ACC-07)."""

from __future__ import annotations

from zcloud.domain.identity.quotas import counts, measures, quota
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus, VolumeType

DATA_VOLUMES = quota("volume.data.num", "40", "data volumes that are not deleted.")
CAPACITY = quota("volume.capacity", "10995116277760", "bytes of volumes, deleted ones until they are expunged.")
IMAGES = quota("image.num", "20", "images, deleted ones until they are expunged.")
IMAGE_SIZE = quota("image.size", "10995116277760", "bytes of image files, deleted ones until they are expunged.")

counts("volume_snapshot", "snapshot.volume.num", "200", "volume snapshots.")


@measures("volume", VolumeStatus)
def volume_uses(volume: Volume, status: VolumeStatus) -> dict[str, int]:
    """Root volumes are counted by their VM, and take room like the others."""
    counted = volume.type is VolumeType.DATA and status.status is not VolumeState.DELETED
    return {CAPACITY: volume.size, **({DATA_VOLUMES: 1} if counted else {})}


@measures("image", ImageFacts)
def image_uses(_: Image, facts: ImageFacts) -> dict[str, int]:
    """How large its file is, shows when it has come."""
    return {IMAGES: 1, IMAGE_SIZE: facts.actual_size}
