"""Image store: a backup storage that keeps in pieces what images have in common, with a server of its own (BS-23)."""

from __future__ import annotations

from typing import Any, ClassVar

from zcloud.domain.ssh_access import AccessChange, SshAccess, must_have_secret
from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.local_primary_storage import must_be_storage_path
from zcloud.domain.storage.networks import must_be_network
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
    # Other stores come to it by its server's address there, where they have no such network themselves.
    sync_network_cidr: str = ""

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
        data_network_cidr: str = ""
        sync_network_cidr: str = ""
        quota: int = 0

    class AccessChanged(AccessChange):
        """How to reach it."""

        place: ClassVar[tuple[str, ...]] = ("hostname", "ssh_port")

        hostname: str | Unset = UNSET
        server_port: int | Unset = UNSET

    class SyncNetworkChanged(Event):
        """Stores send each other images by another network."""

        sync_network_cidr: str

    class QuotaSet(Event):
        """So many bytes its images may take; 0: as many as there are."""

        quota: int

    class CertificatePinned(Event):
        """What its server shows; it came over SSH, whose key is pinned."""

        certificate: str

    @property
    def server_url(self) -> str:
        """Of its server."""
        return self.url_at(self.hostname)

    def url_at(self, host: str) -> str:
        """Of its server, by one of its addresses."""
        return f"https://{f'[{host}]' if ':' in host else host}:{self.server_port}"

    def create(self, *, url: str, password: str = "", private_key: str = "", ssh_port: int = 22, **order: Any) -> None:
        """url: absolute path of a directory on the server. password, private_key, token: sealed."""
        must_be_storage_path("url", url)
        must_have_secret(password, private_key)
        for network in ("data_network_cidr", "sync_network_cidr"):
            if order.get(network):
                must_be_network(network, order[network])
        access: dict[str, Any] = {"password": password, "private_key": private_key, "ssh_port": ssh_port}
        self.trigger(self.Created(account_uuid=self.account_uuid, url=url, **access, **order))

    def update(  # type: ignore[override]
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        data_network_cidr: str | None = None,
        sync_network_cidr: str | None = None,
        **access: Any,
    ) -> bool:
        """access: hostname, server_port, and what change_access takes. Whether that changed."""
        super().update(name=name, description=description)
        self.change_data_network(data_network_cidr)
        if sync_network_cidr:
            must_be_network("sync_network_cidr", sync_network_cidr)
        if sync_network_cidr is not None and sync_network_cidr != self.sync_network_cidr:
            self.trigger(self.SyncNetworkChanged(sync_network_cidr=sync_network_cidr))
        return self.change_access(access)

    def set_quota(self, quota: int) -> None:
        """What is there stays, also when that is more; the same again is no event."""
        if quota != self.quota:
            self.trigger(self.QuotaSet(quota=quota))

    def pin_certificate(self, certificate: str) -> None:
        """The same again is no event."""
        if certificate and certificate != self.certificate:
            self.trigger(self.CertificatePinned(certificate=certificate))
