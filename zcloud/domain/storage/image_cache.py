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
    """A file on the host. name: Image.cache_name. size: bytes."""

    primary_storage_uuid: str
    name: str
    path: str
    size: int


class ImageCache(Companion, of="host", role="image_cache"):
    """The cached images of one host."""

    cached_images: tuple[CachedImage, ...] = ()

    class Cached(Event):
        """An image has arrived."""

        primary_storage_uuid: str
        name: str
        path: str
        size: int

        def apply(self, aggregate: Any) -> None:
            made = CachedImage(self.primary_storage_uuid, self.name, self.path, self.size)
            aggregate.cached_images = (*aggregate.cached_images, made)

    class Dropped(Event):
        """The host does not have it any more."""

        primary_storage_uuid: str
        name: str

        def apply(self, aggregate: Any) -> None:
            gone = (self.primary_storage_uuid, self.name)
            aggregate.cached_images = tuple(
                c for c in aggregate.cached_images if (c.primary_storage_uuid, c.name) != gone
            )

    def find(self, primary_storage_uuid: str, name: str) -> CachedImage | None:
        """The cached image, if there is one."""
        for cached in self.cached_images:
            if (cached.primary_storage_uuid, cached.name) == (primary_storage_uuid, name):
                return cached
        return None

    def keep(self, primary_storage_uuid: str, name: str, path: str, size: int) -> None:
        """It has arrived; saying so again is no event."""
        if self.find(primary_storage_uuid, name) is None:
            self.trigger(self.Cached(primary_storage_uuid=primary_storage_uuid, name=name, path=path, size=size))

    def drop(self, primary_storage_uuid: str, name: str) -> None:
        """The file is gone; its room is given back by the caller, in the same append."""
        if self.find(primary_storage_uuid, name) is not None:
            self.trigger(self.Dropped(primary_storage_uuid=primary_storage_uuid, name=name))

    def forget_storage(self, primary_storage_uuid: str) -> None:
        """The storage is no longer the host's."""
        for cached in self.cached_images:
            if cached.primary_storage_uuid == primary_storage_uuid:
                self.drop(primary_storage_uuid, cached.name)
