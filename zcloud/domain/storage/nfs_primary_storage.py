"""NFS primary storage: an export that every host of its clusters mounts by itself (PS-07)."""

from __future__ import annotations

import posixpath
import re

from zcloud.domain.storage.networks import must_be_network
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.errors import invalid
from zcloud.kernel.resource import Creation

MOUNTS = "/var/lib/zcloud/nfs"
_SERVER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9/_.@+-]*")
_OPTIONS = re.compile(r"[A-Za-z0-9_]+(=[A-Za-z0-9_.:-]+)?(,[A-Za-z0-9_]+(=[A-Za-z0-9_.:-]+)?)*")


def must_be_export(field: str, url: str) -> None:
    """Refuses what is no server with the path of an export."""
    server, _, path = url.partition(":")
    good = _SERVER.fullmatch(server) and _PATH.fullmatch(path) and posixpath.normpath(path) == path
    if not good or path.startswith("//"):
        raise invalid(
            field, url, "must be a server and the absolute path of an export, such as 10.0.0.9:/exports/zcloud"
        )


class NfsPrimaryStorage(PrimaryStorage, kind="nfs_primary_storage"):
    """What lies there is seen by all its hosts: a VM may run on any of them."""

    spans_hosts = True
    overprovisions = False

    mount_options: str = ""

    class Created(Creation):
        """A storage was added to a zone; hosts mount it when it is attached."""

        zone_uuid: str
        url: str
        mount_options: str = ""
        type: str = "NFS"
        storage_network_cidr: str = ""

    @property
    def directory(self) -> str:
        """The same on each host."""
        return f"{MOUNTS}/{self.uuid}"

    def create(
        self,
        *,
        name: str,
        zone_uuid: str,
        url: str,
        mount_options: str = "",
        description: str = "",
        storage_network_cidr: str = "",
    ) -> None:
        """url: server:/path of the export."""
        must_be_export("url", url)
        if mount_options and not _OPTIONS.fullmatch(mount_options):
            raise invalid("mount_options", mount_options, "must be options for mount, such as nfsvers=4.1,hard")
        if storage_network_cidr:
            must_be_network("storage_network_cidr", storage_network_cidr)
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                url=url,
                mount_options=mount_options,
                storage_network_cidr=storage_network_cidr,
            )
        )
