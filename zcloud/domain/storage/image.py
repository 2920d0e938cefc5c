"""Image: a template for volumes (IMG-01). What its download found out, and its status, lie in a stream beside it."""

from __future__ import annotations

import re
from typing import Any

from zcloud.domain.storage.image_facts import ImageFacts
from zcloud.domain.storage.image_kinds import (
    BootMode,
    Format,
    ImageCopy,
    ImageStatus,
    ImageType,
    MediaType,
    Platform,
)
from zcloud.domain.storage.image_url import must_be_image_url, scheme_of
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, State, Switched

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Image(Switched, kind="image"):
    """Belongs to whoever added it. deleted: it lies in the recycle bin."""

    url: str = ""
    format: Format = Format.QCOW2
    platform: Platform = Platform.LINUX
    media_type: MediaType = MediaType.ROOT_VOLUME_TEMPLATE
    # The digest that the file must have, where the caller said so.
    expected_sha256: str = ""
    boot_mode: BootMode = BootMode.LEGACY
    # For the server that the URL names; password and private_key are sealed.
    username: str = ""
    password: str = ""
    private_key: str = ""
    # An admin's sftp:// URL without login goes by the SSH keys of the backup storage.
    own_keys: bool = False
    # With upload://: bytes of the file that is to come.
    upload_size: int = 0
    type: ImageType = ImageType.TEMPLATE
    # Of a backup: which row of backups it stands in, and the VM that it was made of.
    backup_type: str = ""
    vm_instance_uuid: str = ""
    # What it was made of, where that was a volume or its snapshot.
    volume_uuid: str = ""
    deleted: bool = False
    deleted_date: int = 0

    @property
    def uploaded(self) -> bool:
        """The caller brings the file."""
        return scheme_of(self.url) == "upload"

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
        boot_mode: BootMode = BootMode.LEGACY
        username: str = ""
        password: str = ""
        private_key: str = ""
        own_keys: bool = False
        upload_size: int = 0
        type: ImageType = ImageType.TEMPLATE
        backup_type: str = ""
        vm_instance_uuid: str = ""
        volume_uuid: str = ""

    class BootModeChanged(Event):
        """How its VMs boot was set right; VMs that exist keep theirs."""

        boot_mode: BootMode

    class PlatformChanged(Event):
        """What the guest can drive was set right."""

        platform: Platform

    class Deleted(Event):
        """Into the recycle bin; the files stay for now."""

        def apply(self, aggregate: Any) -> None:
            aggregate.deleted, aggregate.deleted_date = True, aggregate.last_op_date
            # Where a job had to see to something first, it has done so.
            aggregate.deleting_job = ""

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
        boot_mode: str = "Legacy",
        username: str = "",
        password: str = "",
        private_key: str = "",
        own_keys: bool = False,
        size: int = 0,
    ) -> None:
        """format, platform, media_type, boot_mode: in short form. sha256: in lower-case hex, checked when given.

        username, password, private_key: of the server that the URL names, the last two sealed. size: with upload://.
        """
        must_be_image_url(url)
        if sha256 and not _SHA256.fullmatch(sha256):
            raise invalid("sha256", sha256, "must be 64 lower-case hex digits")
        kind = MediaType(media_type or ("Iso" if format == "Iso" else "RootVolumeTemplate"))
        if (kind is MediaType.ISO) != (format == "Iso"):
            raise invalid("media_type", kind.value, "goes with format Iso, and only ISO media have it")
        if (scheme_of(url) == "upload") != bool(size):
            raise invalid("size", size, "must be the file's bytes with upload://, and absent with other URLs")
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
                boot_mode=BootMode(boot_mode),
                username=username,
                password=password,
                private_key=private_key,
                own_keys=own_keys,
                upload_size=size,
            )
        )

    def create_from(
        self,
        *,
        name: str,
        url: str,
        volume_uuid: str,
        media_type: MediaType,
        description: str = "",
        platform: Platform = Platform.LINUX,
        boot_mode: BootMode = BootMode.LEGACY,
        backup_type: str = "",
        vm_instance_uuid: str = "",
    ) -> None:
        """Of what a volume holds, always as qcow2. url: names the volume or the snapshot. backup_type: of a backup."""
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                url=url,
                format=Format.QCOW2,
                platform=platform,
                media_type=media_type,
                boot_mode=boot_mode,
                type=ImageType.BACKUP if backup_type else ImageType.TEMPLATE,
                backup_type=backup_type,
                vm_instance_uuid=vm_instance_uuid,
                volume_uuid=volume_uuid,
            )
        )

    def update(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        platform: str | None = None,
        boot_mode: str | None = None,
    ) -> None:
        """platform, boot_mode: in short form."""
        super().update(name=name, description=description)
        if platform is not None and Platform(platform) is not self.platform:
            self.trigger(self.PlatformChanged(platform=Platform(platform)))
        if boot_mode is not None and BootMode(boot_mode) is not self.boot_mode:
            self.trigger(self.BootModeChanged(boot_mode=BootMode(boot_mode)))

    def delete(self, facts: ImageFacts) -> None:
        """Into the recycle bin. Refused while it is coming or is there already."""
        facts.must_be(self, ImageStatus.READY, "deleted")
        facts.must_be_settled(self)
        self.trigger(self.Deleted())
        facts.trigger(facts.Deleted())

    def recover(self, facts: ImageFacts) -> None:
        """Out of the recycle bin, with all copies."""
        self.must_not_be_deleting()
        facts.must_be(self, ImageStatus.DELETED, "recovered")
        self.recovered()
        facts.trigger(facts.Recovered())

    def recovered(self) -> None:
        """At least one copy is out of the recycle bin; what never was there needs no event."""
        if self.deleted:
            self.trigger(self.Recovered())

    def must_not_be_deleting(self) -> None:
        """Refused while a job removes its files."""
        if self.deleting_job:
            text = f'image "{self.name}" is being deleted by job {self.deleting_job}'
            raise precondition(Reason.BEING_DELETED, text, job_uuid=self.deleting_job)


def must_be_usable(image: Image, facts: ImageFacts) -> None:
    """Refuses an image that is disabled, coming, or in the recycle bin."""
    if image.state is not State.ENABLED:
        text = f'image "{image.name}" is Disabled; enable it first'
        raise precondition(Reason.WRONG_STATE, text, image_uuid=image.uuid)
    facts.must_be(image, ImageStatus.READY, "used")


__all__ = [
    "BootMode",
    "Format",
    "Image",
    "ImageCopy",
    "ImageFacts",
    "ImageStatus",
    "ImageType",
    "MediaType",
    "Platform",
    "must_be_usable",
]
