"""SFTP backup storage: a Linux server with OpenSSH that keeps images as plain files (BS-14, BS-15)."""

from __future__ import annotations

import posixpath
from typing import Any, ClassVar

from zcloud.domain.ssh_access import AccessChange, SshAccess, must_have_secret
from zcloud.domain.storage.backup_storage import BackupStorage
from zcloud.domain.storage.local_primary_storage import must_be_storage_path
from zcloud.domain.storage.networks import must_be_network
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Creation, Unset


class SftpBackupStorage(SshAccess, BackupStorage, kind="sftp_backup_storage"):
    """Everything it does, it does over SSH."""

    hostname: str = ""
    # Whose hosts see its directory as shared_path below their own (PS-17).
    shared_primary_storage_uuid: str = ""
    shared_path: str = ""

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

    class ShareChanged(Event):
        """Hosts of another primary storage, or of none, see its files; or they see them elsewhere."""

        shared_primary_storage_uuid: str
        shared_path: str

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

    def change_share(self, storage: PrimaryStorage | None, path: str) -> None:
        """path: relative to the directory that the primary storage's hosts have. The same again is no event."""
        if storage is not None:
            if not storage.spans_hosts:
                text = f'primary storage "{storage.name}" is {storage.type}: nothing has a share in common with that'
                raise precondition(Reason.NOT_SUPPORTED, text, primary_storage_uuid=storage.uuid)
            must_be_below("shared_path", path)
        shared = (storage.uuid, path) if storage is not None else ("", "")
        if shared != (self.shared_primary_storage_uuid, self.shared_path):
            self.trigger(self.ShareChanged(shared_primary_storage_uuid=shared[0], shared_path=shared[1]))

    def seen_at(self, storage: PrimaryStorage, path: str) -> str:
        """Where hosts of a primary storage should see a file of this one; empty where they do not."""
        if storage.uuid != self.shared_primary_storage_uuid or not path.startswith(f"{self.url}/"):
            return ""
        return posixpath.join(storage.directory, self.shared_path, path.removeprefix(f"{self.url}/"))


def must_be_below(field: str, path: str) -> None:
    """Refuses what leads out of a directory, or to the directory itself."""
    whole = posixpath.normpath(posixpath.join("/", path))
    if whole != f"/{path}" or whole == "/" or any(ord(character) < 32 for character in path):
        raise invalid(field, path, "must be a path below the primary storage's directory, such as images")
