"""Host's image cache: which images lie on which of its primary storages, ready for volumes to be made (IMG-02).

This is what decisions go by; what people see of one of them, and who uses it, is an ImageCache.

An image that is expunged stays usable where it is cached, since volumes are made on top of the cached file; a cached
image that nothing rests on any more is garbage: its collection begins with begin_drop() and ends with drop().
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


class HostImageCache(Companion, of="host", role="image_cache"):
    """The cached images of one host."""

    cached_images: tuple[CachedImage, ...] = ()
    # Whose files are being removed: nothing may count on them any more.
    dropping: tuple[CachedImage, ...] = ()

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

            aggregate.dropping = tuple(c for c in aggregate.dropping if (c.primary_storage_uuid, c.name) != gone)

    class DropBegun(Event):
        """Nothing needs it; its file is to be removed."""

        primary_storage_uuid: str
        name: str

        def apply(self, aggregate: Any) -> None:
            one = (self.primary_storage_uuid, self.name)
            going = (c for c in aggregate.cached_images if (c.primary_storage_uuid, c.name) == one)
            aggregate.dropping = (*aggregate.dropping, *going)
            aggregate.cached_images = tuple(
                c for c in aggregate.cached_images if (c.primary_storage_uuid, c.name) != one
            )

    class DropAborted(Event):
        """Its file could not be removed; another collection will."""

        primary_storage_uuid: str
        name: str

        def apply(self, aggregate: Any) -> None:
            one = (self.primary_storage_uuid, self.name)
            back = (c for c in aggregate.dropping if (c.primary_storage_uuid, c.name) == one)
            aggregate.cached_images = (*aggregate.cached_images, *back)
            aggregate.dropping = tuple(c for c in aggregate.dropping if (c.primary_storage_uuid, c.name) != one)

    def going(self, primary_storage_uuid: str, name: str) -> CachedImage | None:
        """The cached image whose file is being removed, if it is."""
        found = (c for c in self.dropping if (c.primary_storage_uuid, c.name) == (primary_storage_uuid, name))
        return next(found, None)

    def begin_drop(self, primary_storage_uuid: str, name: str) -> None:
        """The caller has found that nothing needs it."""
        if self.find(primary_storage_uuid, name) is not None:
            self.trigger(self.DropBegun(primary_storage_uuid=primary_storage_uuid, name=name))

    def abort_drop(self, primary_storage_uuid: str, name: str) -> None:
        """Its file is still there."""
        if self.going(primary_storage_uuid, name) is not None:
            self.trigger(self.DropAborted(primary_storage_uuid=primary_storage_uuid, name=name))

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
        if self.find(primary_storage_uuid, name) or self.going(primary_storage_uuid, name):
            self.trigger(self.Dropped(primary_storage_uuid=primary_storage_uuid, name=name))

    def forget_storage(self, primary_storage_uuid: str) -> None:
        """The storage is no longer the host's."""
        for cached in (*self.cached_images, *self.dropping):
            if cached.primary_storage_uuid == primary_storage_uuid:
                self.drop(primary_storage_uuid, cached.name)
