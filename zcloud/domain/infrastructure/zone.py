"""Zone: the largest scope, a machine room; what lies in different zones does not see each other (ZON-01..04)."""

from __future__ import annotations

from zcloud.kernel.resource import Creation, Switched


class Zone(Switched, kind="zone"):
    """Holds clusters, networks and storages."""

    delete_workflow = "delete_resource"

    class Created(Creation):
        """A zone was opened."""

    def create(self, *, name: str, description: str = "") -> None:
        """Open the zone, enabled."""
        self.trigger(self.Created(name=name, description=description, account_uuid=self.account_uuid))
