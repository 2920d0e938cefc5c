"""Image store: a backup storage that keeps in pieces what images have in common, with a server of its own (BS-23)."""

from __future__ import annotations

from typing import Any, ClassVar

from zcloud.domain.ssh_access import AccessChange, SshAccess, must_have_secret
from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.local_primary_storage import must_be_storage_path
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Creation, Unset

PORT = 8000


class ImageStoreBackupStorage(SshAccess, BackupStorage, kind="image_store_backup_storage"):
    """Managed over SSH, read over HTTPS. token: sealed, opens the server; certificate: what that must show."""

    hostname: str = ""
    server_port: int = PORT
    token: str = ""
    certificate: str = ""
    import_images: bool = False

    class Created(Creation):
        """A storage was added; it is kept when its first connect succeeds."""

        url: str
        type: str = "ImageStoreBackupStorage"
        hostname: str
        ssh_port: int
        username: str
        password: str = ""
        private_key: str = ""
        server_port: int = PORT
        token: str = ""
        import_images: bool = False

    class AccessChanged(AccessChange):
        """How to reach it."""

        place: ClassVar[tuple[str, ...]] = ("hostname", "ssh_port")

        hostname: str | Unset = UNSET
        server_port: int | Unset = UNSET

    class CertificatePinned(Event):
        """What its server shows; it came over SSH, whose key is pinned."""

        certificate: str

    @property
    def server_url(self) -> str:
        """Of its server."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"https://{host}:{self.server_port}"

    def create(self, *, url: str, password: str = "", private_key: str = "", ssh_port: int = 22, **order: Any) -> None:
        """url: absolute path of a directory on the server. password, private_key, token: sealed."""
        must_be_storage_path("url", url)
        must_have_secret(password, private_key)
        access: dict[str, Any] = {"password": password, "private_key": private_key, "ssh_port": ssh_port}
        self.trigger(self.Created(account_uuid=self.account_uuid, url=url, **access, **order))

    def update(self, *, name: str | None = None, description: str | None = None, **access: Any) -> bool:  # type: ignore[override]
        """access: hostname, server_port, and what change_access takes. Whether that changed."""
        super().update(name=name, description=description)
        return self.change_access(access)

    def pin_certificate(self, certificate: str) -> None:
        """The same again is no event."""
        if certificate and certificate != self.certificate:
            self.trigger(self.CertificatePinned(certificate=certificate))
