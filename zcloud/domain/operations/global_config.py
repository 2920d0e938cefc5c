"""Global configuration: the settings of the cloud as an operator has them, and how decisions read them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from zcloud.domain.operations.resource_config import levels_of, nearest
from zcloud.domain.operations.settings import KNOWN, Setting, known, size_in_bytes, words_of
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource
from zcloud.kernel.unit import Unit

# What else a new value changes, in the same append: by category and name, with the unit and the value.
Effect = Callable[[Unit, str], Awaitable[None]]
_EFFECTS: dict[tuple[str, str], list[Effect]] = {}


def on_change(category: str, name: str) -> Callable[[Effect], Effect]:
    """Decorates what is to be done when an operator changes the setting."""

    def register(effect: Effect) -> Effect:
        _EFFECTS.setdefault((category, name), []).append(effect)
        return effect

    return register


class GlobalConfig(Resource, kind="global_config"):
    """One setting. Every known one exists from the first start, with its default."""

    category: str = ""
    value: str = ""
    default_value: str = ""
    type: str = ""
    validator: str = ""
    resource_kinds: tuple[str, ...] = ()
    # An operator chose the value: a default that moves with an upgrade leaves it alone.
    chosen: bool = False

    class Created(Creation):
        """A setting became known."""

        category: str
        value: str
        default_value: str
        type: str = ""
        validator: str = ""
        resource_kinds: tuple[str, ...] = ()

    class ValueChanged(Event):
        """An operator chose a value, or went back to the default."""

        value: str
        chosen: bool

    class Redefined(Event):
        """Another version of the software has another default or description."""

        default_value: str
        description: str
        type: str = ""
        validator: str = ""
        resource_kinds: tuple[str, ...] = ()

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            if not aggregate.chosen:
                aggregate.value = self.default_value

    def create(self, setting: Setting) -> None:
        """Make it known, with its default."""
        self.trigger(
            self.Created(
                name=setting.name,
                description=setting.description,
                account_uuid=self.account_uuid,
                category=setting.category,
                value=setting.default,
                default_value=setting.default,
                type=setting.type,
                validator=setting.validator,
                resource_kinds=levels_of(setting),
            )
        )

    def redefine(self, setting: Setting) -> None:
        """Follow the software; what is the same is no event."""
        event = self.Redefined(
            default_value=setting.default,
            description=setting.description,
            type=setting.type,
            validator=setting.validator,
            resource_kinds=levels_of(setting),
        )
        if any(getattr(event, name) != getattr(self, name) for name in event.__struct_fields__):
            self.trigger(event)

    def set(self, value: str | None) -> None:
        """None for the default. Raises INVALID_ARGUMENT; the same value is no event."""
        setting = known(self.category, self.name)
        if value is not None:
            setting.must_take(value)
        new, chosen = (setting.default, False) if value is None else (value, True)
        if (new, chosen) != (self.value, self.chosen):
            self.trigger(self.ValueChanged(value=new, chosen=chosen))


async def change(unit: Unit, config: GlobalConfig, value: str | None) -> None:
    """Set it, and let what goes by it follow."""
    before = config.value
    config.set(value)
    if config.value != before:
        await follow(unit, known(config.category, config.name))


async def follow(unit: Unit, changed: Setting) -> None:
    """Let what goes by a setting follow, in the append that changes it."""
    for effect in _EFFECTS.get((changed.category, changed.name), ()):
        await effect(unit, await setting(unit, changed.category, changed.name))


async def make_known(unit: Unit, owner: str, there: Iterable[str] = ()) -> None:
    """Let the known settings exist, as this version of the software defines them; for each start of a node.

    there: uuids of all settings that exist. One that nothing goes by any more is no choice to offer.
    """
    unknown = set(there)
    for setting in KNOWN:
        found = await unit.find(GlobalConfig, *setting.uuids)
        if found is None:
            (await unit.new(GlobalConfig, setting.uuids.uuid, account_uuid=owner)).create(setting)
        else:
            found.redefine(setting)
            unknown.discard(found.uuid)
    for uuid in unknown:
        (await unit.get(GlobalConfig, uuid)).remove()


async def setting(unit: Unit, category: str, name: str, of: Resource | None = None) -> str:
    """The value that a decision goes by; the default where nobody chose another. of: for whom, the nearest wins."""
    known_setting = known(category, name)
    own = await nearest(unit, known_setting, of) if of is not None else None
    if own is not None:
        return own.value
    found = await unit.find(GlobalConfig, *known_setting.uuids)
    return found.value if found is not None else known_setting.default


async def setting_int(unit: Unit, category: str, name: str, of: Resource | None = None) -> int:
    """A setting that is a whole number."""
    return int(await setting(unit, category, name, of))


async def setting_bytes(unit: Unit, category: str, name: str, of: Resource | None = None) -> int:
    """A setting such as 1G, in bytes."""
    return size_in_bytes(await setting(unit, category, name, of))


async def setting_bool(unit: Unit, category: str, name: str) -> bool:
    """A setting that is true or false."""
    return await setting(unit, category, name) == "true"


async def setting_list(unit: Unit, category: str, name: str) -> tuple[str, ...]:
    """A comma separated setting."""
    return words_of(await setting(unit, category, name))


async def current(cloud: Cloud, category: str, name: str) -> str:
    """The value outside a decision, for what watches the cloud."""
    known_setting = known(category, name)
    found = await cloud.find(GlobalConfig, *known_setting.uuids)
    return found.value if found is not None else known_setting.default
