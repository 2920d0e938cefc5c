"""SFTP backup storage: a Linux server with OpenSSH that keeps images as plain files (BS-14, BS-15)."""

from __future__ import annotations

from typing import Any, ClassVar

from zcloud.domain.ssh_access import AccessChange, SshAccess, must_have_secret
from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.local_primary_storage import must_be_storage_path
from zcloud.domain.storage.networks import must_be_network
from zcloud.kernel.resource import UNSET, Creation, Unset


class SftpBackupStorage(SshAccess, BackupStorage, kind="sftp_backup_storage"):
    """Everything it does, it does over SSH."""

    hostname: str = ""

    class Created(Creation):
        """A storage was added; it is kept when its first connect succeeds."""

        url: str
        type: str = "SftpBackupStorage"
        hostname: str
        ssh_port: int
        username: str
        password: str = ""
        private_key: str = ""
        data_network_cidr: str = ""

    class AccessChanged(AccessChange):
        """How to reach it by SSH."""

        place: ClassVar[tuple[str, ...]] = ("hostname", "ssh_port")

        hostname: str | Unset = UNSET

    def create(
        self,
        *,
        name: str,
        url: str,
        hostname: str,
        username: str,
        description: str = "",
        ssh_port: int = 22,
        password: str = "",
        private_key: str = "",
        data_network_cidr: str = "",
    ) -> None:
        """url: absolute path of a directory on the server. password, private_key: sealed, at least one of them."""
        must_be_storage_path("url", url)
        must_have_secret(password, private_key)
        if data_network_cidr:
            must_be_network("data_network_cidr", data_network_cidr)
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                url=url,
                hostname=hostname,
                ssh_port=ssh_port,
                username=username,
                password=password,
                private_key=private_key,
                data_network_cidr=data_network_cidr,
            )
        )

    def update(  # type: ignore[override]
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        data_network_cidr: str | None = None,
        **access: Any,
    ) -> bool:
        """access: hostname, and what change_access takes. Whether that changed."""
        super().update(name=name, description=description)
        self.change_data_network(data_network_cidr)
        return self.change_access(access)
