"""Shared mount point: one file system that the operator has mounted at the same path on all hosts (PS-08)."""

from __future__ import annotations

from zcloud.domain.storage.local_primary_storage import must_be_storage_path
from zcloud.domain.storage.networks import must_be_network
from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.resource import Creation


class SharedMountPointPrimaryStorage(PrimaryStorage, kind="shared_mount_point_primary_storage"):
    """What lies there is seen by all its hosts: a VM may run on any of them."""

    spans_hosts = True

    class Created(Creation):
        """A storage was added to a zone; hosts look at their mount points when it is attached."""

        zone_uuid: str
        url: str
        type: str = "SharedMountPoint"
        storage_network_cidr: str = ""

    def create(
        self, *, name: str, zone_uuid: str, url: str, description: str = "", storage_network_cidr: str = ""
    ) -> None:
        """url: absolute path of the mount point on each host."""
        must_be_storage_path("url", url)
        if storage_network_cidr:
            must_be_network("storage_network_cidr", storage_network_cidr)
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                url=url,
                storage_network_cidr=storage_network_cidr,
            )
        )
