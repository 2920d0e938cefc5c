"""Local primary storage: a directory on each host of the clusters it is attached to (PS-06)."""

from __future__ import annotations

from zcloud.domain.storage.primary_storage import PrimaryStorage
from zcloud.kernel.errors import invalid
from zcloud.kernel.resource import Creation

# Nothing of a storage belongs there; agents refuse these as well.
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")


def must_be_storage_path(field: str, path: str) -> None:
    """Refuses the root directory and those of the system."""
    if path == "/" or any(path == system or path.startswith(system + "/") for system in SYSTEM):
        raise invalid(field, path, "must be a directory of its own, not one of the system's")


class LocalPrimaryStorage(PrimaryStorage, kind="local_primary_storage"):
    """What lies there is on one host only, so that a VM stays where its root volume is."""

    class Created(Creation):
        """A storage was added to a zone; hosts get their directories when it is attached."""

        zone_uuid: str
        url: str
        type: str = "LocalStorage"

    def create(self, *, name: str, zone_uuid: str, url: str, description: str = "") -> None:
        """url: absolute path of a directory on each host."""
        must_be_storage_path("url", url)
        self.trigger(
            self.Created(
                name=name, description=description, account_uuid=self.account_uuid, zone_uuid=zone_uuid, url=url
            )
        )
