"""SFTP backup storage: a Linux server with OpenSSH that keeps images as plain files (BS-14, BS-15)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.local_primary_storage import must_be_storage_path
from zcloud.kernel.errors import invalid
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Creation, Unset


class SftpBackupStorage(BackupStorage, kind="sftp_backup_storage"):
    """password and private_key are sealed; host_key is pinned at the first connection."""

    hostname: str = ""
    ssh_port: int = 22
    username: str = ""
    password: str = ""
    private_key: str = ""
    host_key: str = ""

    class Created(Creation):
        """A storage was added; it is kept when its first connect succeeds."""

        url: str
        type: str = "SftpBackupStorage"
        hostname: str
        ssh_port: int
        username: str
        password: str = ""
        private_key: str = ""

    class AccessChanged(Event):
        """How to reach it by SSH."""

        hostname: str | Unset = UNSET
        ssh_port: int | Unset = UNSET
        username: str | Unset = UNSET
        password: str | Unset = UNSET
        private_key: str | Unset = UNSET

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            # Another server has another key; only the one that was pinned for the same address is an imposter's.
            if self.hostname is not UNSET or self.ssh_port is not UNSET:
                aggregate.host_key = ""

    class HostKeyPinned(Event):
        """The key that the server showed; another one is refused from now on."""

        host_key: str

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
    ) -> None:
        """url: absolute path of a directory on the server. password, private_key: sealed, at least one of them."""
        must_be_storage_path("url", url)
        if not password and not private_key:
            raise invalid("password", "", "must be given, or private_key in its place")
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
            )
        )

    def update(self, *, name: str | None = None, description: str | None = None, **access: Any) -> bool:  # type: ignore[override]
        """access: hostname, ssh_port, username, password, private_key (the last two sealed). Whether that changed."""
        super().update(name=name, description=description)
        changed = {key: value for key, value in access.items() if value is not None and value != getattr(self, key)}
        if changed:
            self.trigger(self.AccessChanged(**changed))
        return bool(changed)

    def pin(self, host_key: str) -> None:
        """Remember the server's key."""
        if host_key and host_key != self.host_key:
            self.trigger(self.HostKeyPinned(host_key=host_key))
