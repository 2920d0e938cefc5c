"""What an image can be: status, format, platform, media, firmware; and where its copies lie."""

from __future__ import annotations

import enum

import msgspec


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


class BootMode(enum.Enum):
    """What firmware its VMs begin with; Legacy is BIOS."""

    LEGACY = "Legacy"
    UEFI = "Uefi"


class ImageType(enum.Enum):
    """Backups are made of a VM by its own call, which keeps the newest."""

    TEMPLATE = "Template"
    BACKUP = "Backup"


class ImageCopy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The file on one backup storage."""

    backup_storage_uuid: str
    status: ImageStatus = ImageStatus.READY
    install_path: str = ""
    # Where anybody may fetch it, and the MD5 that it must have then.
    export_url: str = ""
    export_md5: str = ""
    # Since when it lies in the recycle bin.
    deleted_date: int = 0
    # A job removes it for good.
    expunging: bool = False
    # What was read there when that was last asked for.
    sha256: str = ""
    md5: str = ""
