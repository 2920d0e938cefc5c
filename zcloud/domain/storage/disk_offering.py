"""Disk offering: the size that volumes are made with; volumes keep their size (OFR-06)."""

from __future__ import annotations

from zcloud.kernel.resource import Creation, Switched


class DiskOffering(Switched, kind="disk_offering"):
    """Its size is never changed, so that what was made from it can be relied on."""

    # A job, since volumes that were made from it forget it first.
    delete_workflow = "delete_resource"

    disk_size: int = 0

    class Created(Creation):
        """An offering was made. disk_size: bytes."""

        disk_size: int

    def create(self, *, name: str, disk_size: int, description: str = "") -> None:
        """Make it, enabled."""
        self.trigger(
            self.Created(name=name, description=description, account_uuid=self.account_uuid, disk_size=disk_size)
        )
