"""Image cache: which images lie on which primary storage of a host, ready for volumes to be made from them (IMG-02).

An image that is expunged stays usable where it is cached, since volumes are made on top of the cached file; a cached
image that nothing rests on any more is garbage: drop() is where its collection ends.
"""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event


class CachedImage(msgspec.Struct, frozen=True):
    """A file on the host. size: bytes."""

    primary_storage_uuid: str
    image_uuid: str
    path: str
    size: int


class ImageCache(Companion, of="host", role="image_cache"):
    """The cached images of one host."""

    cached_images: tuple[CachedImage, ...] = ()

    class Cached(Event):
        """An image has arrived."""

        primary_storage_uuid: str
        image_uuid: str
        path: str
        size: int

        def apply(self, aggregate: Any) -> None:
            made = CachedImage(self.primary_storage_uuid, self.image_uuid, self.path, self.size)
            aggregate.cached_images = (*aggregate.cached_images, made)

    class Dropped(Event):
        """The host does not have it any more."""

        primary_storage_uuid: str
        image_uuid: str

        def apply(self, aggregate: Any) -> None:
            gone = (self.primary_storage_uuid, self.image_uuid)
            aggregate.cached_images = tuple(
                c for c in aggregate.cached_images if (c.primary_storage_uuid, c.image_uuid) != gone
            )

    def find(self, primary_storage_uuid: str, image_uuid: str) -> CachedImage | None:
        """The cached image, if there is one."""
        for cached in self.cached_images:
            if (cached.primary_storage_uuid, cached.image_uuid) == (primary_storage_uuid, image_uuid):
                return cached
        return None

    def keep(self, primary_storage_uuid: str, image_uuid: str, path: str, size: int) -> None:
        """It has arrived; saying so again is no event."""
        if self.find(primary_storage_uuid, image_uuid) is None:
            self.trigger(
                self.Cached(primary_storage_uuid=primary_storage_uuid, image_uuid=image_uuid, path=path, size=size)
            )

    def drop(self, primary_storage_uuid: str, image_uuid: str) -> None:
        """The file is gone; its room is given back by the caller, in the same append."""
        if self.find(primary_storage_uuid, image_uuid) is not None:
            self.trigger(self.Dropped(primary_storage_uuid=primary_storage_uuid, image_uuid=image_uuid))

    def forget_storage(self, primary_storage_uuid: str) -> None:
        """The storage is no longer the host's."""
        for cached in self.cached_images:
            if cached.primary_storage_uuid == primary_storage_uuid:
                self.drop(primary_storage_uuid, cached.image_uuid)
