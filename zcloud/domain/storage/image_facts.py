"""What is known of an image beside itself: status, sizes and copies, as jobs report them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zcloud.domain.storage.image_kinds import ImageCopy, ImageStatus
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event

if TYPE_CHECKING:
    from zcloud.domain.storage.image import Image


class ImageFacts(Companion, of="image", role="facts"):
    """Status, sizes and copies, as jobs report them: they never make a caller's expected version wrong."""

    status: ImageStatus = ImageStatus.CREATING
    size: int = 0
    actual_size: int = 0
    sha256: str = ""
    copies: tuple[ImageCopy, ...] = ()
    # When the caller last began to bring something of it.
    upload_date: int = 0

    class Downloading(Event):
        """A backup storage fetches it."""

        backup_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.size, aggregate.actual_size, aggregate.sha256 = (
                ImageStatus.DOWNLOADING,
                0,
                0,
                "",
            )
            aggregate.copies = (ImageCopy(self.backup_storage_uuid, ImageStatus.DOWNLOADING),)

    class Uploading(Event):
        """The caller brings it to a backup storage."""

        backup_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.size, aggregate.actual_size, aggregate.sha256 = ImageStatus.CREATING, 0, 0, ""
            aggregate.copies = (ImageCopy(self.backup_storage_uuid, ImageStatus.CREATING),)
            aggregate.upload_date = aggregate.last_op_date

    class UploadBegun(Event):
        """A stream with bytes of it has begun."""

        def apply(self, aggregate: Any) -> None:
            aggregate.upload_date = aggregate.last_op_date

    class CopyBegun(Event):
        """Another backup storage fetches it from one that has it."""

        backup_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.copies = (*aggregate.copies, ImageCopy(self.backup_storage_uuid, ImageStatus.DOWNLOADING))

    class CopyAdded(Event):
        """Another backup storage has it."""

        backup_storage_uuid: str
        install_path: str

        def apply(self, aggregate: Any) -> None:
            others = (c for c in aggregate.copies if c.backup_storage_uuid != self.backup_storage_uuid)
            aggregate.copies = (*others, ImageCopy(self.backup_storage_uuid, ImageStatus.READY, self.install_path))

    class Ready(Event):
        """It has come and is what it should be. size: of the virtual disk; actual_size: of the file; bytes."""

        backup_storage_uuid: str
        install_path: str
        size: int
        actual_size: int
        sha256: str

        def apply(self, aggregate: Any) -> None:
            aggregate.status = ImageStatus.READY
            aggregate.size, aggregate.actual_size, aggregate.sha256 = self.size, self.actual_size, self.sha256
            aggregate.copies = (ImageCopy(self.backup_storage_uuid, ImageStatus.READY, self.install_path),)

    class Deleted(Event):
        """In the recycle bin, with every copy."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status = ImageStatus.DELETED
            _into_bin(aggregate, _all(aggregate))

    class Recovered(Event):
        """Usable again, with every copy."""

        def apply(self, aggregate: Any) -> None:
            _out_of_bin(aggregate, _all(aggregate))

    class CopyDeleted(Event):
        """This copy is in the recycle bin; the image lives on others."""

        backup_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            _into_bin(aggregate, (self.backup_storage_uuid,))

    class CopyRecovered(Event):
        """This copy is usable again, and with it the image."""

        backup_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            _out_of_bin(aggregate, (self.backup_storage_uuid,))

    class ExpungeBegun(Event):
        """A job removes these copies; they cannot be recovered any more."""

        backup_storage_uuids: tuple[str, ...]

        def apply(self, aggregate: Any) -> None:
            _change(aggregate, self.backup_storage_uuids, expunging=True)

    class ExpungeAborted(Event):
        """The job gave up; they are in the recycle bin as before."""

        backup_storage_uuids: tuple[str, ...]

        def apply(self, aggregate: Any) -> None:
            _change(aggregate, self.backup_storage_uuids, expunging=False)

    class Exported(Event):
        """Anybody who knows the URL may fetch it from this storage; empty: nobody any more."""

        backup_storage_uuid: str
        export_url: str = ""
        export_md5: str = ""

        def apply(self, aggregate: Any) -> None:
            told = {"export_url": self.export_url, "export_md5": self.export_md5}
            _change(aggregate, (self.backup_storage_uuid,), **told)

    class Hashed(Event):
        """This is what a copy holds; empty where it was not asked for."""

        backup_storage_uuid: str
        sha256: str = ""
        md5: str = ""

        def apply(self, aggregate: Any) -> None:
            told = {"sha256": self.sha256, "md5": self.md5}
            _change(aggregate, (self.backup_storage_uuid,), **{name: value for name, value in told.items() if value})

    class SizeSynced(Event):
        """So big is the file."""

        actual_size: int

    class CopyRemoved(Event):
        """A backup storage does not have it any more."""

        backup_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.copies = tuple(c for c in aggregate.copies if c.backup_storage_uuid != self.backup_storage_uuid)

    def uploading(self, backup_storage_uuid: str) -> None:
        """The caller will bring it."""
        self.trigger(self.Uploading(backup_storage_uuid=backup_storage_uuid))

    def begin_upload(self) -> None:
        """The caller brings something of it."""
        self.trigger(self.UploadBegun())

    def begin_copy(self, image: Image, backup_storage_uuid: str) -> None:
        """Another backup storage is to have it. Refused when it has it, or another copy is on its way."""
        self.must_be(image, ImageStatus.READY, "copied")
        self.must_be_settled(image)
        there = self.copy_on(backup_storage_uuid)
        if there is not None:
            text = f'image "{image.name}" is on backup storage {backup_storage_uuid} already'
            if there.status is ImageStatus.DELETED:
                text += ", in the recycle bin; recover or expunge it there"
            raise precondition(Reason.ALREADY_ATTACHED, text, backup_storage_uuid=backup_storage_uuid)
        self.trigger(self.CopyBegun(backup_storage_uuid=backup_storage_uuid))

    def add_copy(self, backup_storage_uuid: str, install_path: str) -> None:
        """The other backup storage has it."""
        self.trigger(self.CopyAdded(backup_storage_uuid=backup_storage_uuid, install_path=install_path))

    def downloading(self, backup_storage_uuid: str) -> None:
        """Its download was ordered."""
        self.trigger(self.Downloading(backup_storage_uuid=backup_storage_uuid))

    def ready(self, backup_storage_uuid: str, *, install_path: str, size: int, actual_size: int, sha256: str) -> None:
        """Its download has succeeded."""
        self.trigger(
            self.Ready(
                backup_storage_uuid=backup_storage_uuid,
                install_path=install_path,
                size=size,
                actual_size=actual_size,
                sha256=sha256,
            )
        )

    def remove_copy(self, backup_storage_uuid: str) -> None:
        """One copy is gone; what is not there needs no event."""
        if self.copy_on(backup_storage_uuid) is not None:
            self.trigger(self.CopyRemoved(backup_storage_uuid=backup_storage_uuid))

    def delete_copy(self, backup_storage_uuid: str) -> None:
        """The caller has found that the image lives on another."""
        self.trigger(self.CopyDeleted(backup_storage_uuid=backup_storage_uuid))

    def recover_copy(self, backup_storage_uuid: str) -> None:
        """The caller has found that it is in the recycle bin."""
        self.trigger(self.CopyRecovered(backup_storage_uuid=backup_storage_uuid))

    def begin_expunge(self, backup_storage_uuids: tuple[str, ...]) -> None:
        """The caller has found that they are in the recycle bin."""
        self.trigger(self.ExpungeBegun(backup_storage_uuids=backup_storage_uuids))

    def abort_expunge(self, backup_storage_uuids: tuple[str, ...]) -> None:
        """Of what is gone, or was never begun, nothing needs to be said."""
        left = tuple(c.backup_storage_uuid for c in self.copies if c.expunging)
        left = tuple(uuid for uuid in left if uuid in backup_storage_uuids)
        if left:
            self.trigger(self.ExpungeAborted(backup_storage_uuids=left))

    def export(self, backup_storage_uuid: str, url: str, md5: str) -> None:
        """The same again is no event, nor is what is said of a copy that is gone."""
        copy = self.copy_on(backup_storage_uuid)
        if copy is not None and (copy.export_url, copy.export_md5) != (url, md5):
            self.trigger(self.Exported(backup_storage_uuid=backup_storage_uuid, export_url=url, export_md5=md5))

    def hashed(self, backup_storage_uuid: str, algorithm: str, digest: str) -> None:
        """algorithm: sha256 or md5. The same again is no event, nor is what is said of a copy that is gone."""
        copy = self.copy_on(backup_storage_uuid)
        if copy is not None and getattr(copy, algorithm) != digest:
            self.trigger(self.Hashed(backup_storage_uuid=backup_storage_uuid, **{algorithm: digest}))

    def sync_size(self, actual_size: int) -> None:
        """The same again is no event."""
        if actual_size != self.actual_size:
            self.trigger(self.SizeSynced(actual_size=actual_size))

    def copy_on(self, backup_storage_uuid: str) -> ImageCopy | None:
        """The copy on a backup storage, if there is one."""
        for copy in self.copies:
            if copy.backup_storage_uuid == backup_storage_uuid:
                return copy
        return None

    def must_be_settled(self, image: Image) -> None:
        """Refuses what a copy that is on its way would come too late for."""
        coming = [c.backup_storage_uuid for c in self.copies if c.status is ImageStatus.DOWNLOADING]
        if coming:
            text = f'image "{image.name}" is being copied to backup storage {coming[0]}; wait for that, or cancel it'
            raise precondition(Reason.WRONG_STATUS, text, backup_storage_uuid=coming[0])

    def must_be(self, image: Image, status: ImageStatus, what: str) -> None:
        """Refuses what needs another status."""
        if self.status is not status:
            text = f'image "{image.name}" is {self.status.value}; only a {status.value} one can be {what}'
            raise precondition(Reason.WRONG_STATUS, text, status=self.status.value)


def _change(aggregate: Any, uuids: tuple[str, ...], **changes: Any) -> None:
    aggregate.copies = tuple(
        msgspec.structs.replace(c, **changes) if c.backup_storage_uuid in uuids else c for c in aggregate.copies
    )


def _all(aggregate: Any) -> tuple[str, ...]:
    return tuple(c.backup_storage_uuid for c in aggregate.copies)


def _into_bin(aggregate: Any, uuids: tuple[str, ...]) -> None:
    """A copy that lies there already has been there since then."""
    new = tuple(
        c.backup_storage_uuid
        for c in aggregate.copies
        if c.backup_storage_uuid in uuids and c.status is not ImageStatus.DELETED
    )
    _change(aggregate, new, status=ImageStatus.DELETED, deleted_date=aggregate.last_op_date)


def _out_of_bin(aggregate: Any, uuids: tuple[str, ...]) -> None:
    """A copy that is being removed is not to be had back."""
    back = tuple(c.backup_storage_uuid for c in aggregate.copies if c.backup_storage_uuid in uuids and not c.expunging)
    aggregate.status = ImageStatus.READY
    _change(aggregate, back, status=ImageStatus.READY, deleted_date=0)
