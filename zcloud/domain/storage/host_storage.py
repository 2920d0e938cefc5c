"""Host storage: what a host brings to each primary storage, and who has claimed how much of it there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from zcloud.domain.storage.claimed import is_volume, share_of
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event


class Share(msgspec.Struct, frozen=True, omit_defaults=True):
    """One primary storage on one host, in bytes. since: net claims since available was measured.

    since_virtual: the part of these that is of volumes, by their virtual size. unusable: why nothing can be done there
    now; empty when something can. ended: the last process known to have had it mounted, and to have ended.
    """

    total: int
    available: int
    since: int = 0
    claims: dict[str, int] = {}
    since_virtual: int = 0
    unusable: str = ""
    ended: str = ""

    @property
    def claimed(self) -> int:
        """Sum of all claims."""
        return sum(self.claims.values())

    def used(self, percent: int) -> int:
        """Bytes that all claims take, at this over-provisioning."""
        virtual = sum(size for key, size in self.claims.items() if is_volume(key))
        return self.claimed - virtual + share_of(virtual, percent)

    def used_since(self, percent: int) -> int:
        """Bytes that will be taken beyond what was measured."""
        return max(0, self.since - self.since_virtual + share_of(self.since_virtual, percent))


class HostStorage(Companion, of="host", role="storage"):
    """Claims are keyed by what needs the room (a volume's uuid, image/<uuid>), so that each counts once."""

    shares: dict[str, Share] = {}  # noqa: RUF012 - replaced by folds
    # Storages that the connect which runs has yet to prepare.
    due: tuple[str, ...] = ()

    class PreparationBegun(Event):
        """A connect begins: these are attached to the host's cluster."""

        primary_storage_uuids: tuple[str, ...] = ()

        def apply(self, aggregate: Any) -> None:
            aggregate.due = self.primary_storage_uuids

    class Prepared(Event):
        """The connect is done with one of them."""

        primary_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.due = tuple(u for u in aggregate.due if u != self.primary_storage_uuid)

    class Measured(Event):
        """The directory is there, on a file system of this size."""

        primary_storage_uuid: str
        total: int
        available: int

        def apply(self, aggregate: Any) -> None:
            old = aggregate.shares.get(self.primary_storage_uuid)
            share = Share(self.total, self.available)
            if old is not None:
                share = msgspec.structs.replace(share, claims=old.claims, ended=old.ended)
            aggregate.shares = {**aggregate.shares, self.primary_storage_uuid: share}

    class CutOff(Event):
        """It is gone, does not answer, or never did; what it is measured as again ends that."""

        primary_storage_uuid: str
        reason: str

        def apply(self, aggregate: Any) -> None:
            old = aggregate.shares.get(self.primary_storage_uuid, Share(0, 0))
            share = msgspec.structs.replace(old, unusable=self.reason)
            aggregate.shares = {**aggregate.shares, self.primary_storage_uuid: share}

    class MountEnded(Event):
        """What had it mounted has ended: who had files open through that gets errors, also when it is mounted anew."""

        primary_storage_uuid: str
        ended: str

        def apply(self, aggregate: Any) -> None:
            share = msgspec.structs.replace(aggregate.shares[self.primary_storage_uuid], ended=self.ended)
            aggregate.shares = {**aggregate.shares, self.primary_storage_uuid: share}

    class Claimed(Event):
        """Something will need this much."""

        primary_storage_uuid: str
        key: str
        size: int

        def apply(self, aggregate: Any) -> None:
            _fold_claim(aggregate, self.primary_storage_uuid, self.key, self.size)

    class Released(Event):
        """It does not need it any more."""

        primary_storage_uuid: str
        key: str

        def apply(self, aggregate: Any) -> None:
            _fold_claim(aggregate, self.primary_storage_uuid, self.key, None)

    class Forgotten(Event):
        """The storage is no longer the host's; what lies there is left behind."""

        primary_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.shares = {u: share for u, share in aggregate.shares.items() if u != self.primary_storage_uuid}

    def begin_preparation(self, primary_storage_uuids: tuple[str, ...]) -> None:
        """Each of them is measured anew in this connect."""
        if primary_storage_uuids != self.due:
            self.trigger(self.PreparationBegun(primary_storage_uuids=primary_storage_uuids))

    def prepared(self, primary_storage_uuid: str) -> None:
        """The connect goes on to the next."""
        if primary_storage_uuid in self.due:
            self.trigger(self.Prepared(primary_storage_uuid=primary_storage_uuid))

    def measured(self, primary_storage_uuid: str, total: int, available: int) -> None:
        """The host has said what it has; the same again is no event."""
        share = self.shares.get(primary_storage_uuid)
        if share is None or (share.total, share.available, share.since, share.unusable) != (total, available, 0, ""):
            self.trigger(self.Measured(primary_storage_uuid=primary_storage_uuid, total=total, available=available))

    def cut_off(self, primary_storage_uuid: str, reason: str) -> None:
        """Saying so again is no event."""
        share = self.shares.get(primary_storage_uuid)
        if share is None or share.unusable != reason:
            self.trigger(self.CutOff(primary_storage_uuid=primary_storage_uuid, reason=reason))

    def mount_ended(self, primary_storage_uuid: str, ended: str) -> bool:
        """Whether that is news. ended: the process, by the name that its host gave it."""
        share = self.shares.get(primary_storage_uuid)
        if share is None or share.ended == ended:
            return False
        self.trigger(self.MountEnded(primary_storage_uuid=primary_storage_uuid, ended=ended))
        return True

    def missing(self, primary_storage_uuids: Iterable[str]) -> str:
        """Why one of these storages, where a VM's volumes lie, cannot be used here; empty when all can."""
        for uuid in sorted(primary_storage_uuids):
            share = self.shares.get(uuid)
            if share is None:
                return f"primary storage {uuid}, where the VM's volumes lie, is not prepared on it; reconnect the host"
            if share.unusable:
                return f"primary storage {uuid}, where the VM's volumes lie, cannot be used on it: {share.unusable}"
        return ""

    def lacks(self, primary_storage_uuid: str, size: int, reserved: int, percent: int = 100) -> str:
        """Why there is no room for this many bytes; empty when there is."""
        share = self.shares.get(primary_storage_uuid)
        if share is None:
            return "the storage was not prepared on this host yet; reconnect the host"
        if share.unusable:
            return f"the storage cannot be used on this host: {share.unusable}"
        left = share.total - share.used(percent) - reserved
        if size > left:
            return f"{max(0, left)} bytes left beside the reserve of {reserved}, {size} wanted"
        # What was claimed since is not seen in the measure; what was claimed before it lies there, if it was written.
        free = share.available - share.used_since(percent) - reserved
        if size > free:
            return f"{max(0, free)} bytes physically free beside the reserve of {reserved}, {size} wanted"
        return ""

    def claim(self, primary_storage_uuid: str, key: str, size: int) -> None:
        """Reserve what was found not to lack."""
        self.trigger(self.Claimed(primary_storage_uuid=primary_storage_uuid, key=key, size=size))

    def release(self, primary_storage_uuid: str, key: str) -> int:
        """Give back; the bytes that this frees."""
        share = self.shares.get(primary_storage_uuid)
        if share is None or key not in share.claims:
            return 0
        size = share.claims[key]
        self.trigger(self.Released(primary_storage_uuid=primary_storage_uuid, key=key))
        return size

    def forget(self, primary_storage_uuid: str) -> int:
        """The storage is no longer the host's; the bytes that were claimed there."""
        share = self.shares.get(primary_storage_uuid)
        if share is None:
            return 0
        self.trigger(self.Forgotten(primary_storage_uuid=primary_storage_uuid))
        return share.claimed


def _fold_claim(aggregate: Any, storage: str, key: str, size: int | None) -> None:
    share: Share = aggregate.shares[storage]
    grown = (size or 0) - share.claims.get(key, 0)
    claims = {k: bytes_ for k, bytes_ in share.claims.items() if k != key}
    if size is not None:
        claims[key] = size
    virtual = share.since_virtual + (grown if is_volume(key) else 0)
    new = msgspec.structs.replace(share, since=share.since + grown, claims=claims, since_virtual=virtual)
    aggregate.shares = {**aggregate.shares, storage: new}
