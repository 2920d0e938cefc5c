"""Image: a template for volumes (IMG-01). What its download found out, and its status, lie in a stream beside it."""

from __future__ import annotations

import enum
import posixpath
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, State, Switched

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ImageStatus(enum.Enum):
    """Only a Ready image can be used; a Deleted one lies in the recycle bin."""

    CREATING = "Creating"
    DOWNLOADING = "Downloading"
    READY = "Ready"
    DELETED = "Deleted"
    ERROR = "Error"


class Format(enum.Enum):
    """What the file is."""

    QCOW2 = "Qcow2"
    RAW = "Raw"
    ISO = "Iso"

    @property
    def suffix(self) -> str:
        """As agents name it, and as files end."""
        return self.value.lower()


class Platform(enum.Enum):
    """What the guest can drive (IMG-03)."""

    LINUX = "Linux"
    WINDOWS = "Windows"
    WINDOWS_VIRTIO = "WindowsVirtio"
    OTHER = "Other"
    PARAVIRTUALIZATION = "Paravirtualization"


class MediaType(enum.Enum):
    """What it is a template of."""

    ROOT_VOLUME_TEMPLATE = "RootVolumeTemplate"
    DATA_VOLUME_TEMPLATE = "DataVolumeTemplate"
    ISO = "Iso"


class ImageCopy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The file on one backup storage."""

    backup_storage_uuid: str
    status: ImageStatus = ImageStatus.READY
    install_path: str = ""


class Image(Switched, kind="image"):
    """Belongs to whoever added it. deleted: it lies in the recycle bin."""

    url: str = ""
    format: Format = Format.QCOW2
    platform: Platform = Platform.LINUX
    media_type: MediaType = MediaType.ROOT_VOLUME_TEMPLATE
    # The digest that the file must have, where the caller said so.
    expected_sha256: str = ""
    deleted: bool = False
    deleted_date: int = 0

    @property
    def cache_name(self) -> str:
        """Names it in caches, which outlive it: its uuid may be used again, for another image."""
        return f"{self.uuid}-{self.create_date:x}"

    class Created(Creation):
        """An image was added; it is kept when its download succeeds."""

        url: str
        format: Format
        platform: Platform
        media_type: MediaType
        expected_sha256: str = ""

    class PlatformChanged(Event):
        """What the guest can drive was set right."""

        platform: Platform

    class Deleted(Event):
        """Into the recycle bin; the files stay for now."""

        def apply(self, aggregate: Any) -> None:
            aggregate.deleted, aggregate.deleted_date = True, aggregate.last_op_date

    class Recovered(Event):
        """Out of the recycle bin."""

        def apply(self, aggregate: Any) -> None:
            aggregate.deleted, aggregate.deleted_date = False, 0

    def create(
        self,
        *,
        name: str,
        url: str,
        format: str,
        description: str = "",
        platform: str = "Linux",
        media_type: str = "",
        sha256: str = "",
    ) -> None:
        """format, platform, media_type: in short form. sha256: in lower-case hex, checked when given."""
        must_be_image_url(url)
        if sha256 and not _SHA256.fullmatch(sha256):
            raise invalid("sha256", sha256, "must be 64 lower-case hex digits")
        kind = MediaType(media_type or ("Iso" if format == "Iso" else "RootVolumeTemplate"))
        if (kind is MediaType.ISO) != (format == "Iso"):
            raise invalid("media_type", kind.value, "goes with format Iso, and only ISO media have it")
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                url=url,
                format=Format(format),
                platform=Platform(platform),
                media_type=kind,
                expected_sha256=sha256,
            )
        )

    def update(self, *, name: str | None = None, description: str | None = None, platform: str | None = None) -> None:
        """platform: in short form."""
        super().update(name=name, description=description)
        if platform is not None and Platform(platform) is not self.platform:
            self.trigger(self.PlatformChanged(platform=Platform(platform)))

    def delete(self, facts: ImageFacts) -> None:
        """Into the recycle bin. Refused while it is coming or is there already."""
        facts.must_be(self, ImageStatus.READY, "deleted")
        self.trigger(self.Deleted())
        facts.trigger(facts.Deleted())

    def recover(self, facts: ImageFacts) -> None:
        """Out of the recycle bin."""
        self.must_not_be_deleting()
        facts.must_be(self, ImageStatus.DELETED, "recovered")
        self.trigger(self.Recovered())
        facts.trigger(facts.Recovered())

    def must_not_be_deleting(self) -> None:
        """Refused while a job removes its files."""
        if self.deleting_job:
            text = f'image "{self.name}" is being expunged by job {self.deleting_job}'
            raise precondition(Reason.BEING_DELETED, text, job_uuid=self.deleting_job)


class ImageFacts(Companion, of="image", role="facts"):
    """Status, sizes and copies, as jobs report them: they never make a caller's expected version wrong."""

    status: ImageStatus = ImageStatus.CREATING
    size: int = 0
    actual_size: int = 0
    sha256: str = ""
    copies: tuple[ImageCopy, ...] = ()

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
            _set(aggregate, ImageStatus.DELETED)

    class Recovered(Event):
        """Usable again, with every copy."""

        def apply(self, aggregate: Any) -> None:
            _set(aggregate, ImageStatus.READY)

    class CopyRemoved(Event):
        """A backup storage does not have it any more."""

        backup_storage_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.copies = tuple(c for c in aggregate.copies if c.backup_storage_uuid != self.backup_storage_uuid)

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

    def copy_on(self, backup_storage_uuid: str) -> ImageCopy | None:
        """The copy on a backup storage, if there is one."""
        for copy in self.copies:
            if copy.backup_storage_uuid == backup_storage_uuid:
                return copy
        return None

    def must_be(self, image: Image, status: ImageStatus, what: str) -> None:
        """Refuses what needs another status."""
        if self.status is not status:
            text = f'image "{image.name}" is {self.status.value}; only a {status.value} one can be {what}'
            raise precondition(Reason.WRONG_STATUS, text, status=self.status.value)


def _set(aggregate: Any, status: ImageStatus) -> None:
    aggregate.status = status
    aggregate.copies = tuple(ImageCopy(c.backup_storage_uuid, status, c.install_path) for c in aggregate.copies)


def must_be_image_url(url: str) -> None:
    """http, https or file; whether it may lead where it leads is judged where it is fetched (IMG-05)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise invalid("url", url, "must be a URL with a host and a port that exist") from None
    if parts.scheme not in ("http", "https", "file"):
        raise invalid("url", url, "must begin with http://, https:// or file://")
    if parts.scheme == "file":
        path = parts.path
        if host or not path.startswith("/") or posixpath.normpath(path) != path or path == "/":
            raise invalid("url", url, "must be file:// and an absolute path on the backup storage, without ..")
    elif not host:
        raise invalid("url", url, "must name a host")
    elif parts.username is not None or parts.password is not None:
        raise invalid("url", "***", "must hold no user name or password: it is shown to everybody who sees the image")


def must_be_usable(image: Image, facts: ImageFacts) -> None:
    """Refuses an image that is disabled, coming, or in the recycle bin."""
    if image.state is not State.ENABLED:
        text = f'image "{image.name}" is Disabled; enable it first'
        raise precondition(Reason.WRONG_STATE, text, image_uuid=image.uuid)
    facts.must_be(image, ImageStatus.READY, "used")
