"""Image cache: an image that lies on a primary storage, as people ask for it: who stands on it, when it was used.

It comes and goes in the append in which the books of a host (HostImageCache) say so, and its uuid follows from what it
is, so that everybody finds it without looking.
"""

from __future__ import annotations

from typing import Any

from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derived
from zcloud.kernel.resource import Creation, Resource


class ImageCache(Resource, kind="image_cache"):
    """Where the storage is local to each host there is one for each; where hosts see the same files, one for all."""

    goes_with_owner = False
    shareable = False

    primary_storage_uuid: str = ""
    host_uuid: str = ""
    image_uuid: str = ""
    path: str = ""
    size: int = 0
    # It was copied on a share, not sent.
    on_share: bool = False
    last_used_date: int = 0
    # That were made from it and have not gone since; each says so itself (VolumeStatus.image_cache_uuid).
    volume_count: int = 0

    class Created(Creation):
        """It has come, or was found in the books of before there were such."""

        zone_uuid: str
        primary_storage_uuid: str
        host_uuid: str
        image_uuid: str
        path: str
        size: int
        on_share: bool = False

    class Used(Event):
        """A new volume stands on it; without one, what stood there was made anew, or a VM has it in a drive."""

        volume_uuid: str = ""

        def apply(self, aggregate: Any) -> None:
            aggregate.last_used_date = aggregate.last_op_date
            aggregate.volume_count += 1 if self.volume_uuid else 0

    class Left(Event):
        """The volume is gone, or was made anew from another image."""

        volume_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.volume_count -= 1

    class Counted(Event):
        """Its volumes were looked for, and are not as many as were known."""

        volume_count: int

    def create(
        self, *, name: str, where: tuple[str, str, str], image_uuid: str, path: str, size: int, on_share: bool = False
    ) -> None:
        """name: the image's. where: zone, primary storage, and the host where the storage is local."""
        zone, storage, host = where
        self.trigger(
            self.Created(
                name=name,
                account_uuid=self.account_uuid,
                zone_uuid=zone,
                primary_storage_uuid=storage,
                host_uuid=host,
                image_uuid=image_uuid,
                path=path,
                size=size,
                on_share=on_share,
            )
        )

    def use(self, volume_uuid: str = "") -> None:
        """In the append that records what the job has made, so that a use is not a record of its own in a log."""
        self.trigger(self.Used(volume_uuid=volume_uuid))

    def leave(self, volume_uuid: str) -> None:
        """The caller knows that it stands there."""
        if self.volume_count:
            self.trigger(self.Left(volume_uuid=volume_uuid))

    def count(self, volume_count: int) -> None:
        """The same again is no event."""
        if volume_count != self.volume_count:
            self.trigger(self.Counted(volume_count=volume_count))


def cache_uuids(storage_uuid: str, host_uuid: str, name: str) -> Derived:
    """name: Image.cache_name. host_uuid: empty where hosts see the same files."""
    return derived("image_cache", storage_uuid, host_uuid, name)
