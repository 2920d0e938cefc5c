"""Resource configuration: a setting's value for one resource and what lies in it; the nearest wins (UI-04)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.operations.settings import Setting
from zcloud.kernel.aggregate import companions_of
from zcloud.kernel.errors import invalid
from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derived
from zcloud.kernel.resource import Creation, Resource
from zcloud.kernel.settle import follows, removed
from zcloud.kernel.unit import Unit

# Kinds that can have a value of their own, the nearest first; a setting that is not here is the whole cloud's.
LEVELS: dict[tuple[str, str], tuple[str, ...]] = {
    ("vm", "deletionPolicy"): ("vm_instance", "cluster", "zone"),
    ("vm", "expungePeriod"): ("vm_instance", "cluster", "zone"),
    ("image", "deletionPolicy"): ("image",),
    ("image", "expungePeriod"): ("image",),
    ("volume", "deletionPolicy"): ("volume", "zone"),
    ("volume", "expungePeriod"): ("volume", "zone"),
    ("host", "cpu.overProvisioning.ratio"): ("host", "cluster", "zone"),
    ("host", "migration.network"): ("cluster", "zone"),
    ("primaryStorage", "reservedCapacity"): ("primary_storage", "zone"),
    ("primaryStorage", "imageCache.rateLimit"): ("primary_storage", "zone"),
    ("primaryStorage", "overProvisioning.ratio"): ("primary_storage", "zone"),
    ("primaryStorage", "allocatorStrategy"): ("cluster", "zone"),
    ("primaryStorage", "priority"): ("primary_storage",),
    ("backupStorage", "reservedCapacity"): ("backup_storage",),
}


class ResourceConfig(Resource, kind="resource_config"):
    """Belongs to the admin account, who alone sets it, and goes with the resource."""

    goes_with_owner = False
    shareable = False

    category: str = ""
    value: str = ""
    resource_kind: str = ""
    resource_uuid: str = ""

    class Created(Creation):
        """The resource has a value of its own."""

        category: str
        value: str
        resource_kind: str
        resource_uuid: str

    class ValueChanged(Event):
        """It has another one."""

        value: str

        def apply(self, aggregate: Any) -> None:
            aggregate.value = self.value

    @staticmethod
    def uuids_of(category: str, name: str, resource_uuid: str) -> Derived:
        """A resource has one value of a setting."""
        return derived("resource_config", category, name, resource_uuid)

    def create(self, setting: Setting, value: str, kind: str, resource_uuid: str) -> None:
        """kind: the level that it is set at. Raises INVALID_ARGUMENT."""
        setting.must_take(value)
        self.trigger(
            self.Created(
                name=setting.name,
                description=setting.description,
                account_uuid=self.account_uuid,
                category=setting.category,
                value=value,
                resource_kind=kind,
                resource_uuid=resource_uuid,
            )
        )

    def set(self, setting: Setting, value: str) -> None:
        """The same is no event. Raises INVALID_ARGUMENT."""
        setting.must_take(value)
        if value != self.value:
            self.trigger(self.ValueChanged(value=value))


def levels_of(setting: Setting) -> tuple[str, ...]:
    """Kinds that can have a value of their own, the nearest first."""
    return LEVELS.get((setting.category, setting.name), ())


def level_of(setting: Setting, resource: Resource) -> str:
    """The level at which a resource can have a value; raises INVALID_ARGUMENT naming those that there are."""
    for kind in levels_of(setting):
        if kind in resource.kinds:
            return kind
    kinds = ", ".join(levels_of(setting))
    what = f"only {kinds} can have a value of {{}} of their own" if kinds else "{} is the whole cloud's setting"
    text = f"is a {resource.kind}; {what.format(f'{setting.category}/{setting.name}')}"
    raise invalid("resource_uuid", resource.uuid, text)


async def places(unit: Unit, setting: Setting, resource: Resource) -> list[tuple[str, str]]:
    """Kind and uuid of all that can decide for a resource: itself, and what it lies in, the nearest first."""
    found = []
    for kind in levels_of(setting):
        uuid = resource.uuid if kind in resource.kinds else await _above(unit, resource, f"{kind}_uuid")
        if uuid:
            found.append((kind, uuid))
    return found


async def _above(unit: Unit, resource: Resource, name: str) -> str:
    if hasattr(resource, name):
        return str(getattr(resource, name))
    for cls in companions_of(resource.kinds):
        if name in cls.defaults:
            return str(getattr(await unit.companion(cls, resource), name))
    return ""


async def nearest(unit: Unit, setting: Setting, resource: Resource) -> ResourceConfig | None:
    """What decides for a resource; None when the global setting does."""
    for _, uuid in await places(unit, setting, resource):
        found = await unit.find(ResourceConfig, *ResourceConfig.uuids_of(setting.category, setting.name, uuid))
        if found is not None:
            return found
    return None


@follows
async def gone_with_resource(unit: Unit) -> None:
    """In the append that removes a resource."""
    for resource in removed(unit):
        for (category, name), kinds in LEVELS.items():
            if not set(kinds).isdisjoint(resource.kinds):
                uuids = ResourceConfig.uuids_of(category, name, resource.uuid)
                found = await unit.find(ResourceConfig, *uuids)
                if found is not None:
                    found.remove()
